"""BM25: scores by hand and by bm25s, ties, and queries that share no word with any page."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from pagefinder.retrieval import bm25
from pagefinder.retrieval.nearest import best_rows
from pagefinder.retrieval.words import bm25_index, bm25_scores, has_words, words


def nearest(
    queries: Sequence[str], pages: Sequence[str], k: int, tie_break: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`bm25_nearest` over all of the pages."""
    rows = np.arange(len(pages))
    ties = rows if tie_break is None else tie_break
    return bm25.bm25_nearest(queries, pages.__getitem__, k, rows=rows, tie_break=ties)


def test_scores_by_hand() -> None:
    """Lucene's variant: idf * tf / (tf + k1 * (1 - b + b * length / mean length))."""
    pages = ["Solar energy, solar power", "wind energy", "cash"]
    scores, rows = nearest(["solar ENERGY"], pages, 3)

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
    scores, rows = nearest(["1", "?", "zebra"], pages, 9, tie_break)
    assert rows.tolist() == [[2, 0, 3, 1], [3, 2, 1, 0], [3, 2, 1, 0]]
    assert scores[1:].tolist() == [[0] * 4] * 2


@pytest.mark.parametrize("block", [1, 7, 1000])
@pytest.mark.parametrize("k", [0, 1, 5, 60])
def test_scores_are_those_of_bm25s_to_the_bit(
    monkeypatch: pytest.MonkeyPatch, block: int, k: int
) -> None:
    """However many pages are scored at once: pages without words, words asked twice, some rows."""
    monkeypatch.setattr(bm25, "PAGE_BLOCK", block)
    rng = np.random.default_rng(5)
    vocabulary = [f"w{n}" for n in range(40)] + ["É", "7"]

    def text(longest: int) -> str:
        return " ".join(rng.choice(vocabulary, rng.integers(0, longest)))

    pages = [text(30) for _ in range(60)]
    queries = [text(8) for _ in range(20)] + ["w1 w1 unheard", ""]
    rows = rng.permutation(60)[:50]
    tie_break = rng.permutation(60)
    scores, found = bm25.bm25_nearest(queries, pages.__getitem__, k, rows=rows, tie_break=tie_break)
    index = bm25_index([pages[row] for row in rows])
    for number, query in enumerate(queries):
        expected = best_rows(bm25_scores(index, query), rows, k, tie_break)
        assert scores[number].tobytes() == expected[0].tobytes()
        assert found[number].tolist() == expected[1].tolist()
    assert scores.shape == found.shape == (22, min(k, 50))


def test_the_words_of_one_block_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is read twice, for the statistics and for its block's scores, and in order."""
    monkeypatch.setattr(bm25, "PAGE_BLOCK", 2)
    read: list[int] = []

    def text(row: int) -> str:
        read.append(row)
        return "a"

    rows = np.array([4, 2, 9])
    bm25.bm25_nearest(["a"], text, 1, rows=rows, tie_break=np.arange(10))
    assert read == [4, 2, 9] * 2


def test_no_queries() -> None:
    scores, rows = nearest([], ["a"], 3)
    assert scores.shape == rows.shape == (0, 1)


def test_words() -> None:
    assert words("Solar-power 7%, é") == ["solar", "power", "7", "é"]
    assert has_words(["", " - ", "7"])
    assert not has_words(["", "--"])
