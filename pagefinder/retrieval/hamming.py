"""Binary codes of vectors, their signs: packed, and compared by Hamming distance."""

import numpy as np

from pagefinder.retrieval.nearest import best_rows
from pagefinder.retrieval.vectors import BLOCK, cut_blocks

# Bits of a search key that hold the tie-break; those above hold the distance.
TIE_BITS = 40


def pack(vectors: np.ndarray) -> np.ndarray:
    """Signs of float vectors [n, d] as uint64 [n, words]; a number above 0 is a set bit."""
    bits = np.packbits(vectors > 0, axis=1)
    padded = np.zeros((len(bits), -(-bits.shape[1] // 8) * 8), np.uint8)
    padded[:, : bits.shape[1]] = bits
    return padded.view(np.uint64)


def unpack(codes: np.ndarray, dimension: int) -> np.ndarray:
    """Signs of packed codes: +1 for a set bit, else -1, float32 [n, dimension]."""
    bits = np.unpackbits(codes.view(np.uint8), axis=1, count=dimension)
    return bits.astype(np.float32) * 2 - 1


def pack_rows(pages: np.ndarray, dimension: int, rows: np.ndarray) -> np.ndarray:
    """Packed signs of the stored pages in `rows`, in that order, uint64 [rows, words]."""
    packed = [pack(block) for block in cut_blocks(pages, dimension, rows)]
    return np.concatenate(packed) if packed else np.zeros((0, -(-dimension // 64)), np.uint64)


def hamming_nearest(
    queries: np.ndarray, pages: np.ndarray, k: int, tie_break: np.ndarray, block: int = BLOCK
) -> tuple[np.ndarray, np.ndarray]:
    """The k pages that differ from each query in the fewest bits, exactly.

    Args:
        queries: uint64 [q, words], from `pack`.
        pages: uint64 [n, words].
        k: Pages per query; above n all n come back.
        tie_break: int64 [n], distinct, below 2^TIE_BITS; at equal distance the lower comes first.
        block: Pages, and queries, compared at once.

    Returns:
        Distances, ascending, and row numbers in `pages`, both int64 [q, min(k, n)].
    """
    parts = [
        _block_nearest(queries[start : start + block], pages, k, tie_break, block)
        for start in range(0, max(1, len(queries)), block)
    ]
    distances, rows = zip(*parts, strict=True)
    return np.concatenate(distances), np.concatenate(rows)


def _block_nearest(
    queries: np.ndarray, pages: np.ndarray, k: int, tie_break: np.ndarray, block: int
) -> tuple[np.ndarray, np.ndarray]:
    """The result of `hamming_nearest` for at most `block` queries."""
    # One integer holds distance and tie-break, so that a partition by it has no ties to break.
    keys = rows = np.empty((len(queries), 0), np.int64)
    for start in range(0, len(pages), block):
        part = slice(start, start + block)
        block_keys = (_distances(queries, pages[part]) << TIE_BITS) + tie_break[part]
        block_rows = np.broadcast_to(
            np.arange(start, start + block_keys.shape[1]), block_keys.shape
        )
        keys, rows = np.hstack([keys, block_keys]), np.hstack([rows, block_rows])
        if keys.shape[1] > k:
            best = np.argpartition(keys, k - 1, axis=1)[:, :k]
            keys, rows = (np.take_along_axis(array, best, axis=1) for array in (keys, rows))
    order = np.argsort(keys, axis=1)
    keys, rows = (np.take_along_axis(array, order, axis=1) for array in (keys, rows))
    return keys >> TIE_BITS, rows


def _distances(queries: np.ndarray, pages: np.ndarray) -> np.ndarray:
    """Number of bits in which each query differs from each page, int64 [q, n]."""
    distances = np.zeros((len(queries), len(pages)), np.int64)
    for query_words, page_words in zip(queries.T, pages.T, strict=True):
        distances += np.bitwise_count(query_words[:, None] ^ page_words)
    return distances


def rescored(
    queries: np.ndarray, pages: np.ndarray, rows: np.ndarray, k: int, tie_break: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Order each query's shortlist by the dot product of the float query with a page's signs.

    A page on several shortlists is unpacked once. Sums are float64 as in `nearest`, so that equal
    pages have equal scores.

    Args:
        queries: float32 [q, d].
        pages: uint64 [n, words], from `pack`.
        rows: int64 [q, s], the shortlists.
        k: Pages per query.
        tie_break: int64 [n]; at equal scores the lower comes first.

    Returns:
        Scores, float32 [q, min(k, s)], descending, and rows, int64.
    """
    listed, places = np.unique(rows, return_inverse=True)
    places = places.reshape(rows.shape)
    scores = np.empty(rows.shape, np.float32)
    for start in range(0, len(listed), BLOCK):
        signs = unpack(pages[listed[start : start + BLOCK]], queries.shape[1])
        products = queries.astype(np.float64) @ signs.T.astype(np.float64)
        inside = (places >= start) & (places < start + BLOCK)
        scores[inside] = products[inside.nonzero()[0], places[inside] - start]
    return best_rows(scores, rows, k, tie_break)
