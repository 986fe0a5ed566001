"""Whether one system is better than another or only lucky: intervals and p-values by document.

Queries about one document are not independent. So whole documents are resampled and flipped, never
single queries: an interval over queries would be too narrow. Where documents are too few, their
sections take their place, see `runs.documents_of`.
"""

from collections.abc import Sequence

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

from pagefinder.retrieval.runs import FEWEST_DOCUMENTS

Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

# Documents that all resamples of a batch hold together: memory stays flat with any number of them.
BATCH_DOCUMENTS = 4_000_000


def gain(
    before: ArrayLike,
    after: ArrayLike,
    documents: Sequence[str],
    *,
    resamples: int,
    seed: int,
    metric: str = "ndcg@10",
) -> dict[str, float]:
    """The mean difference of two systems on the same queries, with interval and p-value.

    Args:
        before: [queries] the metric of each query in the first system.
        after: [queries] the same for the second system, in the same order.
        documents: [queries] the document of each query; the unit that is resampled.
        resamples: Number of resamples for the interval, and of flips for the p-value.
        seed: Seed of the resamples, and of the flips.
        metric: Key of the mean difference in the result.

    Returns:
        {metric, low, high, p_value, documents}; without low, high and p_value where there are
        fewer than FEWEST_DOCUMENTS documents.
    """
    differences = np.asarray(after, np.float64) - np.asarray(before, np.float64)
    resampling = {"resamples": resamples, "seed": seed}
    result = {metric: float(differences.mean()) if differences.size else 0.0}
    interval = paired_bootstrap(differences, documents, **resampling)
    if interval is not None:
        result["low"], result["high"] = interval
        result["p_value"] = sign_flip_p_value(differences, documents, **resampling)
    return result | {"documents": len(set(documents))}


def paired_bootstrap(
    differences: ArrayLike, documents: Sequence[str], *, resamples: int, seed: int
) -> tuple[float, float] | None:
    """95% percentile interval of the mean difference over queries, resampling whole documents.

    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13. A document brings all
    of its queries into a resample, so that a resample's mean is a ratio of sums.

    Args:
        differences: [queries] second system minus first.
        documents: [queries] the document of each query.
        resamples: Number of resamples.
        seed: Of the resamples.

    Returns:
        (low, high), or None below FEWEST_DOCUMENTS documents.
    """
    sums, counts = sums_by_document(differences, documents)
    if len(sums) < FEWEST_DOCUMENTS:
        return None
    interval = scipy.stats.bootstrap(
        (sums, counts),
        lambda sums, counts, axis: sums.sum(axis) / counts.sum(axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=resamples,
        batch=batch_of(sums),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def sign_flip_p_value(
    differences: ArrayLike, documents: Sequence[str], *, resamples: int, seed: int
) -> float:
    """Two-sided p-value of "the two systems are exchangeable", flipping whole documents.

    Fisher's randomisation test, as Smucker, Allan and Carterette recommend it for retrieval (CIKM
    2007). With at most `resamples` possible flips all are tried and p is exact. Otherwise flips are
    sampled, and the observed outcome is counted among them, so that p is never 0.

    Args:
        differences: [queries] second system minus first.
        documents: [queries] the document of each query.
        resamples: The most flips to look at.
        seed: Of the sampled flips.
    """
    # Two-sided: the statistic is the absolute sum. Flips leave the number of queries alone, so the
    # sum does for the mean.
    sums, _ = sums_by_document(differences, documents)
    if 2 ** len(sums) <= resamples:
        exact = scipy.stats.permutation_test(
            (sums,),
            _absolute_sum,
            permutation_type="samples",
            alternative="greater",
            vectorized=True,
            n_resamples=resamples,
            batch=batch_of(sums),
        )
        return float(exact.pvalue)
    rng = np.random.default_rng(seed)
    # permutation_test samples too, but one document after another: 40 s for 10,000 of them.
    sampled = scipy.stats.monte_carlo_test(
        sums,
        lambda size: sums * (1 - 2 * rng.integers(0, 2, size, dtype=np.int8)),
        _absolute_sum,
        alternative="greater",
        vectorized=True,
        n_resamples=resamples,
        batch=batch_of(sums),
    )
    return float(sampled.pvalue)


def _absolute_sum(sums: Floats, axis: int) -> Floats:
    """|sum|, rounded because equal sums in another order differ in the last bits."""
    result: Floats = np.abs(sums.sum(axis)).round(12)
    return result


def sums_by_document(differences: ArrayLike, documents: Sequence[str]) -> tuple[Floats, Floats]:
    """Sum of the differences and number of queries of each document."""
    values = np.asarray(differences, np.float64)
    if len(values) != len(documents):
        raise ValueError(f"{len(values)} differences but {len(documents)} documents")
    _, codes = np.unique(np.asarray(documents, dtype=str), return_inverse=True)
    return np.bincount(codes, values).astype(np.float64), np.bincount(codes).astype(np.float64)


def batch_of(documents: Floats) -> int:
    """Number of resamples to hold at a time, for the documents' sums."""
    # A multiple of 4: the generator makes four signs of one draw, which no batch may cut in two.
    return 4 * max(1, BATCH_DOCUMENTS // len(documents) // 4)
