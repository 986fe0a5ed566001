"""The precisions of an index, one object each: PRECISIONS.

Memory-mapped vectors are read block by block, so memory stays flat.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
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
    """One search: its queries, its pages, and how many to find. It fits every precision.

    Attributes:
        task: Queries, and pages to search.
        queries: float32 [queries, dimension], cut.
        pages: float32 [all pages, width], as stored: the search cuts them to the same dimension.
        k: Pages per query.
        shortlist: Pages per query that binary_rescored reorders.
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
        search: Finds the k best pages of each query.
        needs_train_pages: Whether the index measures the range of each dimension on train pages.
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
        low: [d] the number that the lowest code stands for.
        step: [d] the difference between the numbers of two successive codes.
        bits: Of a code, at most 8.
    """

    low: np.ndarray
    step: np.ndarray
    bits: int

    @classmethod
    def measure(
        cls, pages: np.ndarray, dimension: int, train_rows: np.ndarray, bits: int
    ) -> "ScalarCodec":
        """Return the codec whose ranges hold the train pages, as an index in use would.

        Args:
            pages: float32 [n, width], the stored vectors.
            dimension: Dimension that the vectors are cut to.
            train_rows: Rows of the pages that set the range of each dimension.
            bits: Bits of a code, at most 8.

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
        """Codes of float vectors [..., d], int8.

        A number outside the range is clipped, where a cast would wrap around.
        """
        half = 2 ** (self.bits - 1)
        codes = np.rint((vectors - self.low) / self.step) - half
        return cast(np.ndarray, np.clip(codes, -half, half - 1).astype(np.int8))

    def truncate(self, vectors: np.ndarray) -> np.ndarray:
        """Codes of float vectors [..., d] as Sentence Transformers' quantize_embeddings makes them.

        The code below a number, where `encode` takes the nearest.
        """
        half = 2 ** (self.bits - 1)
        codes = np.floor((vectors - self.low) / self.step) - half
        return cast(np.ndarray, np.clip(codes, -half, half - 1).astype(np.int8))

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """The numbers that codes [..., d] stand for, float32."""
        half = 2 ** (self.bits - 1)
        return cast(np.ndarray, self.low + (codes.astype(np.float32) + half) * self.step)


def search_floats(search: Search) -> Run:
    """Search by the dot product of the cut vectors."""
    return _search_decoded(search, partial(cut, dimension=search.queries.shape[1]))


def search_scalar_codes(search: Search, bits: int) -> Run:
    """Search rounded codes of `bits` by the dot product of the float query with decoded pages."""
    dimension, train_rows = search.queries.shape[1], search.task.corpus.page_rows("train")
    codec = ScalarCodec.measure(search.pages, dimension, train_rows, bits)
    return _search_decoded(search, lambda pages: codec.decode(codec.encode(cut(pages, dimension))))


def search_truncated_codes(search: Search) -> Run:
    """Search int8 codes of queries and pages, both truncated, by the dot product of the codes.

    It is what comes out where `quantize_embeddings` makes both, with the ranges of train pages.
    """
    dimension, train_rows = search.queries.shape[1], search.task.corpus.page_rows("train")
    codec = ScalarCodec.measure(search.pages, dimension, train_rows, bits=8)
    codes = replace(search, queries=codec.truncate(search.queries).astype(np.float32))
    return _search_decoded(
        codes, lambda pages: codec.truncate(cut(pages, dimension)).astype(np.float32)
    )


def _search_decoded(search: Search, decode: Decode) -> Run:
    """Search page vectors of a lower precision or dimension, by exact search.

    `decode` turns each block of stored pages into the float32 vectors that are compared.
    """
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
    """Search binary codes (the signs of the vectors) by Hamming distance.

    With `rescore`, reorder the `shortlist` nearest by the dot product of the float query with the
    page's signs as +1 and -1 (Yamada, Asai and Hajishirzi, Efficient passage retrieval with hashing
    for open-domain question answering, ACL 2021).
    """
    task, queries = search.task, search.queries
    codes = pack_rows(search.pages, queries.shape[1], task.page_rows)
    ties = task.tie_break[task.page_rows]
    k = search.shortlist if rescore else search.k
    # places: positions within task.page_rows.
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
        Precision("int8_truncated", 8, search_truncated_codes, needs_train_pages=True),
        Precision("binary", 1, partial(search_signs, rescore=False)),
        Precision("binary_rescored", 1, partial(search_signs, rescore=True)),
    )
}
FLOAT32 = PRECISIONS["float32"]
