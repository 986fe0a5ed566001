"""Fusion of score lists: by hand, its properties, a second implementation, and weights from dev."""

import types
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagefinder.retrieval import fusion
from pagefinder.retrieval.fusion import choose_weights, fuse, run_of, standardised
from pagefinder.retrieval.metrics import mean_metrics
from pagefinder.retrieval.runs import DEPTH, Run

PAGES = [f"p{number:02}" for number in range(12)]
# A query's list: some of the pages, with scores of which some are equal.
LIST = st.dictionaries(st.sampled_from(PAGES), st.integers(-40, 40), min_size=1)
LISTS = st.lists(LIST, min_size=2, max_size=4)
TENTHS = st.integers(1, 10).map(lambda tenths: tenths / 10)


def fused(lists: list[dict[str, float]], weights: list[float]) -> dict[str, float]:
    """The fused scores of one query, best first."""
    runs = [run_of({"q": scores}) for scores in lists]
    return fuse(runs, weights).as_dict()["q"]


def by_pandas(lists: list[dict[str, float]], weights: list[float]) -> pd.Series:
    """The same by another way: a column for each list, NaN where a page is not in it."""
    table = pd.DataFrame({n: pd.Series(scores, dtype=float) for n, scores in enumerate(lists)})
    table = table[sorted(n for n, weight in enumerate(weights) if weight)].dropna(how="all")
    table = (table - table.mean()) / table.std(ddof=0).replace(0, np.inf)
    table = table.fillna(table.min())
    return (table * [weights[n] for n in table]).sum(axis=1)


def test_by_hand() -> None:
    """Each list standardises to 1 and -1; `c` and `a` each take the lowest score of a list."""
    scores = fused([{"a": 3.0, "b": 1.0}, {"b": 900.0, "c": 100.0}], [0.75, 0.25])
    assert scores == {"a": 0.75 - 0.25, "b": -0.75 + 0.25, "c": -0.75 - 0.25}


def test_only_the_first_hundred_pages_of_a_list_count() -> None:
    long = {f"p{rank:03}": float(-rank) for rank in range(DEPTH)}
    cut = fused([long, {"x": 1.0, "p000": 2.0}], [0.5, 0.5])
    deeper = fused([long | {"z": -1e6}, {"x": 1.0, "p000": 2.0}], [0.5, 0.5])
    assert deeper == cut
    assert len(cut) == DEPTH  # of the 101 pages


def test_a_list_of_equal_scores_prefers_no_page() -> None:
    # Their mean rounds, so that the differences from it would not be 0.
    assert set(standardised(dict.fromkeys(PAGES[:3], 0.1)).values()) == {0.0}
    assert set(standardised({"a": 0.0, "b": 1e-300}).values()) == {0.0}  # no measurable spread
    first = {"a": 2.0, "b": 1.0}
    assert fused([first, dict.fromkeys("bc", 7.0)], [0.5, 0.5]) == {"a": 0.5, "b": -0.5, "c": -0.5}


def test_a_query_without_pages_in_one_list_has_those_of_the_others() -> None:
    runs = [run_of({"q": {"a": 2.0, "b": 1.0}, "r": {"a": 1.0}}), run_of({"q": {}})]
    assert fuse(runs, [0.5, 0.5]).as_dict() == {"q": {"a": 0.5, "b": -0.5}, "r": {"a": 0.0}}


@pytest.mark.parametrize("weights", [[0, 0], [1, -1], [1], [1, 0, 1]])
def test_weights_that_are_none(weights) -> None:
    with pytest.raises(ValueError, match="weights"):
        fused([{"a": 1.0}, {"b": 1.0}], weights)


@settings(deadline=None)
@given(LISTS, st.data())
def test_equals_a_second_implementation(lists, data) -> None:
    weights = [data.draw(TENTHS) for _ in lists]
    ours, theirs = fused(lists, weights), by_pandas(lists, weights)
    assert ours == pytest.approx(theirs.to_dict(), abs=1e-5)


@settings(deadline=None)
@given(LISTS, st.data())
def test_the_order_of_the_lists_changes_no_bit(lists, data) -> None:
    weights = [data.draw(TENTHS) for _ in lists]
    order = data.draw(st.permutations(range(len(lists))))
    again = fused([lists[n] for n in order], [weights[n] for n in order])
    assert list(again.items()) == list(fused(lists, weights).items())


@settings(deadline=None)
@given(LISTS, st.data())
def test_the_scale_of_a_list_does_not_count(lists, data) -> None:
    """Of each list on its own; powers of two and whole numbers, so that float32 rounds nothing."""
    weights = [data.draw(TENTHS) for _ in lists]
    moved = []
    for scores in lists:
        factor, shift = 2.0 ** data.draw(st.integers(-8, 8)), data.draw(st.integers(-999, 999))
        moved.append({page: factor * (score + shift) for page, score in scores.items()})
    assert fused(moved, weights) == pytest.approx(fused(lists, weights), abs=1e-5)


@settings(deadline=None)
@given(LISTS, LIST, st.integers(0, 4), st.data())
def test_a_weight_of_zero_leaves_the_list_out(lists, other, place, data) -> None:
    weights = [data.draw(TENTHS) for _ in lists]
    with_other = [*lists[:place], other, *lists[place:]]
    with_zero = [*weights[:place], 0.0, *weights[place:]]
    assert list(fused(with_other, with_zero).items()) == list(fused(lists, weights).items())


@settings(deadline=None)
@given(LIST, TENTHS)
def test_one_list_keeps_its_order(scores, weight) -> None:
    assert list(fused([scores], [weight])) == list(run_of({"q": scores}).as_dict()["q"])


