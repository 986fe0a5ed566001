"""One version of an index, opened for search: by vectors, by words, and the pages themselves.

Up to EXACT_PAGES pages both searches are exact, and score as the evaluation did. Beyond, the engine
searches its own indexes of vectors and words: see docs/search.md for what that loses.
"""

import json
import logging
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bm25s
import numpy as np
import pyarrow as pa
from PIL import Image

from pagefinder.errors import InputError
from pagefinder.indexing import store, tidying
from pagefinder.indexing.reading import open_page
from pagefinder.params import Pixels
from pagefinder.retrieval.nearest import best_rows, nearest
from pagefinder.retrieval.words import bm25_index, bm25_scores, has_words

if TYPE_CHECKING:
    from lancedb.table import Table

log = logging.getLogger(__name__)

COLUMNS = ["page_id", "document", "page_number", "path", "row", "rows"]
READABLE = "problem IS NULL"
# The engine's BM25 has k1 1.2, and is k1 + 1 times as high as Lucene's, which the evaluation takes:
# rules for unanswered questions weigh the score as it is.
ENGINE_FACTOR = 2.2
UNFINISHED = 3600  # seconds after which words that a killed search was writing are removed
# In this order pages have their numbers: a file that changed midway may have two contents.
ORDER = [("path", "ascending"), ("row", "ascending"), ("file_hash", "ascending")]


@dataclass(frozen=True)
class View:
    """One version of an index. Its pages have numbers: `key`.

    Attributes:
        place: Of the index.
        folder: Of the files whose pages it holds.
        table: The version.
        exact: Whether all pages are compared; keys are then places in the order of paths, else the
            engine's row ids.
    """

    place: str
    folder: Path
    table: "Table"
    exact: bool

    @cached_property
    def _rows(self) -> pa.Table:
        """Row id, path and vector of each readable page, in the order of paths and pages."""
        with store.damage(self.place):
            query = self.table.search().where(READABLE).select([*_names(ORDER), "vector"])
            rows = query.with_row_id(True).limit(None).to_arrow()
        return rows.sort_by(ORDER)

    @cached_property
    def _vectors(self) -> np.ndarray:
        """The vectors of the pages, float32 [pages, dimension]."""
        column = self._rows["vector"].combine_chunks()
        return np.asarray(column.flatten()).reshape(len(column), -1)

    @cached_property
    def _words(self) -> bm25s.BM25 | None:
        """The words of the pages; None where no page has one. Kept beside the index."""
        kept = Path(self.place) / store.WORDS
        if not store.is_address(self.place) and _version(kept) == self.table.version:
            try:
                return _load(kept)
            except (OSError, ValueError, KeyError, EOFError) as error:
                log.warning("%s is damaged (%s): the words are counted anew", kept, error)
        texts = self.texts()
        index = bm25_index(texts) if has_words(texts) else None
        if not store.is_address(self.place):
            _keep(kept, index, self.table.version)
        return index

    def texts(self) -> list[str]:
        """The texts of the readable pages, in the order of paths and pages."""
        with store.damage(self.place):
            found = self.table.search().where(READABLE).select([*_names(ORDER), "text"])
            rows = found.limit(None).to_arrow()
        texts: list[str] = rows.sort_by(ORDER)["text"].to_pylist()
        return texts

    def count(self) -> int:
        """The number of pages that can be found."""
        with store.damage(self.place):
            return int(self.table.count_rows(READABLE))

    def nearest(self, vector: np.ndarray, count: int) -> dict[int, float]:
        """The cosines of the nearest pages, by key, best first.

        Args:
            vector: Of the question, float32 [dimension], of unit length.
            count: Pages to find.
        """
        if self.exact:
            scores, keys = nearest(vector[None], self._vectors, count)
            return dict(zip(keys[0].tolist(), scores[0].tolist(), strict=True))
        with store.damage(self.place):
            query = self.table.search(vector, vector_column_name="vector").distance_type("dot")
            query = query.nprobes(tidying.PROBES).refine_factor(tidying.REFINE).limit(count)
            found = query.select(["page_id", "_distance"]).with_row_id(True).to_arrow()
        # The engine's distance is what an inner product of unit vectors lacks to 1.
        scores = 1 - np.asarray(found["_distance"])
        return dict(zip(found["_rowid"].to_pylist(), scores.tolist(), strict=True))

    def has_words(self) -> bool:
        """Whether any page has a text to search."""
        return self._words is not None if self.exact else self._has_text

    @cached_property
    def _has_text(self) -> bool:
        """Whether any page that can be found has text."""
        with store.damage(self.place):
            return bool(self.table.count_rows(f"{READABLE} AND text != ''"))

    def with_words(self, query: str, count: int) -> dict[int, float]:
        """The BM25 scores of the pages with the words of a query, by key, best first.

        The exact search lists pages with score 0, too, the engine does not. Where no page has a
        word at all it is empty.
        """
        if not self.exact:
            return self._engine_words(query, count)
        if self._words is None:
            return {}
        scores = bm25_scores(self._words, query)
        keys = np.arange(len(scores))
        best, found = best_rows(scores, keys, min(count, len(scores)), keys)
        return dict(zip(found.tolist(), best.tolist(), strict=True))

    def _engine_words(self, query: str, count: int) -> dict[int, float]:
        from lancedb.query import MatchQuery

        with store.damage(self.place):
            words = self.table.search(MatchQuery(query, "text"), query_type="fts")
            words = words.where(READABLE).limit(count).select(["page_id", "_score"])
            found = words.with_row_id(True).to_arrow()
        scores = np.asarray(found["_score"]) / ENGINE_FACTOR
        return dict(zip(found["_rowid"].to_pylist(), scores.tolist(), strict=True))

    def pages(self, keys: Sequence[int], extra: Sequence[str] = ()) -> list[dict[str, Any]]:
        """The rows of pages in the order of their keys: COLUMNS, and others such as thumbnail."""
        if not keys:
            return []
        ids = list(keys)
        if self.exact:
            ids = self._rows["_rowid"].take(ids).to_pylist()
        with store.damage(self.place):
            query = self.table.take_row_ids(ids).select([*COLUMNS, *extra]).with_row_id()
            found = {row.pop("_rowid"): row for row in query.to_list()}
        return [found[number] for number in ids]

    def open_page(self, page: Mapping[str, Any], budget: Pixels) -> Image.Image:
        """The image of a page, one of the rows that `pages` gives, at a pixel budget.

        Raises:
            pixels.BadImageError: its file is gone or broken since it was indexed.
        """
        return open_page(self.folder, page["path"], page["row"], budget)


