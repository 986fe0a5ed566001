"""Two indexes searched as one: that of a folder, and that of the files that people added to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import bm25s
import numpy as np
from PIL import Image

from pagefinder.params import Pixels
from pagefinder.retrieval.nearest import best_rows
from pagefinder.retrieval.words import bm25_index, bm25_scores, has_words
from pagefinder.serving.view import View

ADDED = "added"  # in a page's row: whether it is of the second index


@dataclass(frozen=True)
class JoinedView:
    """Two views searched as one. A page has twice its key in the first, or in the second plus one.

    Where both views are exact, the scores are those of one index of all pages. Where one is not,
    the BM25 scores of each are by the words of that index alone.

    Attributes:
        first: Of a folder.
        second: Of what was added.
    """

    first: View
    second: View

    @cached_property
    def _words(self) -> bm25s.BM25 | None:
        """The words of all pages; None where no page has one."""
        texts = self.first.texts() + self.second.texts()
        return bm25_index(texts) if has_words(texts) else None

    @cached_property
    def _keys(self) -> np.ndarray:
        """The keys of all pages of exact views, int64 [pages], in the order of `_words`."""
        first, second = (np.arange(view.count(), dtype=np.int64) * 2 for view in self._views)
        return np.concatenate([first, second + 1])

    @property
    def _views(self) -> tuple[View, View]:
        return self.first, self.second

    def prepare(self) -> None:
        """Read what the first search would wait for."""
        if self.first.exact and self.second.exact:
            _ = self._words, self._keys

    def count(self) -> int:
        """The number of pages that can be found."""
        return sum(view.count() for view in self._views)

    def nearest(self, vector: np.ndarray, count: int) -> dict[int, float]:
        """The cosines of the nearest pages, by key, best first; see `View.nearest`."""
        return _merged([view.nearest(vector, count) for view in self._views], count)

    def has_words(self) -> bool:
        """Whether any page has a text to search; see `View.has_words`."""
        if self.first.exact and self.second.exact:
            return self._words is not None
        return any(view.has_words() for view in self._views)

    def with_words(self, query: str, count: int) -> dict[int, float]:
        """The BM25 scores of the pages with the words of a query; see `View.with_words`."""
        if not (self.first.exact and self.second.exact):
            return _merged([view.with_words(query, count) for view in self._views], count)
        if self._words is None:
            return {}
        scores = bm25_scores(self._words, query)
        places = np.arange(len(scores))
        best, found = best_rows(scores, places, count, self._keys)
        return dict(zip(self._keys[found].tolist(), best.tolist(), strict=True))

    def pages(self, keys: Sequence[int], extra: Sequence[str] = ()) -> list[dict[str, Any]]:
        """The rows of pages in the order of their keys, and ADDED; see `View.pages`."""
        rows: dict[int, dict[str, Any]] = {}
        for number, view in enumerate(self._views):
            of_view = [key for key in keys if key % 2 == number]
            found = view.pages([key // 2 for key in of_view], extra)
            rows |= {
                key: row | {ADDED: bool(number)} for key, row in zip(of_view, found, strict=True)
            }
        return [rows[key] for key in keys]

    def open_page(self, page: Mapping[str, Any], budget: Pixels) -> Image.Image:
        """The image of a page at a pixel budget; see `View.open_page`."""
        return self._views[page.get(ADDED, False)].open_page(page, budget)


Searched = View | JoinedView


def _merged(lists: Sequence[Mapping[int, float]], count: int) -> dict[int, float]:
    """The best pages of the lists of both views, by their key in the joined one."""
    pages = [
        (score, 2 * key + number) for number, one in enumerate(lists) for key, score in one.items()
    ]
    best = sorted(pages, key=lambda page: (-page[0], page[1]))
    return {key: score for score, key in islice(best, count)}