def test_the_sum_of_a_tenth_two_and_minus_three_is_the_same_in_any_order() -> None:
    """Added one by one they give 6e-17, or 3e-17 from the other end."""
    up, down = ({"q": {"a": 1.0, "b": 0.0}}, {"q": {"a": 0.0, "b": 1.0}})
    runs, weights = [run_of(scores) for scores in (up, up, down)], [0.1, 0.2, 0.3]
    assert fuse(runs, weights).as_dict() == fuse(runs[::-1], weights[::-1]).as_dict()


def test_equal_sums_come_as_trec_eval_orders_them() -> None:
    """The page id that sorts last first, although the lists add up in another order."""
    lists = [dict(zip(order, (3.0, 2.0, 1.0), strict=True)) for order in ("abc", "bca", "cab")]
    assert list(fused(lists, [0.1, 0.1, 0.1])) == ["c", "b", "a"]


QRELS = {f"q{query}": {f"right-{query}": 1} for query in range(4)}


def ranking(system: str, ranks: list[int]) -> Run:
    """The run in which the right page of each query stands at these ranks, from 1.

    The wrong pages are in no other system's run.
    """
    scores = {}
    for query, rank in enumerate(ranks):
        pages = [f"{system}-{query}-{number}" for number in range(12)]
        pages.insert(rank - 1, f"right-{query}")
        scores[f"q{query}"] = {page: -float(place) for place, page in enumerate(pages)}
    return run_of(scores)


def test_weights_are_those_with_the_best_ndcg_on_dev() -> None:
    runs = {"dense": ranking("dense", [1, 9, 9, 9]), "bm25": ranking("bm25", [4, 1, 1, 2])}
    chosen = choose_weights(runs, QRELS)
    ndcg = [
        mean_metrics(fuse(list(runs.values()), [1 - tenths / 10, tenths / 10]), QRELS)["ndcg@10"]
        for tenths in range(11)
    ]
    assert ndcg[round(10 * chosen["bm25"])] == max(ndcg) > max(ndcg[0], ndcg[10])
    assert sum(chosen.values()) == pytest.approx(1)
    swapped = choose_weights(dict(reversed(runs.items())), QRELS)
    assert swapped == chosen  # by name, whatever the order


def test_a_run_that_adds_nothing_gets_no_weight() -> None:
    dense = ranking("dense", [1, 2, 1, 1])
    assert choose_weights({"dense": dense, "bm25": ranking("bm25", [13] * 4)}, QRELS) == {
        "dense": 1.0,
        "bm25": 0.0,
    }
    no_text = run_of({query: dict.fromkeys(PAGES, 0.0) for query in QRELS})
    assert choose_weights({"dense": dense, "bm25": no_text}, QRELS)["bm25"] == 0.0


def test_of_equally_good_weights_the_nearest_to_equal_ones() -> None:
    first, second = ranking("dense", [1, 1, 1, 3]), ranking("bm25", [3, 1, 1, 1])
    ndcg = {
        weight: mean_metrics(fuse([first, second], [1 - weight, weight]), QRELS)["ndcg@10"]
        for weight in (0.0, 0.3, 0.4, 0.5, 0.6, 1.0)
    }
    assert ndcg[0.3] == ndcg[0.4] == ndcg[0.5] == ndcg[0.6] > max(ndcg[0.0], ndcg[1.0])
    assert choose_weights({"dense": first, "bm25": second}, QRELS) == {"dense": 0.5, "bm25": 0.5}


def test_without_dev_queries_all_weight_is_on_the_first_run() -> None:
    lists = {"dense": ranking("dense", [13] * 4), "bm25": ranking("bm25", [1] * 4)}
    assert choose_weights(lists, {}) == {"dense": 1.0, "bm25": 0.0}


def measured_by(monkeypatch, ndcg: Callable[[float], float]) -> dict[str, float]:
    """The weights of two runs whose NDCG@10 is `ndcg` of the first one's weight."""

    def weighted(_, weights: tuple[float, ...]) -> types.SimpleNamespace:
        return types.SimpleNamespace(weights=weights)

    monkeypatch.setattr(fusion, "_weighted", weighted)
    monkeypatch.setattr(
        fusion, "mean_metrics", lambda run, _: {"ndcg@10": ndcg(round(run.weights[0], 1))}
    )
    return choose_weights({"a": run_of({}), "b": run_of({})}, QRELS)


def test_a_difference_in_the_fourth_digit_decides_nothing(monkeypatch) -> None:
    # All are 0.971, and a single list is the fewest.
    weights = measured_by(monkeypatch, lambda weight: 0.9712 - 0.0001 * abs(weight - 0.5))
    assert weights == {"a": 1.0, "b": 0.0}


def test_a_weight_that_is_better_than_its_neighbours_by_luck_is_not_chosen(monkeypatch) -> None:
    by_weight = {0.8: 0.9, 0.2: 0.85, 0.3: 0.86, 0.4: 0.85}
    weights = measured_by(monkeypatch, lambda weight: by_weight.get(weight, 0.7))
    assert weights == {"a": 0.3, "b": 0.7}


def test_all_weights_of_three_lists_are_tried() -> None:
    mixtures = fusion.mixtures(3)
    assert len(mixtures) == len(set(mixtures)) == 66
    assert all(sum(mixture) == pytest.approx(1) for mixture in mixtures)
    assert mixtures[0] == (1.0, 0.0, 0.0)
    assert mixtures == sorted(mixtures, reverse=True)
