"""Rerank first-stage candidates with a cross-encoder, and fuse its scores with the first stage's.

Candidates are a table with query_id, page_id, rank (from 1) and score, the first stage's cosine.
"""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sentence_transformers import CrossEncoder

from pagefinder.data.corpus import Corpus
from pagefinder.evaluation.significance import gain
from pagefinder.models.device import DeviceSettings
from pagefinder.models.scoring import score_pairs
from pagefinder.params import Reranker
from pagefinder.retrieval.runs import (
    Qrels,
    Run,
    documents_of,
    mean_metrics,
    metrics_per_query,
    qrels_of,
)

log = logging.getLogger(__name__)

# Weights of the reranker's logit beside the first stage's cosine, tried on dev; both are
# standardised, so that 0.5 weighs them alike.
WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def reranked(candidates: pd.DataFrame, scores: np.ndarray, depth: int) -> Run:
    """The run in which each query's first `depth` candidates are ordered by `scores`.

    Candidates further down follow in the first stage's order, below all of the reranked ones.
    """
    frame = candidates[["query_id", "page_id", "rank"]].copy()
    inside = (frame["rank"] <= depth).to_numpy()
    # Below every reranked page, and falling with the rank.
    floor = float(scores[inside].min()) if inside.any() else 0.0
    frame["value"] = np.where(inside, scores, floor - frame["rank"].to_numpy())
    grouped = frame.groupby("query_id", sort=False)
    return Run(
        query_ids=[str(query_id) for query_id in grouped.groups],
        page_ids=[group.tolist() for _, group in grouped["page_id"]],
        scores=[group.tolist() for _, group in grouped["value"]],
    )


def fused(candidates: pd.DataFrame, logits: np.ndarray, weight: float, depth: int) -> np.ndarray:
    """Weighted sum of logit and first-stage score, both standardised within each query.

    Only the first `depth` candidates count, and only they get a score, the others nan: what lies
    deeper, and is not even reranked, would change the balance of the two.
    """
    inside = (candidates["rank"] <= depth).to_numpy()
    among = candidates[inside]
    scores = np.full(len(candidates), np.nan)
    scores[inside] = weight * _standardised(among, logits[inside]) + (1 - weight) * _standardised(
        among, among["score"].to_numpy()
    )
    return scores


def _standardised(candidates: pd.DataFrame, values: np.ndarray) -> np.ndarray:
    series = pd.Series(np.asarray(values, np.float64), index=candidates.index)
    grouped = series.groupby(candidates["query_id"])
    spread = grouped.transform("std", ddof=0).to_numpy()
    centred = (series - grouped.transform("mean")).to_numpy()
    # A query with one candidate, or with equal scores, has no spread and nothing to reorder.
    return np.asarray(np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0))


def choose_weight(dev: pd.DataFrame, logits: np.ndarray, qrels: Qrels, depth: int) -> float:
    """The fusion weight with the best NDCG@10 on dev; of equals, the smaller."""
    if not qrels:
        return 1.0
    scored = {}
    for weight in WEIGHTS:
        run = reranked(dev, fused(dev, logits, weight, depth), depth)
        scored[weight] = mean_metrics(run, qrels)["ndcg@10"]
    best = max(WEIGHTS, key=lambda weight: (round(scored[weight], 9), -weight))
    log.info("fusion weight %.1f: dev NDCG@10 %.4f, pure %.4f", best, scored[best], scored[1.0])
    return best


@dataclass(frozen=True)
class Result:
    """What evaluate_reranker writes: metrics, the curve by depth, a row per query, the runs."""

    metrics: dict[str, Any]
    curve: pd.DataFrame
    per_query: pd.DataFrame
    runs: dict[str, Run]


