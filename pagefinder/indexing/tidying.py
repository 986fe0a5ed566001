"""Keep an index small and quick: join commits, delete old versions, let the engine index it."""

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from pagefinder.indexing.store import damage, interrupted_after

if TYPE_CHECKING:
    from lancedb.index import FTS
    from lancedb.table import Table

log = logging.getLogger(__name__)

# Up to so many pages a search compares all of them; beyond, the engine's indexes of vectors and of
# words are built and asked.
EXACT_PAGES = 100_000
# Of the engine's index of vectors: parts that a question looks into, and how many times more pages
# than it wants are compared by their whole vectors.
PROBES, REFINE = 32, 10
# What is committed one by one is put together behind so many commits.
COMMITS = 64
# Versions that a reader may still hold are kept for so long.
KEPT = timedelta(hours=1)
# The engine deletes none where one of the old ones has a tag (see tools/manifest.py).
TAGGED_KEPT = timedelta(days=36_500)


def tidy(table: "Table", place: str) -> None:
    """Put many small commits together, and delete the versions that nobody holds any more.

    A table beyond EXACT_PAGES gets its indexes of vectors and words; new rows come into them.
    """
    with damage(place), interrupted_after():
        large = table.count_rows() > EXACT_PAGES
        if table.stats()["fragment_stats"]["num_fragments"] > COMMITS or (
            large and _unindexed(table) > EXACT_PAGES // 10
        ):
            table.optimize(cleanup_older_than=TAGGED_KEPT if table.tags.list() else KEPT)
        if large and not has_indexes(table):
            log.info("building the indexes of vectors and words: over %d pages", EXACT_PAGES)
            build_indexes(table)


def has_indexes(table: "Table") -> bool:
    """Whether a table has the engine's indexes of vectors and words."""
    return {tuple(index.columns) for index in table.list_indices()} >= {("vector",), ("text",)}


def _unindexed(table: "Table") -> int:
    """Rows that the engine's indexes do not hold yet: every search compares them one by one."""
    return max((index.num_unindexed_rows or 0 for index in table.list_indices()), default=0)


def build_indexes(table: "Table") -> None:
    """Build the engine's indexes of the vectors and of the words of a table."""
    from lancedb.index import IvfSq

    table.create_index("vector", config=IvfSq(distance_type="dot"))
    table.create_index("text", config=words_config())


def words_config() -> "FTS":
    """How the engine indexes words: as BM25 takes them elsewhere, lower-cased, else as they are."""
    from lancedb.index import FTS

    return FTS(stem=False, remove_stop_words=False, ascii_folding=False, max_token_length=None)
