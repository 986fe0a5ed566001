"""What the report reads: every file of the run, opened where it is first needed.

Some are there only for some sources and settings, so a table that is missing is an empty one and
missing metrics an empty dictionary; what then cannot be said, the report says in a sentence.
"""

import csv
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from pagefinder.data.corpus import Corpus
from pagefinder.params import Params


@dataclass(frozen=True)
class Inputs:
    """A run: its params and the folders and files that its stages wrote."""

    params: Params
    corpus: Corpus
    metrics: Path
    plots: Path
    runs: Path
    per_query: Path
    audit: Path
    quarantine: Path
    provenance: Path
    lock: Path

    @cached_property
    def embedder(self) -> dict[str, Any]:
        """metrics/embedder.json."""
        return _json(self.metrics / "embedder.json")

    @cached_property
    def dimensions(self) -> dict[str, Any]:
        """metrics/dimensions.json."""
        return _json(self.metrics / "dimensions.json")

    @cached_property
    def reranker(self) -> dict[str, Any]:
        """metrics/reranker.json."""
        return _json(self.metrics / "reranker.json")

    @cached_property
    def mining(self) -> dict[str, Any]:
        """metrics/mining.json."""
        return _json(self.metrics / "mining.json")

    @cached_property
    def seeds(self) -> dict[str, Any]:
        """metrics/seeds.json: figures by seed, from benchmarks/seeds.py."""
        return _json(self.metrics / "seeds.json")

    @cached_property
    def counts(self) -> dict[str, Any]:
        """metrics/corpus.json."""
        return _json(self.metrics / "corpus.json")

    @cached_property
    def source(self) -> dict[str, Any]:
        """The source's provenance.json."""
        return _json(self.provenance)

    @cached_property
    def grid(self) -> pd.DataFrame:
        """dimension, model, precision, ndcg@10, recall@10, bytes_per_page, pareto."""
        return _table(self.plots / "dimensions.csv")

    @cached_property
    def budgets(self) -> pd.DataFrame:
        """max_pixels, tokens_per_page, ndcg@10, recall@10 of the tuned model."""
        return _table(self.plots / "pixels.csv")

    @cached_property
    def depth(self) -> pd.DataFrame:
        """depth, model, ndcg@10."""
        return _table(self.plots / "depth.csv")

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """before, after, metric, queries, documents, difference, low, high, p_value."""
        return _table(self.per_query / "embedder_comparisons.csv")

    def claim(self, before: str, after: str) -> dict[str, float]:
        """What `after` adds to `before` in NDCG@10: difference, low, high, p_value.

        Without the last three where documents are too few, {} where the two were not compared.
        """
        rows = self.comparisons
        if rows.empty:
            return {}
        wanted = {"before": before, "after": after, "metric": "ndcg@10"}
        rows = rows[(rows[list(wanted)] == pd.Series(wanted)).all(axis=1)]
        found = rows[["difference", "low", "high", "p_value"]].dropna(axis=1)
        return {} if found.empty else {str(k): float(v) for k, v in found.iloc[0].items()}

    @cached_property
    def sizes(self) -> pd.DataFrame:
        """model, parameters, ndcg@10 of base, tuned and the compared models."""
        return _table(self.per_query / "embedder_models.csv")

    @cached_property
    def slices(self) -> pd.DataFrame:
        """by, value, queries, base, tuned, difference, low, high, p_value, documents."""
        return _table(self.per_query / "embedder_slices.csv")

    @cached_property
    def queries(self) -> pd.DataFrame:
        """One row per eval query (index query_id): text, document_id, SYSTEM.METRIC, reranked.*."""
        table = _table(self.per_query / "embedder.parquet")
        if table.empty:
            return table
        table = table.set_index("query_id")
        reranked = _table(self.per_query / "reranker.parquet")
        if not reranked.empty:
            reranked = reranked.set_index("query_id")
            for metric in ("ndcg@10", "rank"):
                table[f"reranked.{metric}"] = reranked[f"tuned_{metric}"]
        return table

    @cached_property
    def sheet(self) -> pd.DataFrame:
        """Sampled train queries with their positive, kept and dropped pages."""
        return _table(self.audit / "mining" / "sheet.parquet")

    @cached_property
    def scores(self) -> pd.DataFrame:
        """group, score, pairs: the mined pairs by cosine."""
        return _table(self.audit / "mining" / "histogram.csv")

    @cached_property
    def ranks(self) -> pd.DataFrame:
        """split, pages, rank, queries, share: where the tuned embedder puts the right page."""
        return _table(self.audit / "candidates" / "histogram.csv")

    @cached_property
    def quarantined(self) -> pd.DataFrame:
        """Rows left out, with a reason each."""
        return _table(self.quarantine)

    def curves(self, model: str) -> pd.DataFrame:
        """step, metric, value of a training: `embedder` or `reranker`."""
        return _table(self.plots / f"{model}_training.csv")

    def ranked(self, run: str) -> dict[str, list[str]]:
        """query_id -> its pages in runs/RUN.trec, best first; empty where there is no such run."""
        path = self.runs / f"{run}.trec"
        if not path.is_file():
            return {}
        names = ["query", "q0", "page", "rank", "score", "run"]
        words = {"query": str, "page": str}
        rows = pd.read_csv(
            path, sep=" ", names=names, dtype=words, keep_default_na=False, quoting=csv.QUOTE_NONE
        )
        rows = rows.sort_values(["query", "rank"])
        return {str(query): pages.tolist() for query, pages in rows.groupby("query")["page"]}


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
