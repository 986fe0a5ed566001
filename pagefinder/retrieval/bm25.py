"""BM25: search texts by the words of a query."""

import re
from collections.abc import Iterable, Sequence

import bm25s
import numpy as np

from pagefinder.retrieval.nearest import best_rows
from pagefinder.retrieval.runs import DEPTH, Run
from pagefinder.retrieval.tasks import Task

WORD = r"(?u)\b\w+\b"  # the library's pattern drops words of one character, so every digit too


def has_words(texts: Iterable[str]) -> bool:
    """Whether any of the texts has a word."""
    return any(re.search(WORD, text) for text in texts)


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


def bm25_index(pages: Sequence[str]) -> bm25s.BM25:
    """The index of the texts of pages, at least one with a word."""
    index = bm25s.BM25(backend="numpy")
    index.index(_words(pages), show_progress=False)
    return index


def bm25_scores(index: bm25s.BM25, query: str) -> np.ndarray:
    """The score of every page of an index for a query, float32 [pages]."""
    indexed = [word for word in _words([query])[0] if word in index.vocab_dict]
    if not indexed:
        return np.zeros(int(index.scores["num_docs"]), np.float32)
    scores: np.ndarray = index.get_scores(indexed)
    return scores


def _words(texts: Sequence[str]) -> list[list[str]]:
    """The words of each text."""
    words: list[list[str]] = bm25s.tokenize(
        texts, token_pattern=WORD, stopwords=[], return_ids=False, show_progress=False
    )
    return words
