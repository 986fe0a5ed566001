"""The words of a text, and an index by which BM25 scores texts. Nothing here imports torch."""

import re
from collections.abc import Iterable, Sequence

import bm25s
import numpy as np

# bm25s has another pattern, which drops words of one character, so every digit too.
WORD = re.compile(r"(?u)\b\w+\b")
# Of BM25: how soon the repetitions of a word cease to count, and how much a page's length does.
K1, B = 1.5, 0.75


def words(text: str) -> list[str]:
    """The words of a text in its order, lower-cased.

    Otherwise they stay as they are, without stop words and stemming: no language is favoured.
    """
    found: list[str] = WORD.findall(text.lower())
    return found


def has_words(texts: Iterable[str]) -> bool:
    """Whether any of the texts has a word."""
    return any(WORD.search(text) for text in texts)


def bm25_index(pages: Sequence[str]) -> bm25s.BM25:
    """The index of the texts of pages, at least one with a word. It holds the words of all."""
    index = bm25s.BM25(k1=K1, b=B, method="lucene", backend="numpy")
    tokens = bm25s.tokenize(pages, token_pattern=WORD.pattern, stopwords=[], show_progress=False)
    index.index(tokens, show_progress=False)
    return index


def bm25_scores(index: bm25s.BM25, query: str) -> np.ndarray:
    """The score of every page of an index for a query, float32 [pages]."""
    indexed = [word for word in words(query) if word in index.vocab_dict]
    if not indexed:
        return np.zeros(int(index.scores["num_docs"]), np.float32)
    scores: np.ndarray = index.get_scores(indexed)
    return scores
