"""What the report reads: every file of the run, opened where it is first needed.

Some files are there only for some sources and settings. A table that is missing is an empty one,
missing metrics are an empty dictionary. The report says in a sentence what is missing.
"""

import csv
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from pagefinder import layout
from pagefinder.data.corpus import Corpus
from pagefinder.params import Params
from pagefinder.systems import RERANKED, TUNED


@dataclass(frozen=True)
class Inputs:
    """A run: its params, and what its stages wrote below `root`."""

    params: Params
    root: Path

    @cached_property
    def corpus(self) -> Corpus:
        """Pages, queries and qrels."""
        return Corpus(self.root / layout.CORPUS)

    @cached_property
    def embedder(self) -> dict[str, Any]:
        """metrics/embedder.json."""
        return self._metrics("embedder")

    @cached_property
    def dimensions(self) -> dict[str, Any]:
        """metrics/dimensions.json."""
        return self._metrics("dimensions")

    @cached_property
    def reranker(self) -> dict[str, Any]:
        """metrics/reranker.json."""
        return self._metrics("reranker")

    @cached_property
    def mining(self) -> dict[str, Any]:
        """metrics/mining.json."""
        return self._metrics("mining")

    @cached_property
    def seeds(self) -> dict[str, Any]:
        """metrics/seeds.json: figures by seed, from tools/experiments.py."""
        return self._metrics("seeds")

    @cached_property
    def corpus_counts(self) -> dict[str, Any]:
        """metrics/corpus.json."""
        return self._metrics("corpus")

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """The source's provenance.json."""
        return _json(self.root / layout.SOURCE / "provenance.json")

    @cached_property
    def requirements_lock(self) -> str:
        """The text of requirements.lock; empty where there is none."""
        path = self.root / "requirements.lock"
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    @cached_property
    def dimension_grid(self) -> pd.DataFrame:
        """dimension, model, precision, ndcg@10, recall@10, bytes_per_page, pareto."""
        return _table(self.root / layout.PLOTS / "dimensions.csv")

    @cached_property
    def pixel_budgets(self) -> pd.DataFrame:
        """max_pixels, tokens_per_page, ndcg@10, recall@10 of the tuned model."""
        return _table(self.root / layout.PLOTS / "pixels.csv")

    @cached_property
    def depth_curve(self) -> pd.DataFrame:
        """depth, model, ndcg@10."""
        return _table(self.root / layout.PLOTS / "depth.csv")

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """before, after, metric, queries, documents, difference, low, high, p_value."""
        return _table(self.root / layout.PER_QUERY / "embedder_comparisons.csv")

    def gain(self, before: str, after: str) -> dict[str, float]:
        """What `after` adds to `before`: ndcg@10, low, high, p_value.

        Without the last three where documents are too few, {} where the two were not compared.
        """
        if self.comparisons.empty:
            return {}
        rows = self.comparisons.query("before == @before and after == @after")
        rows = rows[rows["metric"] == "ndcg@10"].rename(columns={"difference": "ndcg@10"})
        gains = rows[["ndcg@10", "low", "high", "p_value"]].dropna(axis=1).to_dict("records")
        return {str(name): float(value) for name, value in gains[0].items()} if gains else {}

    @cached_property
    def model_sizes(self) -> pd.DataFrame:
        """model, parameters, ndcg@10 of base, tuned and the compared models."""
        return _table(self.root / layout.PER_QUERY / "embedder_models.csv")

    @cached_property
    def slices(self) -> pd.DataFrame:
        """by, value, queries, base, tuned, difference, low, high, p_value, documents."""
        return _table(self.root / layout.PER_QUERY / "embedder_slices.csv")

    @cached_property
    def queries(self) -> pd.DataFrame:
        """One row per eval query (index query_id): text, document_id, SYSTEM.METRIC, reranked.*."""
        table = _table(self.root / layout.PER_QUERY / "embedder.parquet")
        if table.empty:
            return table
        table = table.set_index("query_id")
        reranked = _table(self.root / layout.PER_QUERY / "reranker.parquet")
        if not reranked.empty:
            reranked = reranked.set_index("query_id")
            for metric in ("ndcg@10", "rank"):
                table[f"{RERANKED}.{metric}"] = reranked[f"{TUNED}_{metric}"]
        return table

    @cached_property
    def audit_sheet(self) -> pd.DataFrame:
        """Sampled train queries with their positive, kept and dropped pages."""
        return _table(self.root / layout.AUDIT / "mining" / "sheet.parquet")

    @cached_property
    def mined_scores(self) -> pd.DataFrame:
        """group, score, pairs: the mined pairs by cosine."""
        return _table(self.root / layout.AUDIT / "mining" / "histogram.csv")

    @cached_property
    def candidate_ranks(self) -> pd.DataFrame:
        """split, pages, rank, queries, share: where the tuned embedder puts the right page."""
        return _table(self.root / layout.AUDIT / "candidates" / "histogram.csv")

    @cached_property
    def quarantined(self) -> pd.DataFrame:
        """Rows left out, with a reason each."""
        return _table(self.root / layout.QUARANTINE)

    def training_curves(self, model: str) -> pd.DataFrame:
        """step, metric, value of a training: `embedder` or `reranker`."""
        return _table(self.root / layout.PLOTS / f"{model}_training.csv")

    def run(self, name: str) -> dict[str, list[str]]:
        """query_id -> page_ids of data/runs/NAME.trec, best first; empty where there is none."""
        path = self.root / layout.RUNS / f"{name}.trec"
        if not path.is_file():
            return {}
        columns = ["query_id", "q0", "page_id", "rank", "score", "run"]
        ids = {"query_id": str, "page_id": str}
        rows = pd.read_csv(
            path, sep=" ", names=columns, dtype=ids, keep_default_na=False, quoting=csv.QUOTE_NONE
        ).sort_values(["query_id", "rank"])
        return {str(query): pages.tolist() for query, pages in rows.groupby("query_id")["page_id"]}

    def _metrics(self, name: str) -> dict[str, Any]:
        return _json(self.root / layout.METRICS / f"{name}.json")


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _table(path: Path) -> pd.DataFrame:
    if not path.is_file() or not path.stat().st_size:
        return pd.DataFrame()
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    try:
        # Only an empty cell is missing: "NA" may well be a kind of page.
        return pd.read_csv(path, keep_default_na=False, na_values=[""])
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
