"""Rerank first-stage candidates by a cross-encoder's logits, and fuse these with the first stage.

The first stage is the tuned embedder or, where pages have text, it fused with BM25. Candidates are
a table with query_id, page_id, the first stage's rank (from 1) and score, and embedder_rank, that
of the tuned embedder alone. A page that one of them does not have has no rank there.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pagefinder.data.corpus import Corpus
from pagefinder.evaluation.answers import ANSWERED, first_scores_by_case, rule_metrics
from pagefinder.evaluation.significance import gain
from pagefinder.params import Reranker
from pagefinder.retrieval.fusion import choose_weights, fuse
from pagefinder.retrieval.metrics import metrics_per_query
from pagefinder.retrieval.runs import Qrels, Run, documents_of, qrels_of
from pagefinder.retrieval.tasks import Task
from pagefinder.systems import BASE, EMBEDDER, FIRST_STAGE, FUSED, RERANKER, RERANKING, TUNED

log = logging.getLogger(__name__)

# Gives the logits of candidates, float32 [candidates], in their order.
Scorer = Callable[[pd.DataFrame], np.ndarray]


def reranked(candidates: pd.DataFrame, scores: np.ndarray, depth: int) -> Run:
    """The run in which each query's first `depth` candidates are ordered by `scores`.

    Candidates further down follow in the first stage's order, below all of the reranked ones.
    """
    ranks = candidates["rank"].to_numpy()
    inside = ranks <= depth
    # Below every reranked page, and falling with the rank.
    floor = float(scores[inside].min()) if inside.any() else 0.0
    rows = candidates.assign(final=np.where(inside, scores, floor - ranks))
    grouped = rows.groupby("query_id", sort=False)
    return Run(
        query_ids=[str(query_id) for query_id in grouped.groups],
        page_ids=[group.tolist() for _, group in grouped["page_id"]],
        scores=[group.tolist() for _, group in grouped["final"]],
    )


def fused(candidates: pd.DataFrame, logits: np.ndarray, weight: float, depth: int) -> np.ndarray:
    """The scores of `fuse` for the first stage and the reranker, which has `weight`.

    Only each query's first `depth` candidates count and get a score. Candidates further down get
    nan: they are not reranked, and would change the balance of the two scores.
    """
    inside = (candidates["rank"] <= depth).to_numpy()
    rows = candidates[inside]
    runs = [reranked(rows, rows["score"].to_numpy(), depth), reranked(rows, logits[inside], depth)]
    by_query = fuse(runs, [1 - weight, weight]).as_dict()
    scores = np.full(len(candidates), np.nan)
    scores[inside] = [
        by_query[query_id][page_id]
        for query_id, page_id in zip(rows["query_id"], rows["page_id"], strict=True)
    ]
    return scores


def choose_weight(dev: pd.DataFrame, logits: np.ndarray, qrels: Qrels, depth: int) -> float:
    """The weight of the reranker against the first stage, by `choose_weights` on dev.

    `logits` are the reranker's, of the dev candidates. Without qrels the weight is 1.
    """
    if not qrels:
        return 1.0
    inside = (dev["rank"] <= depth).to_numpy()
    rows = dev[inside]
    scores = {FIRST_STAGE: rows["score"].to_numpy(), TUNED: logits[inside]}
    runs = {name: reranked(rows, values, depth) for name, values in scores.items()}
    return choose_weights(runs, qrels)[TUNED]


@dataclass(frozen=True)
class Result:
    """What evaluate_reranker writes."""

    metrics: dict[str, Any]
    curve: pd.DataFrame  # depth, model, ndcg@10
    per_query: pd.DataFrame  # query_id, SYSTEM_ndcg@10, SYSTEM_rank
    runs: dict[str, Run]  # by system, each at its deepest


CURVE_COLUMNS = ["depth", "model", "ndcg@10"]
# What a pipeline without a reranker writes.
NOT_MEASURED = Result(
    {}, pd.DataFrame(columns=CURVE_COLUMNS), pd.DataFrame(columns=["query_id"]), {}
)


def evaluate(
    candidates: pd.DataFrame,
    corpus: Corpus,
    base: Scorer,
    tuned: Scorer,
    params: Reranker,
    *,
    resamples: int,
    seed: int,
) -> Result:
    """Score the systems of RERANKING at each depth.

    FIRST_STAGE is left out where it is the embedder alone. The base reranker is scored down to the
    compared depth only, the one that stands in the report. The fusion weight is chosen at that
    depth, on `fusion_queries` random dev queries.

    Args:
        candidates: The dev and eval candidates, with the column split.
        corpus: The corpus of their queries and pages.
        base: Scores candidates by the reranker before fine-tuning.
        tuned: Scores candidates by the reranker after it.
        params: Depths, and the number of dev queries that choose the fusion weight.
        resamples: See `gain`.
        seed: Seed of the resamples, and of the choice of dev queries.
    """
    compared, deepest = params.compared_depth, max(params.depths)
    dev, dev_logits = _scored_dev(candidates, tuned, params, seed)
    dev_qrels = _qrels_of_rows(dev, corpus, "dev")
    weight = choose_weight(dev, dev_logits, dev_qrels, compared)
    rows = _of_split(candidates, "eval", deepest)
    inside = (rows["rank"] <= compared).to_numpy()
    base_logits = np.full(len(rows), np.nan, dtype=np.float32)
    base_logits[inside] = base(rows[inside])
    logits = tuned(rows)
    runs = {(EMBEDDER, depth): embedder_run(candidates, deepest) for depth in params.depths}
    systems = {FIRST_STAGE: rows["score"].to_numpy(), BASE: base_logits, TUNED: logits}
    if (rows["rank"] == rows["embedder_rank"]).all():
        del systems[FIRST_STAGE]
    runs |= {
        (name, depth): reranked(rows, scores, depth)
        for name, scores in systems.items()
        for depth in params.depths
        if name != BASE or depth <= compared
    }
    for depth in params.depths:
        runs[FUSED, depth] = reranked(rows, fused(rows, logits, weight, depth), depth)
    qrels = qrels_of(corpus, "eval")
    scored = {key: metrics_per_query(run, qrels) for key, run in runs.items()}
    metrics = _metrics(scored, documents_of(corpus, qrels), compared, resamples, seed)
    _log_outcome(metrics, compared)
    curve = [[depth, name, metrics["depth"][depth][name]["ndcg@10"]] for name, depth in scored]
    names = [name for name in RERANKING if (name, compared) in runs]
    per_query = [
        scored[name, compared][["ndcg@10", "rank"]].add_prefix(f"{name}_") for name in names
    ]
    return Result(
        metrics
        | {"fusion_weight": weight}
        | answer_metrics(corpus, dev.assign(logit=dev_logits), rows.assign(logit=logits), compared),
        pd.DataFrame(curve, columns=CURVE_COLUMNS).round({"ndcg@10": 6}),
        pd.concat(per_query, axis=1).reset_index(),
        {name: runs[name, compared if name == BASE else deepest] for name in names},
    )


def embedder_run(candidates: pd.DataFrame, depth: int) -> Run:
    """The run of the tuned embedder alone on eval: its first `depth` pages of each query."""
    ranks = candidates["embedder_rank"].where(candidates["split"] == "eval")
    rows = candidates.assign(rank=ranks)[ranks <= depth]
    return reranked(rows, -rows["rank"].to_numpy(), depth)


def _scored_dev(
    candidates: pd.DataFrame, tuned: Scorer, params: Reranker, seed: int
) -> tuple[pd.DataFrame, np.ndarray]:
    """The candidates of `fusion_queries` random dev queries, and the tuned reranker's logits."""
    dev = _of_split(candidates, "dev", params.compared_depth)
    # Random ones, because the first queries ask about few documents.
    query_ids = np.sort(dev["query_id"].unique().astype(str))
    query_ids = np.random.default_rng(seed).permutation(query_ids)[: params.fusion_queries]
    dev = dev[dev["query_id"].isin(query_ids)].reset_index(drop=True)
    return dev, tuned(dev)