def evaluate(
    base: CrossEncoder,
    tuned: CrossEncoder,
    corpus: Corpus,
    candidates: pd.DataFrame,
    knobs: Reranker,
    device_settings: DeviceSettings,
    batch: int,
    *,
    resamples: int,
    seed: int,
) -> Result:
    """Score embedder alone, base and tuned reranker, and fused scores at every depth.

    The base reranker is scored down to the compared depth only, the one that stands in the
    report. The fusion weight is chosen at that depth, on `fusion_queries` dev queries drawn with
    the seed.
    """
    compared, deepest = knobs.compared_depth, max(knobs.depths)
    dev = _drawn(_of_split(candidates, "dev", compared), knobs.fusion_queries, seed)
    right = qrels_of(corpus, "dev")
    weight = choose_weight(
        dev,
        score_pairs(tuned, corpus, dev, device_settings, batch),
        {query_id: right[query_id] for query_id in dev["query_id"].unique()},
        compared,
    )
    found = _of_split(candidates, "eval", deepest)
    logits = score_pairs(tuned, corpus, found, device_settings, batch)
    inside = (found["rank"] <= compared).to_numpy()
    base_logits = np.full(len(found), np.nan, dtype=np.float32)
    base_logits[inside] = score_pairs(base, corpus, found[inside], device_settings, batch)
    systems = {"embedder": found["score"].to_numpy(), "base": base_logits, "tuned": logits}
    runs = {
        (name, depth): reranked(found, scores, depth)
        for name, scores in systems.items()
        for depth in knobs.depths
        if name != "base" or depth <= compared
    }
    for depth in knobs.depths:
        runs["fused", depth] = reranked(found, fused(found, logits, weight, depth), depth)
    names = [*systems, "fused"]
    qrels = qrels_of(corpus, "eval")
    scored = {key: metrics_per_query(answers, qrels) for key, answers in runs.items()}
    metrics = _metrics(scored, corpus, qrels, compared, resamples=resamples, seed=seed)
    _log_outcome(metrics, compared)
    return Result(
        metrics | {"fusion_weight": weight},
        pd.DataFrame(
            [
                [depth, name, round(float(t["ndcg@10"].mean()), 6)]
                for (name, depth), t in scored.items()
            ],
            columns=["depth", "model", "ndcg@10"],
        ),
        pd.concat(
            [scored[name, compared][["ndcg@10", "rank"]].add_prefix(f"{name}_") for name in names],
            axis=1,
        ).reset_index(),
        {name: runs[name, compared if name == "base" else deepest] for name in names},
    )


def _of_split(candidates: pd.DataFrame, split: str, depth: int) -> pd.DataFrame:
    """Candidates of a split down to a depth."""
    inside = (candidates["split"] == split) & (candidates["rank"] <= depth)
    return candidates[inside].reset_index(drop=True)


def _drawn(candidates: pd.DataFrame, queries: int, seed: int) -> pd.DataFrame:
    """The candidates of so many queries, drawn: the first ones ask about few documents."""
    found = np.sort(candidates["query_id"].unique().astype(str))
    chosen = np.random.default_rng(seed).permutation(found)[:queries]
    return candidates[candidates["query_id"].isin(chosen)].reset_index(drop=True)


def _metrics(
    scored: dict[tuple[str, int], pd.DataFrame],
    corpus: Corpus,
    qrels: Qrels,
    compared: int,
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    depths = sorted({depth for _, depth in scored})
    documents = documents_of(corpus, qrels)

    def ndcg(name: str, depth: int) -> np.ndarray:
        return scored[name, depth]["ndcg@10"].to_numpy()

    def won(before: str, after: str) -> dict[str, float]:
        values = ndcg(before, compared), ndcg(after, compared)
        return gain(*values, documents, resamples=resamples, seed=seed)

    return {
        "depth": {
            depth: {
                name: {"ndcg@10": float(ndcg(name, depth).mean())}
                for name, at in scored
                if at == depth
            }
            for depth in depths
        },
        "gain": won("embedder", "tuned"),
        "training": won("base", "tuned"),
        "fusion": won("embedder", "fused"),
        "recall@10": float(scored["tuned", compared]["recall@10"].mean()),
        "first_stage_missed": int((scored["embedder", depths[-1]]["rank"] == 0).sum()),
    }


def _log_outcome(metrics: dict[str, Any], compared: int) -> None:
    at = metrics["depth"][compared]
    log.info(
        "NDCG@10 reranking %d pages %.4f, embedder alone %.4f, gain %+.4f; base reranker %.4f",
        compared,
        at["tuned"]["ndcg@10"],
        at["embedder"]["ndcg@10"],
        metrics["gain"]["ndcg@10"],
        at["base"]["ndcg@10"],
    )
