"""Intervals and p-values, against all resamples and flips one by one, and by hand."""

import itertools
import tracemalloc

import numpy as np
import pandas as pd
import pytest

from pagefinder.evaluation.significance import gain, paired_bootstrap, sign_flip_p_value


def clustered(queries: int, documents: int, seed: int = 3) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    names = [f"d{i}" for i in rng.integers(0, documents, queries)]
    shift = {name: rng.normal(0, 0.3) for name in sorted(set(names))}
    return np.array([rng.normal(0.1, 0.2) + shift[name] for name in names]), names


def mean_of(documents: list[str], differences: np.ndarray, names: list[str]) -> float:
    """Mean over the queries of some documents, each as often as it is named."""
    values = [differences[[name == one for name in names]] for one in documents]
    return float(np.concatenate(values).mean())


def test_interval_equals_that_of_all_resamples() -> None:
    """Five documents have 5^5 resamples; the interval is that of their means, one by one."""
    differences, names = clustered(40, 5)
    resamples = itertools.product(sorted(set(names)), repeat=5)
    means = [mean_of(documents, differences, names) for documents in resamples]
    interval = paired_bootstrap(differences, names, resamples=50_000, seed=5)
    assert interval == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.003)


def test_documents_widen_the_interval() -> None:
    """What resampling single queries would claim is too sure where documents differ."""
    differences, names = clustered(200, 10)
    low, high = paired_bootstrap(differences, names, resamples=4000, seed=1)
    singles = [str(i) for i in range(200)]
    single_low, single_high = paired_bootstrap(differences, singles, resamples=4000, seed=1)
    assert high - low > 1.5 * (single_high - single_low)


def p_value_of_all_flips(differences: np.ndarray, names: list[str]) -> float:
    """The definition: the share of all flips whose sum is at least as far from 0."""
    sums = pd.Series(differences).groupby(names).sum()
    flips = np.array(list(itertools.product((1, -1), repeat=len(sums))))
    return float(np.mean(np.abs(flips @ sums.to_numpy()) >= abs(sums.sum()) - 1e-9))


def test_p_value_is_exact_where_all_flips_are_tried() -> None:
    differences, names = clustered(60, 10)
    p_value = sign_flip_p_value(differences, names, resamples=1024, seed=0)
    assert p_value == pytest.approx(p_value_of_all_flips(differences, names), abs=1e-12)


def test_equal_sums_count_whatever_the_order_of_their_terms() -> None:
    """Differences of 0.1 to 0.3 have many flips of equal sums, which floats tell apart."""
    differences = np.array([0.1, 0.2, 0.3, -0.1, -0.2, 0.1, 0.7, -0.6])
    names = list("abcdefgh")
    p_value = sign_flip_p_value(differences, names, resamples=256, seed=0)
    assert p_value == pytest.approx(p_value_of_all_flips(differences, names), abs=1e-12)
    # These add up to nothing, in floats to 5e-17 or to 0: any flip is at least as far from it.
    nothing = [0.1, 0.2, -0.3, 0.1, 0.2, -0.3]
    assert sign_flip_p_value(nothing, list("abcdef"), resamples=64, seed=0) == 1


def test_p_value_is_near_the_exact_one_where_flips_are_sampled() -> None:
    differences, names = clustered(120, 16)
    differences += 0.1
    exact = p_value_of_all_flips(differences, names)
    p_value = sign_flip_p_value(differences, names, resamples=50_000, seed=0)
    assert 0.001 < p_value < 0.5
    assert p_value == pytest.approx(exact, abs=0.01)
    assert p_value != exact


def test_p_value_is_never_zero() -> None:
    names = [f"d{i}" for i in range(40)]
    assert sign_flip_p_value([0.5] * 40, names, resamples=999, seed=0) == 1 / 1000


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


@pytest.mark.parametrize("measure", [paired_bootstrap, sign_flip_p_value])
def test_same_seed_same_figures_and_batches_do_not_matter(monkeypatch, measure) -> None:
    differences, names = clustered(100, 29)
    assert len(set(names)) == 29  # odd: a batch of all that fit would not be a multiple of 4 signs
    first = measure(differences, names, resamples=999, seed=4)
    assert first == measure(differences, names, resamples=999, seed=4)
    assert first != measure(differences, names, resamples=999, seed=5)
    monkeypatch.setattr("pagefinder.evaluation.significance.BATCH_DOCUMENTS", 1000)
    assert first == pytest.approx(measure(differences, names, resamples=999, seed=4))


@pytest.mark.parametrize("measure", [paired_bootstrap, sign_flip_p_value])
def test_memory_is_a_batch_and_not_all_resamples(monkeypatch, measure) -> None:
    """All at once would be 3,000 resamples of 1,000 documents: 24 MB for one array of them."""
    monkeypatch.setattr("pagefinder.evaluation.significance.BATCH_DOCUMENTS", 50_000)
    names = [f"d{i}" for i in range(1000)]
    differences = np.linspace(-1, 1, 1000)
    tracemalloc.start()
    measure(differences, names, resamples=3000, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6


def test_unequal_lengths_are_an_error() -> None:
    with pytest.raises(ValueError, match="3 differences but 2 documents"):
        paired_bootstrap([1, 2, 3], ["a", "b"], resamples=9, seed=0)