def _qrels_of_rows(rows: pd.DataFrame, corpus: Corpus, split: str) -> Qrels:
    """The qrels of the queries in `rows`, which are of one split."""
    qrels = qrels_of(corpus, split)
    return {
        query_id: qrels[query_id] for query_id in rows["query_id"].unique() if query_id in qrels
    }


def answer_metrics(
    corpus: Corpus, dev: pd.DataFrame, held_out: pd.DataFrame, depth: int
) -> dict[str, Any]:
    """When no page among the reranked ones answers: the key `answers` of metrics/reranker.json.

    The rule is about the highest logit. {} without a dev query.

    Args:
        corpus: Of the queries and pages.
        dev: Candidates of dev with their `logit`; dev chooses the rule.
        held_out: The same of eval.
        depth: Of the candidates that count.
    """
    scores = {}
    for split, rows in (("dev", dev), ("eval", held_out)):
        rows = rows[rows["rank"] <= depth]
        task = Task(corpus, corpus.page_rows(split), _qrels_of_rows(rows, corpus, split))
        rows = rows[rows["query_id"].isin(task.qrels)].reset_index(drop=True)
        run = reranked(rows, rows["logit"].to_numpy(), depth)
        scores[split] = first_scores_by_case({RERANKER: run}, {RERANKER: 1.0}, task)
    if not len(scores["dev"][ANSWERED]):
        return {}
    return {"answers": rule_metrics([RERANKER], scores["dev"], scores["eval"])}


