"""BM25: search texts by the words of a query, in memory that does not grow with the pages."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pagefinder.retrieval.nearest import best_rows
from pagefinder.retrieval.runs import DEPTH, Run
from pagefinder.retrieval.tasks import Task
from pagefinder.retrieval.words import K1, B, words

# Pages scored at once: their postings are held, and the scores of one query.
PAGE_BLOCK = 4096


def bm25_run(task: Task) -> Run:
    """The run of BM25 over the text of the task's pages, DEPTH pages for each query."""
    scores, page_rows = bm25_nearest(
        task.query_texts, task.corpus.text, DEPTH, rows=task.page_rows, tie_break=task.tie_break
    )
    return task.run(scores, page_rows)


def bm25_nearest(
    queries: Sequence[str],
    text: Callable[[int], str],
    k: int,
    *,
    rows: np.ndarray,
    tie_break: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the k pages with the highest BM25 score for each query.

    The score is Lucene's variant (Kamphuis et al., "Which BM25 Do You Mean?", ECIR 2020), summed
    over the words of the query: idf * tf / (tf + K1 * (1 - B + B * length / mean length)), where
    idf is log(1 + (pages - df + 0.5) / (df + 0.5)). It is that of `words.bm25_index` to the bit,
    which holds all words of all pages. Here texts are read twice, and of one block of pages at a
    time the words of the queries are held.

    Args:
        queries: Texts of the queries.
        text: Gives the text of a page by its row.
        k: Pages per query; above the number of rows all come back.
        rows: int64, the pages to search, at least one with a word.
        tie_break: int64 [all pages]; of equal scores the lower comes first.

    Returns:
        Scores, float32 [queries, min(k, rows)], descending, and rows of the pages, int64.
    """
    asked = [words(query) for query in queries]
    word_ids = {word: n for n, word in enumerate(dict.fromkeys(itertools.chain(*asked)))}
    idf, mean_length = _statistics(map(text, rows), word_ids)
    kept = [(np.empty(0, np.float32), np.empty(0, np.int64))] * len(queries)
    for first in range(0, len(rows), PAGE_BLOCK):
        block = rows[first : first + PAGE_BLOCK]
        postings = _postings(map(text, block), word_ids, idf, mean_length)
        for query, query_words in enumerate(asked):
            scores = _scores(postings, [word_ids[word] for word in query_words], len(block))
            best_scores, best = kept[query]
            kept[query] = best_rows(
                np.concatenate([best_scores, scores]), np.concatenate([best, block]), k, tie_break
            )
    shape = (len(queries), min(k, len(rows)))
    return (
        np.array([scores for scores, _ in kept], np.float32).reshape(shape),
        np.array([best for _, best in kept], np.int64).reshape(shape),
    )


class _Postings(NamedTuple):
    """The words of a block of pages.

    Attributes:
        starts: int64 [words + 1]; a word's postings are those from its start to the next one's.
        places: int64 [postings], of pages in the block.
        weights: float32 [postings], what a word adds to the score of a page.
    """

    starts: np.ndarray
    places: np.ndarray
    weights: np.ndarray


def _statistics(texts: Iterable[str], word_ids: Mapping[str, int]) -> tuple[np.ndarray, float]:
    """The idf of each word, float32 [words], and the mean number of words in a text."""
    known, frequencies = frozenset(word_ids), Counter[str]()
    pages = length = 0
    for text in texts:
        found = words(text)
        pages, length = pages + 1, length + len(found)
        frequencies.update(known.intersection(found))
    idf = [
        math.log(1 + (pages - frequencies[word] + 0.5) / (frequencies[word] + 0.5))
        for word in word_ids
    ]
    return np.array(idf, np.float32), length / max(1, pages)


def _postings(
    texts: Iterable[str], word_ids: Mapping[str, int], idf: np.ndarray, mean_length: float
) -> _Postings:
    """The postings of the words of `word_ids` in the texts of a block."""
    ids: list[int] = []
    counts: list[int] = []
    sizes: list[int] = []
    lengths: list[int] = []
    for text in texts:
        found = words(text)
        counted = Counter(filter(word_ids.__contains__, found))
        ids += map(word_ids.__getitem__, counted)
        counts += counted.values()
        sizes.append(len(counted))
        lengths.append(len(found))
    words_of_postings = np.array(ids, np.int64)
    by_word = np.argsort(words_of_postings, kind="stable")
    in_order = words_of_postings[by_word]
    tf = np.array(counts, np.float64)[by_word]
    places = np.repeat(np.arange(len(sizes)), sizes)[by_word]
    length = np.array(lengths, np.float64)[places]
    weights = idf[in_order] * (tf / (K1 * ((1 - B) + B * length / mean_length) + tf))
    starts = np.searchsorted(in_order, np.arange(len(word_ids) + 1))
    return _Postings(starts, places, weights.astype(np.float32))


def _scores(postings: _Postings, query: Iterable[int], pages: int) -> np.ndarray:
    """The score of each page of a block for a query's words, float32 [pages]."""
    scores = np.zeros(pages, np.float32)
    for word in query:
        part = slice(postings.starts[word], postings.starts[word + 1])
        scores[postings.places[part]] += postings.weights[part]
    return scores
