"""How much better the tuned embedder is, how surely, and on which queries."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pagefinder.evaluation.significance import gain
from pagefinder.retrieval.metrics import METRICS
from pagefinder.retrieval.runs import documents_of, first_relevant
from pagefinder.retrieval.tasks import Task
from pagefinder.runtime import outputs
from pagefinder.systems import (
    BASE,
    BM25,
    DISTRACTORS,
    RANDOM,
    TEXT_BASELINES,
    TUNED,
    TUNED_AT,
    WITH_BM25,
)

SLICES = ("origin", "kind", "document_id")


def query_table(task: Task) -> pd.DataFrame:
    """One row per query (index query_id): text, origin, and document_id and kind of its page.

    A query's page is its first relevant one in the qrels. `document_id` is from `documents_of`.
    """
    corpus = task.corpus
    page_rows = [corpus.page_row[page_id] for page_id in first_relevant(task.qrels)]
    return pd.DataFrame(
        {
            "query_id": task.query_ids,
            "text": task.query_texts,
            "origin": corpus.queries["origin"].iloc[task.query_rows].array,
            "document_id": documents_of(corpus, task.qrels),
            "kind": corpus.pages["kind"].iloc[page_rows].array,
        },
        dtype="str",
    ).set_index("query_id")


def embedder_metrics(
    scored: Mapping[str, pd.DataFrame], compared: Sequence[str], claims: pd.DataFrame
) -> dict[str, object]:
    """The numbers of metrics/embedder.json.

    Args:
        scored: By system, its metrics per query.
        compared: Names of the models under `compare`.
        claims: Of `comparisons`; `gain` is its line on base, tuned and NDCG@10. Where documents
            are too few for an interval, gain has no low, high and p_value.
    """

    def ndcg(system: str) -> dict[str, float]:
        return {"ndcg@10": float(scored[system]["ndcg@10"].mean())}

    all_pages = {name: name + DISTRACTORS for name in (BASE, TUNED)}
    optional = {
        "text": {name: ndcg(name) for name in TEXT_BASELINES if name in scored},
        "compare": {name: ndcg(name) for name in compared},
        "distractors": {
            name: ndcg(system) for name, system in all_pages.items() if system in scored
        },
    }
    return {
        BASE: ndcg(BASE),
        TUNED: {name: float(scored[TUNED][name].mean()) for name in METRICS},
        "gain": claimed_gain(claims, BASE, TUNED),
        RANDOM: ndcg(RANDOM),
    } | {name: metrics for name, metrics in optional.items() if metrics}


def claimed_gain(claims: pd.DataFrame, before: str, after: str) -> dict[str, float]:
    """The line of `comparisons` on two systems and NDCG@10, as `significance.gain` gives it."""
    rows = claims[(claims["before"] == before) & (claims["after"] == after)]
    row = rows[rows["metric"] == "ndcg@10"].iloc[0]
    row = row[["difference", "low", "high", "p_value", "documents"]].dropna()
    numbers = row.rename({"difference": "ndcg@10"}).to_dict()
    return {str(name): number for name, number in numbers.items()}


def comparisons(
    scored: Mapping[str, pd.DataFrame], documents: Sequence[str], resamples: int, seed: int
) -> pd.DataFrame:
    """The differences between two systems, each with its interval and p-value.

    The tuned embedder is compared with the base by all METRICS, with any other system but random by
    NDCG@10. Cut to D dimensions (tuned@D), it is compared with base and tuned at full dimension.
    Systems that search among all pages are compared with each other only. An embedder fused with
    BM25 is compared with each of the two alone, and the tuned one with the base, both fused.

    Args:
        scored: By system, its metrics per query.
        documents: [queries] the document of each query.
        resamples: See `gain`.
        seed: See `gain`.

    Returns:
        before, after, metric, queries, documents, difference, low, high, p_value (the last three
        empty where documents are too few).
    """
    pairs = []
    fused = [system for system in scored if system.endswith(WITH_BM25)]
    for system in scored:
        if system.startswith(TUNED_AT) or system in fused:
            continue
        after = TUNED + DISTRACTORS if system.endswith(DISTRACTORS) else TUNED
        if system not in (after, RANDOM):
            pairs.append((system, after))
    cuts = [system for system in scored if system.startswith(TUNED_AT) and system not in fused]
    pairs += [(before, cut) for cut in cuts for before in (BASE, TUNED)]
    for system in fused:
        pairs += [(part, system) for part in (system.removesuffix(WITH_BM25), BM25)]
    if {BASE + WITH_BM25, TUNED + WITH_BM25} <= set(fused):
        pairs.append((BASE + WITH_BM25, TUNED + WITH_BM25))
    claim = partial(gain, resamples=resamples, seed=seed, metric="difference")
    rows = []
    for before, after in pairs:
        for metric in METRICS if (before, after) == (BASE, TUNED) else ("ndcg@10",):
            row = {"before": before, "after": after, "metric": metric, "queries": len(documents)}
            rows.append(row | claim(scored[before][metric], scored[after][metric], documents))
    columns = ["before", "after", "metric", "queries", "documents", "difference"]
    return pd.DataFrame(rows).reindex(columns=[*columns, "low", "high", "p_value"])


def slices(
    scored: Mapping[str, pd.DataFrame], queries: pd.DataFrame, resamples: int, seed: int
) -> pd.DataFrame:
    """Where tuning helps: NDCG@10 of base and tuned by origin, page kind and document.

    A document that has only one query is no slice. `queries` is from `query_table`; `scored`,
    `resamples` and `seed` are as for `comparisons`.

    Returns:
        by, value, queries, base, tuned, difference, low, high, p_value, documents.
    """
    claim = partial(gain, resamples=resamples, seed=seed, metric="difference")
    rows = []
    for by in SLICES:
        for value, part in queries.groupby(by, sort=True):
            if by == "document_id" and len(part) == 1:
                continue
            base, tuned = (scored[name].loc[part.index, "ndcg@10"] for name in (BASE, TUNED))
            row = {"by": by, "value": value, "queries": len(part)}
            row |= {"base": base.mean(), "tuned": tuned.mean()}
            rows.append(row | claim(base, tuned, part["document_id"].tolist()))
    columns = ["by", "value", "queries", "base", "tuned", "difference", "low", "high", "p_value"]
    return pd.DataFrame(rows).reindex(columns=[*columns, "documents"])


def model_sizes(scored: Mapping[str, pd.DataFrame], folders: Mapping[str, Path]) -> pd.DataFrame:
    """NDCG@10 and number of parameters of each model; `folders` hold the models' vectors by name.

    Returns:
        model, parameters (as the encode stage counted them), ndcg@10.
    """
    rows = []
    for name, folder in folders.items():
        model = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        rows.append([name, model["parameters"], scored[name]["ndcg@10"].mean()])
    return pd.DataFrame(rows, columns=["model", "parameters", "ndcg@10"])


def write_per_query(
    queries: pd.DataFrame, scored: Mapping[str, pd.DataFrame], path: Path, root: Path
) -> None:
    """Write the per-query table as Parquet: the columns of `query_table`, then SYSTEM.METRIC.

    SYSTEM.rank is that of the first relevant page, 0 where the run has none.
    """
    parts = [queries, *(frame.add_prefix(f"{name}.") for name, frame in scored.items())]
    table = pa.Table.from_pandas(pd.concat(parts, axis=1).reset_index(), preserve_index=False)
    with outputs.output(path, root) as scratch:
        pq.write_table(table.replace_schema_metadata(None), scratch, compression="zstd")
