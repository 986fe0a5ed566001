"""What the report reads: the files of a run.

Some files are there only for some sources and settings. A table that is missing is an empty one,
missing metrics are an empty dictionary. The report says in a sentence what is missing.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pagefinder import layout
from pagefinder.data.corpus import Corpus
from pagefinder.params import Params
from pagefinder.reporting.format import smallest_p
from pagefinder.systems import RERANKED, TUNED

Metrics = dict[str, Any]  # the content of a file in metrics/
Run = dict[str, list[str]]  # query_id -> page_ids, best first


@dataclass(frozen=True)
class Inputs:
    """A run: its params, and what its stages wrote.

    Attributes:
        provenance: Where the source's data come from, e.g. source and commit.
        seeds: `spread.figures` by seed, from tools.experiments.
        grid: dimension, model, precision, ndcg@10, recall@10, bytes_per_page, pareto.
        pixel_budgets: max_pixels, tokens_per_page, ndcg@10, recall@10 of the tuned model.
        depth_curve: depth, model, ndcg@10.
        training_curves: By `embedder` and `reranker`: step, metric, value.
        comparisons: before, after, metric, queries, documents, difference, low, high, p_value,
            smallest_p.
        model_sizes: model, parameters, ndcg@10 of base, tuned and the compared models.
        slices: by, value, queries, base, tuned, difference, low, high, p_value, documents,
            smallest_p.
        queries: A row per eval query (index query_id): text, document_id, SYSTEM.METRIC.
        runs: By the name of the file in data/runs.
        written: What a model wrote and what the filters dropped; {} where none was asked.
        written_sheet: Sampled written questions with their verdicts and pictures.
        audit_sheet: Sampled train queries with their positive, kept and dropped pages.
        mined_scores: group, score, pairs: the mined pairs by cosine.
        candidate_ranks: split, rank, share: where the tuned embedder puts the right page.
        quarantined: Rows left out, with a reason each.
    """

    params: Params
    corpus: Corpus
    provenance: dict[str, Any]
    requirements_lock: str
    corpus_counts: Metrics
    mining: Metrics
    embedder: Metrics
    fusion: Metrics
    answers: Metrics
    recipe: Metrics
    dimensions: Metrics
    reranker: Metrics
    seeds: Metrics
    grid: pd.DataFrame
    pixel_budgets: pd.DataFrame
    depth_curve: pd.DataFrame
    training_curves: dict[str, pd.DataFrame]
    comparisons: pd.DataFrame
    model_sizes: pd.DataFrame
    slices: pd.DataFrame
    queries: pd.DataFrame
    runs: dict[str, Run]
    written: Metrics
    written_sheet: pd.DataFrame
    audit_sheet: pd.DataFrame
    mined_scores: pd.DataFrame
    candidate_ranks: pd.DataFrame
    quarantined: pd.DataFrame

    def gain(self, before: str, after: str) -> dict[str, float]:
        """What the system `after` adds to `before`: ndcg@10, low, high, p_value, smallest_p.

        The interval and p-value are missing where documents are too few; {} where the two systems
        were not compared.
        """
        if self.comparisons.empty:
            return {}
        rows = self.comparisons.query("before == @before and after == @after")
        rows = rows[rows["metric"] == "ndcg@10"].rename(columns={"difference": "ndcg@10"})
        columns = ["ndcg@10", "low", "high", "p_value", "smallest_p"]
        gains = rows[columns].dropna(axis=1).to_dict("records")
        return {str(name): float(value) for name, value in gains[0].items()} if gains else {}


def read_inputs(params: Params, root: Path) -> Inputs:
    """Read what the stages wrote below `root`; `params` are those of the run."""
    metrics, plots, audit = root / layout.METRICS, root / layout.PLOTS, root / layout.AUDIT
    per_query, lock = root / layout.PER_QUERY, root / "requirements.lock"
    systems = ("embedder/base", "embedder/tuned", "reranker/embedder", "reranker/tuned")
    runs = (*systems, "reranker/first_stage")
    return Inputs(
        params=params,
        corpus=Corpus(root / layout.CORPUS),
        provenance=_json(root / layout.SOURCE / "provenance.json"),
        requirements_lock=lock.read_text(encoding="utf-8") if lock.is_file() else "",
        corpus_counts=_json(metrics / "corpus.json"),
        mining=_json(metrics / "mining.json"),
        embedder=_gains(_json(metrics / "embedder.json"), params),
        fusion=_gains(_json(metrics / "fusion.json"), params),
        answers=_json(metrics / "answers.json"),
        recipe=_json(metrics / "recipe.json"),
        dimensions=_json(metrics / "dimensions.json"),
        reranker=_gains(_json(metrics / "reranker.json"), params),
        seeds=_json(metrics / "seeds.json"),
        grid=_table(plots / "dimensions.csv"),
        pixel_budgets=_table(plots / "pixels.csv"),
        depth_curve=_table(plots / "depth.csv"),
        training_curves={
            model: _table(plots / f"{model}_training.csv") for model in ("embedder", "reranker")
        },
        comparisons=_claims(per_query / "embedder_comparisons.csv", params),
        model_sizes=_table(per_query / "embedder_models.csv"),
        slices=_claims(per_query / "embedder_slices.csv", params),
        queries=_queries(per_query),
        runs={name: _run(root / layout.RUNS / f"{name}.trec") for name in runs},
        written=_json(metrics / "written.json"),
        written_sheet=_table(root / layout.WRITTEN / "sheet.parquet"),
        audit_sheet=_table(audit / "mining" / "sheet.parquet"),
        mined_scores=_table(audit / "mining" / "histogram.csv"),
        candidate_ranks=_table(audit / "candidates" / "histogram.csv"),
        quarantined=_table(root / layout.QUARANTINE),
    )


def _gains(metrics: Metrics, params: Params) -> Metrics:
    """Metrics with `smallest_p` beside each p-value: what lies there is an upper bound."""
    smallest = {"smallest_p": smallest_p(params.evaluate.bootstrap)} if "p_value" in metrics else {}
    parts = {k: _gains(v, params) if isinstance(v, dict) else v for k, v in metrics.items()}
    return parts | smallest


def _claims(path: Path, params: Params) -> pd.DataFrame:
    """A table of comparisons with `smallest_p` beside each p-value."""
    table = _table(path)
    return table if table.empty else table.assign(smallest_p=smallest_p(params.evaluate.bootstrap))


def _queries(folder: Path) -> pd.DataFrame:
    """The table of eval queries in a folder, with `reranked.*` where a reranker was measured."""
    table, reranked = _table(folder / "embedder.parquet"), _table(folder / "reranker.parquet")
    if table.empty:
        return table
    table = table.set_index("query_id")
    if not reranked.empty:
        reranked = reranked.set_index("query_id")
        for metric in ("ndcg@10", "rank"):
            table[f"{RERANKED}.{metric}"] = reranked[f"{TUNED}_{metric}"]
    return table


def _run(path: Path) -> Run:
    """The page ids of a TREC run by query id, best first; {} where there is no such file."""
    if not path.is_file():
        return {}
    columns = ["query_id", "q0", "page_id", "rank", "score", "run"]
    ids = {"query_id": str, "page_id": str}
    rows = pd.read_csv(
        path, sep=" ", names=columns, dtype=ids, keep_default_na=False, quoting=csv.QUOTE_NONE
    ).sort_values(["query_id", "rank"])
    return {str(query): pages.tolist() for query, pages in rows.groupby("query_id")["page_id"]}


def _json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; {} where there is none."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return content


def _table(path: Path) -> pd.DataFrame:
    """A table from CSV or Parquet; an empty one where the file is missing or empty."""
    if not path.is_file() or not path.stat().st_size:
        return pd.DataFrame()
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    try:
        # Only an empty cell is missing: "NA" may well be a kind of page.
        return pd.read_csv(path, keep_default_na=False, na_values=[""])
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
