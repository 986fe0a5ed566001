"""BM25: search texts by the words of a query."""

from collections.abc import Sequence

import numpy as np

from pagefinder.retrieval.nearest import best_rows
from pagefinder.retrieval.runs import DEPTH, Run
from pagefinder.retrieval.tasks import Task
from pagefinder.retrieval.words import bm25_index, bm25_scores


def bm25_run(task: Task) -> Run:
    """The run of BM25 over the text of the task's pages, DEPTH pages for each query."""
    ties = task.tie_break[task.page_rows]
    scores, places = bm25_nearest(task.query_texts, task.page_texts, DEPTH, ties)
    return task.run(scores, task.page_rows[places])


def bm25_nearest(
    queries: Sequence[str], pages: Sequence[str], k: int, tie_break: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find the k pages with the highest BM25 score for each query.

    The score is Lucene's variant (bm25s), with k1 1.5 and b 0.75. Words are lower-cased and
    otherwise stay as they are, without stop words and stemming, so that no language is favoured.

    Args:
        queries: Texts of the queries.
        pages: Texts of the pages, at least one with a word.
        k: Pages per query; above the number of pages all come back.
        tie_break: int64 [pages]; of equal scores the lower comes first.

    Returns:
        Scores, float32 [queries, min(k, pages)], descending, and row numbers in `pages`, int64.
    """
    index = bm25_index(pages)
    k = min(k, len(pages))
    scores = np.empty((len(queries), k), np.float32)
    rows = np.empty((len(queries), k), np.int64)
    for number, query in enumerate(queries):
        every = bm25_scores(index, query)
        scores[number], rows[number] = best_rows(every, np.arange(len(pages)), k, tie_break)
    return scores, rows
