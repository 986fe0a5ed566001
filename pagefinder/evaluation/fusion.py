"""What BM25 adds to an embedder: runs of both fused, by weights that dev chooses."""

import logging
import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from pagefinder.evaluation.embedder import claimed_gain
from pagefinder.retrieval.fusion import choose_weights, fuse
from pagefinder.retrieval.runs import Run
from pagefinder.retrieval.tasks import Task
from pagefinder.systems import BM25, TUNED, TUNED_AT, WITH_BM25

log = logging.getLogger(__name__)

# By fused system, such as tuned+bm25: the weight of each system whose run it is made of.
Weights = dict[str, dict[str, float]]

# Pages of train that are searched when weights are chosen, at most: memory stays flat.
TRAIN_PAGES = 20_000


def weighing_task(dev: Task) -> Task:
    """Dev's queries among the pages of dev and train: the task that weights are chosen on.

    Dev has a tenth of the pages that are searched later. Among few pages an embedder misses less,
    so dev's pages alone would give it too much weight. Train's queries take no part: the embedder
    was trained on them.
    """
    train = dev.corpus.page_rows("train")
    train = train[:: max(1, math.ceil(len(train) / TRAIN_PAGES))]
    return replace(dev, page_rows=np.union1d(dev.page_rows, train))


def fuse_with_bm25(
    runs: Mapping[str, Run], dev_runs: Mapping[str, Run], dev: Task
) -> tuple[dict[str, Run], Weights]:
    """The eval run of each embedder fused with BM25, and the weights that dev chose for it.

    Nothing is fused where BM25 did not run, and where dev has no text or no query with an answer to
    choose the weights by.

    Args:
        runs: The runs on eval, by system: of BM25 and of the embedders.
        dev_runs: Those of the embedders on `dev` and, where dev has text, that of BM25.
        dev: Of `weighing_task`.

    Returns:
        Runs, and weights; the keys of both are the fused systems' names, such as tuned+bm25.
    """
    if BM25 not in runs:
        return {}, {}
    if BM25 not in dev_runs:
        log.warning("no weight for BM25: dev has no text or no query with an answer")
        return {}, {}
    fused, weights = {}, {}
    for embedder in (name for name in dev_runs if name != BM25):
        chosen = choose_weights({name: dev_runs[name] for name in (embedder, BM25)}, dev.qrels)
        weights[embedder + WITH_BM25] = chosen
        fused[embedder + WITH_BM25] = fuse([runs[name] for name in chosen], list(chosen.values()))
    return fused, weights


def fusion_metrics(
    scored: Mapping[str, pd.DataFrame], weights: Weights, claims: pd.DataFrame
) -> dict[str, object]:
    """The numbers of metrics/fusion.json: by fused system NDCG@10, weights, gains over each part.

    A cut embedder has no gains here: they stand among the claims. Of BM25 alone there is the gain
    over the tuned embedder; its NDCG@10 is in embedder.json. Empty where nothing was fused.

    Args:
        scored: By system, its metrics per query.
        weights: Of `fuse_with_bm25`.
        claims: Of `comparisons`.
    """
    if not weights:
        return {}
    metrics: dict[str, object] = {}
    for system, chosen in weights.items():
        numbers: dict[str, object] = {
            "ndcg@10": float(scored[system]["ndcg@10"].mean()),
            "weights": chosen,
        }
        if not system.startswith(TUNED_AT):
            numbers["over"] = {part: claimed_gain(claims, part, system) for part in chosen}
        metrics[system] = numbers
    return metrics | {BM25: {"over": {TUNED: _opposite(claimed_gain(claims, BM25, TUNED))}}}


def first_stage(weights: Weights) -> dict[str, float]:
    """The weights of the reranker's first stage: the tuned embedder's, and BM25's if fused.

    `weights` is from `fuse_with_bm25`. They lie in a file of their own, so that a change that moves
    other figures of the evaluation leaves the reranker alone.
    """
    return weights.get(TUNED + WITH_BM25, {TUNED: 1.0, BM25: 0.0})


def _opposite(gain: Mapping[str, float]) -> dict[str, float]:
    """The gain of the first system over the second, from that of the second over the first."""
    turned = {"ndcg@10": -gain["ndcg@10"]}
    if "low" in gain:
        turned |= {"low": -gain["high"], "high": -gain["low"], "p_value": gain["p_value"]}
    return turned | {"documents": gain["documents"]}
