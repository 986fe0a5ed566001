"""Is one ranking better than another, or lucky? Intervals and p-values that respect documents.

Questions about one document stand or fall together, so documents are drawn and flipped, never
single queries: an interval over queries would be too narrow.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

# Fewer documents than this cannot carry an interval: a resample repeats most of them.
FEWEST_DOCUMENTS = 5
# Documents drawn at a time, so that memory stays flat however many documents there are.
BLOCK = 4_000_000


def gain(
    before: ArrayLike,
    after: ArrayLike,
    documents: Sequence[str],
    *,
    resamples: int,
    seed: int,
    metric: str = "ndcg@10",
) -> dict[str, float]:
    """What `after` adds to `before` on the same queries, and how sure that is.

    Args:
        before: [queries] the metric of each query in the first system.
        after: [queries] the same for the second system, in the same order.
        documents: [queries] the document of each query; the unit that is resampled.
        resamples: Draws for the interval and for the p-value.
        seed: Of both draws.
        metric: Key of the mean difference in the result.

    Returns:
        {metric, low, high, p_value, documents}; without low, high and p_value where there are
        fewer than FEWEST_DOCUMENTS documents.
    """
    differences = np.asarray(after, np.float64) - np.asarray(before, np.float64)
    drawn = {"resamples": resamples, "seed": seed}
    result = {metric: float(differences.mean()) if differences.size else 0.0}
    interval = paired_bootstrap(differences, documents, **drawn)
    if interval is not None:
        result["low"], result["high"] = interval
        result["p_value"] = sign_flip_p_value(differences, documents, **drawn)
    return result | {"documents": len(set(documents))}


def paired_bootstrap(
    differences: ArrayLike,
    documents: Sequence[str],
    *,
    resamples: int,
    seed: int,
    confidence: float = 0.95,
) -> tuple[float, float] | None:
    """Percentile interval of the mean difference over queries, resampling whole documents.

    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13; a document that is
    drawn brings all of its queries, so that a resample's mean is a ratio of sums.

    Args:
        differences: [queries] second system minus first.
        documents: [queries] the document of each query.
        resamples: Draws.
        seed: Of the draws.
        confidence: Share of the draws inside the interval.

    Returns:
        (low, high), or None below FEWEST_DOCUMENTS documents.
    """
    sums, counts = _by_document(differences, documents)
    number = len(sums)
    if number < FEWEST_DOCUMENTS:
        return None
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    for block in _blocks(resamples, number):
        drawn = rng.integers(0, number, (block.stop - block.start, number), dtype=np.int32)
        means[block] = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def sign_flip_p_value(
    differences: ArrayLike, documents: Sequence[str], *, resamples: int, seed: int
) -> float:
    """Two-sided p-value of "the two systems are exchangeable", flipping whole documents.

    Fisher's randomisation test, as Smucker, Allan and Carterette recommend it for retrieval (CIKM
    2007). All flips are enumerated where there are no more of them than `resamples`; else the
    observed one is counted among those drawn, so that p is never 0.

    Args:
        differences: [queries] second system minus first.
        documents: [queries] the document of each query.
        resamples: Draws.
        seed: Of the draws.
    """
    sums, _ = _by_document(differences, documents)
    observed = abs(sums.sum()) - 1e-12  # equal sums in another order differ in the last bits
    number = len(sums)
    if 2**number <= resamples:
        codes = np.arange(2**number)[:, None] >> np.arange(number) & 1
        return float(np.mean(np.abs((1 - 2 * codes) @ sums) >= observed))
    rng = np.random.default_rng(seed)
    extreme = 1
    for block in _blocks(resamples, number):
        signs = 1 - 2 * rng.integers(0, 2, (block.stop - block.start, number), dtype=np.int8)
        extreme += int(np.count_nonzero(np.abs(signs @ sums) >= observed))
    return extreme / (resamples + 1)


def _by_document(differences: ArrayLike, documents: Sequence[str]) -> tuple[Floats, Floats]:
    """Sum of the differences and number of queries of each document."""
    values = np.asarray(differences, np.float64)
    if len(values) != len(documents):
        raise ValueError(f"{len(values)} differences but {len(documents)} documents")
    _, codes = np.unique(np.asarray(documents, dtype=str), return_inverse=True)
    return np.bincount(codes, values).astype(np.float64), np.bincount(codes).astype(np.float64)


def _blocks(resamples: int, number: int) -> Iterator[slice]:
    step = max(1, BLOCK // max(1, number))
    for start in range(0, resamples, step):
        yield slice(start, min(resamples, start + step))
