"""Rerank first-stage candidates by a cross-encoder's logits, and fuse these with the first stage.

Candidates are a table with query_id, page_id, rank (from 1) and score, the first stage's cosine.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pagefinder.data.corpus import Corpus
from pagefinder.evaluation.significance import gain
from pagefinder.params import Reranker
from pagefinder.retrieval.metrics import mean_metrics, metrics_per_query
from pagefinder.retrieval.runs import Qrels, Run, documents_of, qrels_of
from pagefinder.systems import BASE, EMBEDDER, FUSED, RERANKING, TUNED

log = logging.getLogger(__name__)

# Gives the logits of candidates, float32 [candidates], in their order.
Scorer = Callable[[pd.DataFrame], np.ndarray]
# Weights of the reranker's logit against the first stage's cosine, tried on dev. Both are
# standardised, so that 0.5 gives them equal weight.
WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


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
    """Weighted sum of logit and first-stage score, both standardised within each query.

    Only each query's first `depth` candidates count and get a score. Candidates further down get
    nan: they are not reranked, and would change the balance of the two scores.
    """
    inside = (candidates["rank"] <= depth).to_numpy()
    rows = candidates[inside]
    first_stage = _standardised(rows, rows["score"].to_numpy())
    scores = np.full(len(candidates), np.nan)
    scores[inside] = weight * _standardised(rows, logits[inside]) + (1 - weight) * first_stage
    return scores


def _standardised(candidates: pd.DataFrame, values: np.ndarray) -> np.ndarray:
    """Values of candidates with mean 0 and deviation 1 within each query, float64."""
    series = pd.Series(np.asarray(values, np.float64), index=candidates.index)
    grouped = series.groupby(candidates["query_id"])
    spread = grouped.transform("std", ddof=0).to_numpy()
    centred = (series - grouped.transform("mean")).to_numpy()
    # A query with one candidate, or with equal scores, has no spread and nothing to reorder.
    return np.asarray(np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0))


def choose_weight(dev: pd.DataFrame, logits: np.ndarray, qrels: Qrels, depth: int) -> float:
    """The fusion weight with the best NDCG@10 on dev; of equally good ones the smallest.

    `logits` are the reranker's, of the dev candidates. Without qrels the weight is 1.
    """
    if not qrels:
        return 1.0
    ndcg = {}
    for weight in WEIGHTS:
        run = reranked(dev, fused(dev, logits, weight, depth), depth)
        ndcg[weight] = mean_metrics(run, qrels)["ndcg@10"]
    best = max(WEIGHTS, key=lambda weight: (round(ndcg[weight], 9), -weight))
    log.info("fusion weight %.1f: dev NDCG@10 %.4f, pure %.4f", best, ndcg[best], ndcg[1.0])
    return best


@dataclass(frozen=True)
class Result:
    """What evaluate_reranker writes."""

    metrics: dict[str, Any]
    curve: pd.DataFrame  # depth, model, ndcg@10
    per_query: pd.DataFrame  # query_id, SYSTEM_ndcg@10, SYSTEM_rank
    runs: dict[str, Run]  # by system, each at its deepest


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
    """Score four systems at each depth: embedder alone, base reranker, tuned reranker, and fused.

    The base reranker is scored down to the compared depth only, the one that stands in the report.
    The fusion weight is chosen at that depth, on `fusion_queries` random dev queries.

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
    weight = _fusion_weight(candidates, corpus, tuned, params, seed)
    rows = _of_split(candidates, "eval", deepest)
    inside = (rows["rank"] <= compared).to_numpy()
    base_logits = np.full(len(rows), np.nan, dtype=np.float32)
    base_logits[inside] = base(rows[inside])
    logits = tuned(rows)
    systems = {EMBEDDER: rows["score"].to_numpy(), BASE: base_logits, TUNED: logits}
    runs = {
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
    per_query = [
        scored[name, compared][["ndcg@10", "rank"]].add_prefix(f"{name}_") for name in RERANKING
    ]
    return Result(
        metrics | {"fusion_weight": weight},
        pd.DataFrame(curve, columns=["depth", "model", "ndcg@10"]).round({"ndcg@10": 6}),
        pd.concat(per_query, axis=1).reset_index(),
        {name: runs[name, compared if name == BASE else deepest] for name in RERANKING},
    )


def _fusion_weight(
    candidates: pd.DataFrame, corpus: Corpus, tuned: Scorer, params: Reranker, seed: int
) -> float:
    """The fusion weight, chosen on random dev queries."""
    dev = _of_split(candidates, "dev", params.compared_depth)
    # Random ones, because the first queries ask about few documents.
    query_ids = np.sort(dev["query_id"].unique().astype(str))
    query_ids = np.random.default_rng(seed).permutation(query_ids)[: params.fusion_queries]
    dev = dev[dev["query_id"].isin(query_ids)].reset_index(drop=True)
    qrels = qrels_of(corpus, "dev")
    qrels = {query_id: qrels[query_id] for query_id in dev["query_id"].unique()}
    return choose_weight(dev, tuned(dev), qrels, params.compared_depth)


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
    return {
        "depth": depths,
        "gain": gained(EMBEDDER, TUNED),
        "training": gained(BASE, TUNED),
        "fusion": gained(EMBEDDER, FUSED),
        "recall@10": float(scored[TUNED, compared]["recall@10"].mean()),
        "first_stage_missed": int((scored[EMBEDDER, max(depths)]["rank"] == 0).sum()),
    }


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
