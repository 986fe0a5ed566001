"""Find pages that hardly differ, without comparing all pairs.

Two pages are near-duplicates when their perceptual hashes differ in at most `distance` bits, their
text is equal or one of them has none, they are of one size, and their stored grey pixels differ by
at most `pixels` levels on average. Pages that look alike but have other text are none.

Candidates come from sorting: pages with text from groups of equal text; pages without text from
multi-index hashing (Norouzi, Punjani and Fleet, 2012): hashes within `distance` bits are equal in
at least one of `distance + 1` bands. Inside a group pages are ordered by mean grey, which may
differ by no more than `pixels` either, and each is compared with at most WINDOW followers. The
cost is thus n log n + n * WINDOW, also for a corpus of blank pages. Rows that still had a possible
partner WINDOW + 1 places away are counted: 0 says that the window missed nothing.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pandas as pd

WINDOW = 128
# Means over blocks that leave an edge uncovered may differ a little more than the whole page does.
SLACK = 1.3


def find(
    pages: pd.DataFrame,
    thumbs: np.ndarray,
    grey: Callable[[int], np.ndarray],
    distance: int,
    pixels: float,
) -> tuple[np.ndarray, int]:
    """Pairs of rows that are near-duplicates.

    Args:
        pages: Columns text_hash (empty: no text), pixel_hash (16 hex digits), width, height.
        thumbs: Block means of the grey pages, float32 (pages, blocks).
        grey: Grey levels of the stored page of a row, uint8 (height, width).
        distance: Bits of 64 in which the perceptual hashes may differ.
        pixels: Mean difference of grey levels, of 255, up to which pages hardly differ.

    Returns:
        Pairs, int64 (n, 2), the smaller row first, sorted; and the number of rows that
        still had a possible partner WINDOW + 1 places away, once for each key they are sorted by.
    """
    hashes = pages["pixel_hash"].map(lambda digits: int(digits, 16)).to_numpy(dtype=np.uint64)
    texts = pages["text_hash"].astype("category").cat.codes.to_numpy().astype(np.int64)
    textless = (pages["text_hash"] == "").to_numpy()
    sizes = pages["width"].to_numpy(np.int64) * 2**32 + pages["height"].to_numpy(np.int64)
    means = thumbs.mean(axis=1, dtype=np.float32)

    def alike(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        same_text = (texts[left] == texts[right]) | textless[left] | textless[right]
        near = np.bitwise_count(hashes[left] ^ hashes[right]) <= distance
        similar: np.ndarray = same_text & near & (sizes[left] == sizes[right])
        rows = np.flatnonzero(similar)
        difference = np.abs(thumbs[left[rows]] - thumbs[right[rows]]).mean(axis=1)
        similar[rows] = difference <= pixels * SLACK
        return similar

    keys = [(np.flatnonzero(~textless), texts)]
    if textless.any():
        keys += [(np.arange(len(pages)), band) for band in _bands(hashes, distance)]
    parts, cut = [np.empty((0, 2), np.int64)], 0
    for rows, key in keys:
        pairs, missed = _candidates(rows, key, means, pixels * SLACK, alike)
        parts.append(pairs)
        cut += missed
    candidates = np.unique(np.concatenate(parts), axis=0)
    cached = lru_cache(maxsize=WINDOW * 2)(grey)
    near = [_mean_difference(cached(int(a)), cached(int(b))) <= pixels for a, b in candidates]
    return candidates[np.array(near, dtype=bool)], cut


def _bands(hashes: np.ndarray, distance: int) -> list[np.ndarray]:
    """The 64 bits cut into `distance + 1` bands, one array of band values each."""
    edges = np.linspace(0, 64, min(distance + 1, 64) + 1).round().astype(int)
    return [
        (hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        for low, high in zip(edges[:-1], edges[1:], strict=True)
    ]


def _candidates(
    rows: np.ndarray,
    key: np.ndarray,
    means: np.ndarray,
    bound: float,
    alike: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> tuple[np.ndarray, int]:
    """Pairs of near-duplicate candidates.

    Rows are sorted by key, then by mean grey. Each is compared with the next WINDOW rows of the
    same key whose mean differs by at most `bound`, and the pair stays if `alike` says so.

    Args:
        rows: int64 [n], row numbers of the pages to compare.
        key: int [pages]; only pages of the same key are compared.
        means: float32 [pages], mean grey.
        bound: Largest difference of two means.
        alike: From the first and the second rows of pairs, whether each pair hardly differs.

    Returns:
        Pairs, int64 [m, 2], the smaller row first; and how many rows still had a possible partner
        (same key, mean within `bound`) WINDOW + 1 places away: 0 where nothing was missed.
    """
    order = rows[np.lexsort((means[rows], key[rows]))]
    parts, starts = [np.empty((0, 2), np.int64)], np.arange(len(order))
    for distance in range(1, WINDOW + 2):
        starts = starts[starts + distance < len(order)]
        a, b = order[starts], order[starts + distance]
        # Sorted by mean: a start that fails at one distance fails at all larger ones.
        starts = starts[(key[a] == key[b]) & (np.abs(means[a] - means[b]) <= bound)]
        if not len(starts):
            return np.concatenate(parts), 0
        if distance <= WINDOW:
            a, b = order[starts], order[starts + distance]
            hit = alike(a, b)
            pairs = np.stack([np.minimum(a[hit], b[hit]), np.maximum(a[hit], b[hit])], axis=1)
            parts.append(pairs.astype(np.int64))
    return np.concatenate(parts), len(starts)


def _mean_difference(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference of the grey levels of two pages of one size."""
    return float(np.abs(a.astype(np.int16) - b.astype(np.int16)).mean())
