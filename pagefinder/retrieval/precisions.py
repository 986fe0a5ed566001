"""Smaller vectors: cut to a Matryoshka dimension, and what an index of a lower precision keeps.

- float32: the cut vector itself, 4 bytes per dimension.
- int8: each dimension's range over the train pages in 255 steps; the query stays float. 1 byte.
- binary: the signs of page and query, compared by Hamming distance. 1 bit.
- binary_rescored: the nearest by Hamming distance, ordered again by the dot product of the float
  query with the page's signs as +-1. The index holds the same 1 bit (Yamada, Asai and Hajishirzi,
  Efficient passage retrieval with hashing for open-domain question answering, ACL 2021).

Everything reads memory-mapped vectors block by block, so memory stays flat.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np

from pagefinder.errors import InputError

PRECISIONS = ("float32", "int8", "binary", "binary_rescored")
BLOCK = 4096  # pages decoded, or compared with all queries, at a time


def bytes_per_page(precision: str, dimension: int) -> int:
    """Bytes that an index holds for one page."""
    return {"float32": 4 * dimension, "int8": dimension}.get(precision, -(-dimension // 8))


def cut(vectors: np.ndarray, dimension: int) -> np.ndarray:
    """The first `dimension` numbers of each vector [..., width], at unit length again, float32."""
    short = np.asarray(vectors[..., :dimension], np.float32)
    length = np.linalg.norm(short, axis=-1, keepdims=True)
    return cast(np.ndarray, short / np.maximum(length, np.float32(1e-12)))


@dataclass(frozen=True)
class View:
    """Stored rows that are decoded where they are read: indexed like a float32 array [n, width].

    Attributes:
        stored: [n, ...] vectors or codes, in memory or mapped.
        width: Of a decoded row.
        decode: Turns stored rows into float32 rows.
    """

    stored: np.ndarray
    width: int
    decode: Callable[[np.ndarray], np.ndarray]

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, width)."""
        return len(self.stored), self.width

    ndim = 2

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        return self.decode(np.asarray(self.stored[rows]))

    def as_array(self) -> np.ndarray:
        """Itself, under the type that `nearest` asks for and of which it only takes rows."""
        return cast(np.ndarray, self)


@dataclass(frozen=True)
class Int8:
    """Codes of one byte per number: 255 steps over each dimension's own range.

    Attributes:
        low: [d] what code -128 stands for.
        step: [d] between two codes.
    """

    low: np.ndarray
    step: np.ndarray

    @classmethod
    def measure(cls, pages: np.ndarray, dimension: int, train_rows: np.ndarray) -> "Int8":
        """Take the ranges from train pages alone, as an index in use would.

        Args:
            pages: float32 [n, width], the stored vectors.
            dimension: Cut to.
            train_rows: Rows of the pages that set the range of each dimension.

        Raises:
            InputError: there is no train page to measure ranges on.
        """
        if not len(train_rows):
            raise InputError("int8 measures its ranges on train pages, and the corpus has none")
        low = np.full(dimension, np.inf, np.float32)
        high = -low
        for block in _blocks(pages, dimension, train_rows):
            low = np.minimum(low, block.min(axis=0))
            high = np.maximum(high, block.max(axis=0))
        return cls(low, np.where(high > low, (high - low) / 255, 1).astype(np.float32))

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """int8 codes; what lies outside the ranges is clipped, where a cast would wrap around."""
        codes = np.rint((vectors - self.low) / self.step) - 128
        return cast(np.ndarray, np.clip(codes, -128, 127).astype(np.int8))

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """What codes stand for, float32."""
        return cast(np.ndarray, self.low + (codes.astype(np.float32) + 128) * self.step)


def pack(vectors: np.ndarray) -> np.ndarray:
    """Signs of float vectors [n, d] as uint64 [n, words]; a number above 0 is a set bit."""
    bits = np.packbits(vectors > 0, axis=1)
    padded = np.zeros((len(bits), -(-bits.shape[1] // 8) * 8), np.uint8)
    padded[:, : bits.shape[1]] = bits
    return padded.view(np.uint64)


def unpack(codes: np.ndarray, dimension: int) -> np.ndarray:
    """What packed signs stand for: +1 for a set bit, else -1, float32 [n, dimension]."""
    bits = np.unpackbits(codes.view(np.uint8), axis=1, count=dimension)
    return bits.astype(np.float32) * 2 - 1


def pack_rows(pages: np.ndarray, dimension: int, rows: np.ndarray) -> np.ndarray:
    """Packed signs of some rows of the stored pages, in their order."""
    packed = [pack(block) for block in _blocks(pages, dimension, rows)]
    return np.concatenate(packed) if packed else np.zeros((0, -(-dimension // 64)), np.uint64)


def hamming_nearest(
    queries: np.ndarray, pages: np.ndarray, k: int, tie_break: np.ndarray, block: int = BLOCK
) -> tuple[np.ndarray, np.ndarray]:
    """The k pages that differ from each query in the fewest bits, exactly.

    Args:
        queries: uint64 [q, words], from `pack`.
        pages: uint64 [n, words].
        k: Pages wanted per query; above n all n come back.
        tie_break: int64 [n], distinct and below 2^40; at equal distance the lower comes first.
        block: Pages, and queries, compared at once.

    Returns:
        Distances, ascending, and row numbers in `pages`, both int64 [q, min(k, n)].
    """
    found = [
        _hamming_nearest(queries[start : start + block], pages, k, tie_break, block)
        for start in range(0, max(1, len(queries)), block)
    ]
    distances, rows = zip(*found, strict=True)
    return np.concatenate(distances), np.concatenate(rows)


def _hamming_nearest(
    queries: np.ndarray, pages: np.ndarray, k: int, tie_break: np.ndarray, block: int
) -> tuple[np.ndarray, np.ndarray]:
    # One integer holds distance and tie-break, so that a partition by it has no ties to break.
    shift = 40
    keys = np.empty((len(queries), 0), np.int64)
    where = keys
    for start in range(0, len(pages), block):
        part = slice(start, start + block)
        fresh = (_hamming(queries, pages[part]) << shift) + tie_break[part]
        rows = np.broadcast_to(np.arange(start, start + fresh.shape[1]), fresh.shape)
        keys, where = np.hstack([keys, fresh]), np.hstack([where, rows])
        if keys.shape[1] > k:
            best = np.argpartition(keys, k - 1, axis=1)[:, :k]
            keys, where = (np.take_along_axis(array, best, axis=1) for array in (keys, where))
    order = np.argsort(keys, axis=1)
    keys, where = (np.take_along_axis(array, order, axis=1) for array in (keys, where))
    return keys >> shift, where


def _hamming(queries: np.ndarray, pages: np.ndarray) -> np.ndarray:
    """Differing bits of every query and page, int64 [q, n]."""
    distance = np.zeros((len(queries), len(pages)), np.int64)
    for left, right in zip(queries.T, pages.T, strict=True):
        distance += np.bitwise_count(left[:, None] ^ right)
    return distance


def _blocks(pages: np.ndarray, dimension: int, rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), BLOCK):
        yield cut(np.asarray(pages[rows[start : start + BLOCK]]), dimension)