def _of_split(candidates: pd.DataFrame, split: str, depth: int) -> pd.DataFrame:
    """The candidates of a split whose rank is at most `depth`."""
    inside = (candidates["split"] == split) & (candidates["rank"] <= depth)
    return candidates[inside].reset_index(drop=True)


def _metrics(
    scored: Mapping[tuple[str, int], pd.DataFrame],
    documents: list[str],
    compared: int,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """The numbers of metrics/reranker.json, the fusion weight apart."""

    def gained(before: str, after: str) -> dict[str, float]:
        first, second = (scored[name, compared]["ndcg@10"] for name in (before, after))
        return gain(first, second, documents, resamples=resamples, seed=seed)

    depths: dict[int, dict[str, Any]] = {depth: {} for depth in sorted({d for _, d in scored})}
    for (name, depth), metrics in scored.items():
        depths[depth][name] = {"ndcg@10": float(metrics["ndcg@10"].mean())}
    first_stage = FIRST_STAGE if (FIRST_STAGE, compared) in scored else EMBEDDER
    over_first_stage = {name: gained(first_stage, name) for name in (TUNED, FUSED)}
    return {
        "depth": depths,
        "gain": gained(EMBEDDER, TUNED),
        "training": gained(BASE, TUNED),
        "fusion": gained(EMBEDDER, FUSED),
        "recall@10": float(scored[TUNED, compared]["recall@10"].mean()),
        "first_stage_missed": int((scored[first_stage, max(depths)]["rank"] == 0).sum()),
    } | ({"over_first_stage": over_first_stage} if first_stage == FIRST_STAGE else {})


def _log_outcome(metrics: dict[str, Any], compared: int) -> None:
    scores = {name: at["ndcg@10"] for name, at in metrics["depth"][compared].items()}
    log.info(
        "NDCG@10 reranking %d pages %.4f, embedder alone %.4f, gain %+.4f; base reranker %.4f",
        compared,
        scores[TUNED],
        scores[EMBEDDER],
        metrics["gain"]["ndcg@10"],
        scores[BASE],
    )
