"""BM25: scores by hand, ties, and queries that share no word with any page."""

import math

import numpy as np
import pytest

from pagefinder.retrieval.bm25 import bm25_nearest
from pagefinder.retrieval.words import has_words


def test_scores_by_hand() -> None:
    """Lucene's variant: idf * tf / (tf + k1 * (1 - b + b * length / mean length))."""
    pages = ["Solar energy, solar power", "wind energy", "cash"]
    scores, rows = bm25_nearest(["solar ENERGY"], pages, 3, np.arange(3))

    def idf(pages_with_word: int) -> float:
        return math.log(1 + (3 - pages_with_word + 0.5) / (pages_with_word + 0.5))

    def weight(times: int, length: int) -> float:
        return times / (times + 1.5 * (0.25 + 0.75 * length / (7 / 3)))

    first = idf(1) * weight(2, 4) + idf(2) * weight(1, 4)
    assert scores[0] == pytest.approx([first, idf(2) * weight(1, 2), 0], abs=1e-6)
    assert rows.tolist() == [[0, 1, 2]]
    assert (scores.dtype, rows.dtype) == (np.float32, np.int64)


def test_equal_scores_come_in_the_order_of_the_tie_break() -> None:
    pages = ["a 1", "b", "a 1", "c"]
    tie_break = np.array([3, 2, 1, 0])
    scores, rows = bm25_nearest(["1", "?", "zebra"], pages, 9, tie_break)
    assert rows.tolist() == [[2, 0, 3, 1], [3, 2, 1, 0], [3, 2, 1, 0]]
    assert scores[1:].tolist() == [[0] * 4] * 2


def test_words() -> None:
    assert has_words(["", " - ", "7"])
    assert not has_words(["", "--"])
