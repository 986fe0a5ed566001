"""Intervals and p-values, against scipy and by hand."""

import numpy as np
import pytest
import scipy.stats

from pagefinder.evaluation.significance import gain, paired_bootstrap, sign_flip_p_value


def clustered(queries: int, documents: int, seed: int = 3) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    names = [f"d{i}" for i in rng.integers(0, documents, queries)]
    shift = {name: rng.normal(0, 0.3) for name in sorted(set(names))}
    return np.array([rng.normal(0.1, 0.2) + shift[name] for name in names]), names


def by_document(differences: np.ndarray, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    sums: dict[str, list[float]] = {}
    for name, value in zip(names, differences, strict=True):
        sums.setdefault(name, []).append(value)
    return np.array([sum(v) for v in sums.values()]), np.array([len(v) for v in sums.values()])


def test_interval_equals_scipy_on_documents() -> None:
    differences, names = clustered(200, 25)
    sums, counts = by_document(differences, names)
    expected = scipy.stats.bootstrap(
        (sums, counts),
        lambda s, c, axis: s.sum(axis) / c.sum(axis),
        paired=True,
        method="percentile",
        n_resamples=50_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    found = paired_bootstrap(differences, names, resamples=50_000, seed=5)
    assert found == pytest.approx((expected.low, expected.high), abs=0.003)


def test_documents_widen_the_interval() -> None:
    """What resampling single queries would claim is too sure where documents differ."""
    differences, names = clustered(200, 10)
    low, high = paired_bootstrap(differences, names, resamples=4000, seed=1)
    singles = [str(i) for i in range(200)]
    single_low, single_high = paired_bootstrap(differences, singles, resamples=4000, seed=1)
    assert high - low > 1.5 * (single_high - single_low)


def test_p_value_equals_scipy_exactly_where_all_flips_are_tried() -> None:
    differences, names = clustered(60, 10)
    sums, _ = by_document(differences, names)
    expected = scipy.stats.permutation_test(
        (sums,), lambda s, axis: s.sum(axis), permutation_type="samples", n_resamples=np.inf,
        vectorized=True,
    ).pvalue  # fmt: skip
    found = sign_flip_p_value(differences, names, resamples=10_000, seed=0)
    assert found == pytest.approx(expected, abs=1e-12)


def test_p_value_equals_scipy_where_flips_are_drawn() -> None:
    differences, names = clustered(120, 30)
    differences += 0.1
    sums, _ = by_document(differences, names)
    expected = scipy.stats.permutation_test(
        (sums,), lambda s, axis: s.sum(axis), permutation_type="samples", n_resamples=50_000,
        vectorized=True, rng=np.random.default_rng(2),
    ).pvalue  # fmt: skip
    found = sign_flip_p_value(differences, names, resamples=50_000, seed=0)
    assert 0.001 < found < 0.5
    assert found == pytest.approx(expected, abs=0.01)


def test_all_documents_gain_alike() -> None:
    """Every flip but two lowers the sum: p is 2 of 2^6, and each resample's mean is the same."""
    names = list("abcdef")
    assert sign_flip_p_value([0.5] * 6, names, resamples=100, seed=0) == 2 / 64
    assert paired_bootstrap([0.5] * 6, names, resamples=100, seed=0) == (0.5, 0.5)


def test_gain() -> None:
    documents = list("aabbccddee")
    before, after = np.zeros(10), np.full(10, 0.25)
    result = gain(before, after, documents, resamples=500, seed=1)
    assert result == {
        "ndcg@10": 0.25, "low": 0.25, "high": 0.25, "p_value": 2 / 32, "documents": 5,
    }  # fmt: skip
    assert gain(after, before, documents, resamples=500, seed=1)["ndcg@10"] == -0.25
    assert gain(before, after, ["a", "b"] * 5, resamples=9, seed=1) == {
        "ndcg@10": 0.25, "documents": 2,
    }  # fmt: skip


def test_same_seed_same_figures_and_blocks_do_not_matter(monkeypatch) -> None:
    differences, names = clustered(100, 30)
    first = paired_bootstrap(differences, names, resamples=999, seed=4)
    assert first == paired_bootstrap(differences, names, resamples=999, seed=4)
    monkeypatch.setattr("pagefinder.evaluation.significance.BLOCK", 1000)
    assert first == pytest.approx(paired_bootstrap(differences, names, resamples=999, seed=4))


def test_unequal_lengths_are_an_error() -> None:
    with pytest.raises(ValueError, match="3 differences but 2 documents"):
        paired_bootstrap([1, 2, 3], ["a", "b"], resamples=9, seed=0)
