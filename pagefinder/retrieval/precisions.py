"""The precisions of an index, one object each: PRECISIONS.

Memory-mapped vectors are read block by block, so memory stays flat.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np

from pagefinder.errors import InputError
from pagefinder.retrieval.hamming import hamming_nearest, pack, pack_rows, rescored
from pagefinder.retrieval.nearest import Decode, nearest
from pagefinder.retrieval.runs import Run
from pagefinder.retrieval.tasks import Task
from pagefinder.retrieval.vectors import cut, cut_blocks


@dataclass(frozen=True)
class Search:
    """What is searched: the same for every precision.

    Attributes:
        task: Queries, and pages to search.
        queries: float32 [queries, dimension], cut.
        pages: float32 [all pages, width], as stored: the search cuts them to the same dimension.
        k: Pages per query.
        shortlist: Pages per query that a second pass orders again, where there is one.
        device: Of a float search, as torch names it.
    """

    task: Task
    queries: np.ndarray
    pages: np.ndarray
    k: int
    shortlist: int
    device: str


@dataclass(frozen=True)
class Precision:
    """How an index keeps the vector of a page, and how it is searched.

    Attributes:
        name: In metrics and tables.
        bits: Per dimension and page.
        search: Finds the pages.
        needs_train_pages: Whether the index measures ranges on them.
    """

    name: str
    bits: int
    search: Callable[[Search], Run]
    needs_train_pages: bool = False

    def bytes_per_page(self, dimension: int) -> int:
        """Bytes that an index holds for one page."""
        return -(-self.bits * dimension // 8)


@dataclass(frozen=True)
class ScalarCodec:
    """Codes of one integer per number: 2^bits - 1 equal steps over the range of each dimension.

    Attributes:
        low: [d] what the lowest code stands for.
        step: [d] between two codes.
        bits: Of a code, at most 8.
    """

    low: np.ndarray
    step: np.ndarray
    bits: int

    @classmethod
    def measure(
        cls, pages: np.ndarray, dimension: int, train_rows: np.ndarray, bits: int
    ) -> "ScalarCodec":
        """Take the ranges from train pages alone, as an index in use would.

        Args:
            pages: float32 [n, width], the stored vectors.
            dimension: To cut to.
            train_rows: Rows of the pages that set the range of each dimension.
            bits: Of a code.

        Raises:
            InputError: there is no train page to measure ranges on.
        """
        if not len(train_rows):
            raise InputError(f"int{bits} measures its ranges on train pages: the corpus has none")
        low = np.full(dimension, np.inf, np.float32)
        high = -low
        for block in cut_blocks(pages, dimension, train_rows):
            low = np.minimum(low, block.min(axis=0))
            high = np.maximum(high, block.max(axis=0))
        step = np.where(high > low, (high - low) / (2**bits - 1), 1).astype(np.float32)
        return cls(low, step, bits)

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """Codes, int8; a number outside the range is clipped, where a cast would wrap around."""
        half = 2 ** (self.bits - 1)
        codes = np.rint((vectors - self.low) / self.step) - half
        return cast(np.ndarray, np.clip(codes, -half, half - 1).astype(np.int8))

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """The numbers that codes stand for, float32."""
        half = 2 ** (self.bits - 1)
        return cast(np.ndarray, self.low + (codes.astype(np.float32) + half) * self.step)


def search_floats(search: Search) -> Run:
    """Search by the dot product of the cut vectors."""
    return _search_decoded(search, partial(cut, dimension=search.queries.shape[1]))


def search_scalar_codes(search: Search, bits: int) -> Run:
    """Search by the dot product of the float query with the decoded page."""
    dimension, train_rows = search.queries.shape[1], search.task.corpus.page_rows("train")
    codec = ScalarCodec.measure(search.pages, dimension, train_rows, bits)
    return _search_decoded(search, lambda pages: codec.decode(codec.encode(cut(pages, dimension))))


def _search_decoded(search: Search, decode: Decode) -> Run:
    scores, page_rows = nearest(
        search.queries,
        search.pages,
        search.k,
        rows=search.task.page_rows,
        tie_break=search.task.tie_break,
        decode=decode,
        device=search.device,
    )
    return search.task.run(scores, page_rows)


def search_signs(search: Search, *, rescore: bool) -> Run:
    """Search by the Hamming distance of signs; with `rescore` order the nearest again.

    They are ordered by the dot product of the float query with a page's signs as +-1 (Yamada, Asai
    and Hajishirzi, Efficient passage retrieval with hashing for open-domain question answering, ACL
    2021).
    """
    task, queries = search.task, search.queries
    codes = pack_rows(search.pages, queries.shape[1], task.page_rows)
    ties = task.tie_break[task.page_rows]
    k = search.shortlist if rescore else search.k
    distances, places = hamming_nearest(pack(queries), codes, k, ties)
    scores = -distances.astype(np.float32)
    if rescore:
        scores, places = rescored(queries, codes, places, search.k, ties)
    return task.run(scores, task.page_rows[places])


PRECISIONS = {
    precision.name: precision
    for precision in (
        Precision("float32", 32, search_floats),
        Precision("int8", 8, partial(search_scalar_codes, bits=8), needs_train_pages=True),
        Precision("binary", 1, partial(search_signs, rescore=False)),
        Precision("binary_rescored", 1, partial(search_signs, rescore=True)),
    )
}
FLOAT32 = PRECISIONS["float32"]