def open_view(place: str, folder: Path, wanted: pa.Schema) -> View:
    """The newest version of an index.

    Args:
        place: Of the index.
        folder: Of the files whose pages it holds.
        wanted: The schema of the rows of the model that asks.

    Raises:
        InputError: there is no index, or it is another model's.
    """
    table = store.open_table(place)
    if table is None:
        raise InputError(f"{place} holds no index: run `python -m pagefinder.index {folder}`")
    store.check(table, wanted, place)
    with store.damage(place):
        exact = table.count_rows() <= tidying.EXACT_PAGES or not tidying.has_indexes(table)
    return View(place, folder, table, exact)


def refreshed(view: View) -> View:
    """The newest version of the index of a view; the view itself where there is none since."""
    newest = store.open_table(view.place)
    if newest is None:
        raise InputError(f"the index {view.place} is gone: index the folder again")
    if newest.version == view.table.version:
        return view
    return open_view(view.place, view.folder, view.table.schema)


def _names(order: Sequence[tuple[str, str]]) -> list[str]:
    return [name for name, _ in order]


def _version(kept: Path) -> int | None:
    """The version of the index whose words are kept."""
    try:
        return int(json.loads((kept / "version.json").read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _load(kept: Path) -> bm25s.BM25 | None:
    """The words that are kept; None where no page had one."""
    if not (kept / "vocab.index.json").is_file():
        return None
    return bm25s.BM25.load(kept, mmap=True)


def _keep(kept: Path, index: bm25s.BM25 | None, version: int) -> None:
    """Keep the words of a version of an index, in the place of an older one's."""
    try:
        for old in kept.parent.glob(f".{store.WORDS}-*"):
            if time.time() - old.stat().st_mtime > UNFINISHED:
                shutil.rmtree(old, ignore_errors=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{store.WORDS}-", dir=kept.parent, ignore_cleanup_errors=True
        ) as folder:
            scratch = Path(folder) / store.WORDS
            scratch.mkdir()
            if index is not None:
                index.save(scratch, show_progress=False)
            content: Mapping[str, int] = {"version": version}
            (scratch / "version.json").write_text(json.dumps(content), encoding="utf-8")
            shutil.rmtree(kept, ignore_errors=True)
            scratch.rename(kept)
    except OSError as error:  # a full disk, or one to read: the words are in memory
        log.warning("the words of %s are not kept: %s", kept.parent, error)
