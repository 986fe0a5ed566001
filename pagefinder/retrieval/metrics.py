"""Metrics of a run, by trec_eval: NDCG, recall and reciprocal rank, per query and on average."""

import numpy as np
import pandas as pd
import pytrec_eval

from pagefinder.retrieval.runs import Qrels, Run

CUT = 10  # pages of a query that a metric looks at, at most
# Each metric of a run, and what trec_eval calls it.
METRICS = {
    "ndcg@10": "ndcg_cut_10",
    "ndcg@5": "ndcg_cut_5",
    "recall@1": "recall_1",
    "recall@10": "recall_10",
    "mrr@10": "recip_rank",
}


def metrics_per_query(run: Run, qrels: Qrels) -> pd.DataFrame:
    """Score a run with trec_eval (through pytrec_eval).

    NDCG takes the relevance as its gain (trec_eval's, not 2^relevance - 1) and the logarithm to
    base 2 as its discount. In recall, mrr and rank every page with a relevance above 0 counts as
    relevant.

    Args:
        run: The run of any system.
        qrels: By query, {page_id: relevance}, at least one relevance above 0 for each query.

    Returns:
        One row per query of `qrels`, in its order (index query_id): METRICS, and `rank`, that of
        the first relevant page in the run, 0 where there is none. A query that the run does not
        answer scores 0, as under `trec_eval -c`.
    """
    evaluator = pytrec_eval.RelevanceEvaluator(
        {query_id: dict(pages) for query_id, pages in qrels.items()}, {*METRICS.values()}
    )
    results = evaluator.evaluate(run.as_dict())
    scored = pd.DataFrame(
        [
            [results.get(query_id, {}).get(name, 0.0) for name in METRICS.values()]
            for query_id in qrels
        ],
        index=pd.Index(list(qrels), name="query_id"),
        columns=list(METRICS),
    )
    reciprocal = scored["mrr@10"].to_numpy()
    scored["rank"] = np.where(reciprocal > 0, np.rint(1 / np.maximum(reciprocal, 1e-9)), 0)
    scored = scored.astype({"rank": "int32"})
    # trec_eval's recip_rank has no cutoff: `-M 10` is the same as dropping the ranks past 10.
    scored["mrr@10"] = np.where(scored["rank"] <= 10, reciprocal, 0.0)
    return scored


def mean_metrics(run: Run, qrels: Qrels) -> dict[str, float]:
    """METRICS averaged over the queries of `qrels`."""
    means = metrics_per_query(run, qrels)[list(METRICS)].mean()
    return {name: float(means[name]) for name in METRICS}
