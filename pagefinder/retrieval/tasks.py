"""A search task, which every system answers with a run."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pagefinder.data.corpus import Corpus
from pagefinder.retrieval.nearest import trec_order
from pagefinder.retrieval.runs import Qrels, Run, qrels_of


@dataclass(frozen=True)
class Task:
    """Queries, the pages to search, and the qrels by which a run is scored.

    Attributes:
        corpus: Holds the queries and pages.
        page_rows: int64, rows of the pages to search.
        qrels: Of the task's queries: a query without qrels is not searched.
    """

    corpus: Corpus
    page_rows: np.ndarray
    qrels: Qrels

    @cached_property
    def query_ids(self) -> list[str]:
        """The queries, in the order of the qrels."""
        return list(self.qrels)

    @cached_property
    def query_rows(self) -> np.ndarray:
        """Rows of the queries in the query table."""
        return np.array([self.corpus.query_row[name] for name in self.query_ids], np.int64)

    @cached_property
    def page_ids(self) -> np.ndarray:
        """Ids of all pages, in table order."""
        return self.corpus.pages["page_id"].to_numpy(dtype=object)

    @cached_property
    def tie_break(self) -> np.ndarray:
        """int64 [all pages]: the page whose id sorts last comes first, as in trec_eval."""
        return trec_order(self.page_ids.tolist())

    @cached_property
    def query_texts(self) -> list[str]:
        """Text of the queries."""
        return [self.corpus.query_text[query_id] for query_id in self.query_ids]

    def page_texts(self) -> Iterator[str]:
        """Yield the text of each page to search, "" where it has none."""
        return map(self.corpus.text, self.page_rows)

    def run(self, scores: np.ndarray, page_rows: np.ndarray) -> Run:
        """The run with these scores and rows of the page table, both [queries, k]."""
        return Run(self.query_ids, self.page_ids[page_rows], scores)


def task_of(corpus: Corpus, split: str, distractors: bool = False) -> Task:
    """The search task of a split: its queries with a relevant page, over its own pages.

    A relevant page outside the split cannot be found, and counts as missed.

    Args:
        corpus: The corpus.
        split: dev or eval.
        distractors: Whether to search all pages of the corpus instead.
    """
    page_rows = np.arange(len(corpus.pages)) if distractors else corpus.page_rows(split)
    return Task(corpus, page_rows, qrels_of(corpus, split))
