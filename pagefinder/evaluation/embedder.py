"""What the report says of an embedder: how much better, how surely, and on which questions."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pagefinder.evaluation.significance import gain
from pagefinder.retrieval.runs import METRICS, Qrels, Run, first_right, write_qrels, write_run
from pagefinder.retrieval.vector_search import Task
from pagefinder.runtime import outputs
from pagefinder.systems import BASE, DISTRACTORS, RANDOM, TEXT_BASELINES, TUNED, TUNED_AT

SLICES = ("origin", "kind", "document_id")


def about_queries(task: Task) -> pd.DataFrame:
    """One row per question (index query_id): text, origin, and document_id and kind of its page.

    Its page is its first right one in the qrels. A page that belongs to no known document counts as
    one of its own: questions about one page are no more independent than those about one document.
    """
    pages = task.corpus.pages
    first = first_right({query: task.qrels[query] for query in task.query_ids})
    right = pages.iloc[[task.corpus.page_row[page] for page in first]].reset_index(drop=True)
    queries = task.corpus.queries.iloc[task.query_rows].reset_index(drop=True)
    return pd.DataFrame(
        {
            "query_id": task.query_ids,
            "text": queries["text"],
            "origin": queries["origin"],
            "document_id": right["document_id"].fillna(right["page_id"]),
            "kind": right["kind"],
        },
        dtype="str",
    ).set_index("query_id")


def embedder_metrics(
    scored: Mapping[str, pd.DataFrame],
    compared: Sequence[str],
    claims: pd.DataFrame,
) -> dict[str, object]:
    """The numbers of metrics/embedder.json.

    Args:
        scored: Per system, its metrics per question.
        compared: Names of the models under `compare`.
        claims: From `comparisons`; `gain` is its line on base, tuned and NDCG@10. Where documents
            are too few for an interval, gain has no low, high and p_value.
    """

    def ndcg(name: str) -> dict[str, float]:
        return {"ndcg@10": float(scored[name]["ndcg@10"].mean())}

    chosen = claims.query("before == 'base' and after == 'tuned' and metric == 'ndcg@10'").iloc[0]
    claim = chosen[["difference", "low", "high", "p_value", "documents"]].dropna()
    text = {name: ndcg(name) for name in TEXT_BASELINES if name in scored}
    optional = {
        "text": text,
        "compare": {name: ndcg(name) for name in compared},
        "distractors": {
            name: ndcg(far) for name in (BASE, TUNED) if (far := name + DISTRACTORS) in scored
        },
    }
    return {
        BASE: ndcg(BASE),
        TUNED: {name: float(scored[TUNED][name].mean()) for name in METRICS},
        "gain": claim.rename({"difference": "ndcg@10"}).to_dict(),
        RANDOM: ndcg(RANDOM),
    } | {name: content for name, content in optional.items() if content}


def comparisons(
    scored: Mapping[str, pd.DataFrame],
    documents: Sequence[str],
    *,
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """Every claim of the form "tuned is better than B": per B, `statistics.gain`.

    Against the base every metric is compared, against the others NDCG@10. What is cut to fewer
    dimensions (tuned@D) is compared with base and tuned at all of them. Two systems that search
    among all pages are compared with each other alone.

    Returns:
        before, after, metric, queries, documents, difference, low, high, p_value (the last three
        empty where documents are too few).
    """
    cuts = [name for name in scored if name.startswith(TUNED_AT)]
    others = [name for name in scored if name not in cuts]
    pairs = [
        (name, TUNED + DISTRACTORS if name.endswith(DISTRACTORS) else TUNED) for name in others
    ]
    pairs += [(name, cut) for cut in cuts for name in (BASE, TUNED)]
    rows = []
    for before, after in pairs:
        if before in (after, RANDOM):
            continue
        for metric in METRICS if (before, after) == (BASE, TUNED) else METRICS[:1]:
            result = gain(
                scored[before][metric],
                scored[after][metric],
                documents,
                resamples=resamples,
                seed=seed,
                metric="difference",
            )
            row = {"before": before, "after": after, "metric": metric, "queries": len(documents)}
            rows.append(row | result)
    columns = ["before", "after", "metric", "queries", "documents", "difference"]
    return pd.DataFrame(rows).reindex(columns=[*columns, "low", "high", "p_value"])


def slices(
    about: pd.DataFrame, scored: Mapping[str, pd.DataFrame], *, resamples: int, seed: int
) -> pd.DataFrame:
    """Where tuning helps: NDCG@10 of base and tuned by origin, page kind and document.

    A document that is asked about only once is no slice.

    Returns:
        by, value, queries, base, tuned, difference, low, high, p_value, documents.
    """
    rows = []
    for by in SLICES:
        for value, part in about.groupby(by, sort=True):
            if by == "document_id" and len(part) == 1:
                continue
            base, tuned = (scored[name].loc[part.index, "ndcg@10"] for name in (BASE, TUNED))
            result = gain(
                base,
                tuned,
                part["document_id"].tolist(),
                resamples=resamples,
                seed=seed,
                metric="difference",
            )
            means = {"base": base.mean(), "tuned": tuned.mean()}
            rows.append({"by": by, "value": value, "queries": len(part)} | means | result)
    columns = ["by", "value", "queries", "base", "tuned", "difference", "low", "high", "p_value"]
    return pd.DataFrame(rows).reindex(columns=[*columns, "documents"])


def model_sizes(folders: Mapping[str, Path], scored: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Quality against size of every model whose vectors lie in `folders`.

    Returns:
        model, parameters (as the encode stage counted them), ndcg@10.
    """
    rows = []
    for name, folder in folders.items():
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        rows.append([name, about["parameters"], scored[name]["ndcg@10"].mean()])
    return pd.DataFrame(rows, columns=["model", "parameters", "ndcg@10"])


def write_per_query(
    about: pd.DataFrame, scored: Mapping[str, pd.DataFrame], path: Path, root: Path
) -> None:
    """Write the per-query table as Parquet: what `about_queries` says, then SYSTEM.METRIC.

    SYSTEM.rank is that of the first right page, 0 where the run has none.
    """
    parts = [about, *(frame.add_prefix(f"{name}.") for name, frame in scored.items())]
    table = pa.Table.from_pandas(pd.concat(parts, axis=1).reset_index(), preserve_index=False)
    with outputs.output(path, root) as scratch:
        pq.write_table(table.replace_schema_metadata(None), scratch, compression="zstd")


def write_runs(runs: Mapping[str, Run], qrels: Qrels, folder: Path, root: Path) -> None:
    """Write every run as NAME.trec and the judgements as qrels.trec into one folder."""
    with outputs.output(folder, root) as scratch:
        scratch.mkdir(parents=True)
        for name, run in runs.items():
            write_run(run, scratch / f"{name}.trec", name)
        write_qrels(qrels, scratch / "qrels.trec")
