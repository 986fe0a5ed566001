"""Score texts by the words of a query: BM25 over all of them. Nothing here imports torch."""

import re
from collections.abc import Iterable, Sequence

import bm25s
import numpy as np

WORD = r"(?u)\b\w+\b"  # the library's pattern drops words of one character, so every digit too


def has_words(texts: Iterable[str]) -> bool:
    """Whether any of the texts has a word."""
    return any(re.search(WORD, text) for text in texts)


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
