"""Exact search: ties, boundaries, blocks and memory maps."""

import numpy as np
import pytest

from pagefinder.errors import InputError
from pagefinder.retrieval.nearest import _torch_pays, best_rows, nearest, pair_scores, trec_order


@pytest.fixture
def set_block(monkeypatch):
    """Sets the number of pages that a search scores at once, for three queries."""

    def set_blocks(pages: int) -> None:
        monkeypatch.setattr("pagefinder.retrieval.nearest.PAGE_BLOCK", pages)
        for name in ("QUERY_BLOCK", "NUMPY_QUERY_BLOCK"):
            monkeypatch.setattr(f"pagefinder.retrieval.nearest.{name}", 3)

    return set_blocks


@pytest.fixture
def choose(monkeypatch):
    """Sets whether searches are torch's or numpy's."""
    return lambda torch: monkeypatch.setattr(
        "pagefinder.retrieval.nearest._torch_pays", lambda *_: torch
    )


def unit(rng: np.random.Generator, count: int, width: int) -> np.ndarray:
    vectors = rng.standard_normal((count, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def slow(queries, pages, k, tie_break=None):
    """The definition, one pair at a time, with math.fsum instead of any matmul."""
    import math

    tie_break = range(len(pages)) if tie_break is None else tie_break
    scores, rows = [], []
    for query in queries.astype(float):
        exact = [
            float(
                np.float32(math.fsum(float(a) * float(b) for a, b in zip(query, page, strict=True)))
            )
            for page in pages
        ]
        best = sorted(range(len(pages)), key=lambda row: (-exact[row], tie_break[row]))[:k]
        rows.append(best)
        scores.append([exact[row] for row in best])
    return np.array(scores, np.float32), np.array(rows, np.int64)


def test_hand_computed() -> None:
    pages = np.array([[1, 0], [0, 1], [0.6, 0.8], [-1, 0]], np.float32)
    scores, rows = nearest(np.array([[1, 0]], np.float32), pages, 3)
    assert rows.tolist() == [[0, 2, 1]]
    assert scores.tolist() == [[1.0, np.float32(0.6), 0.0]]
    assert scores.dtype == np.float32
    assert rows.dtype == np.int64


@pytest.mark.parametrize(("device", "by_torch"), [("cpu", False), ("cpu", True), ("auto", True)])
@pytest.mark.parametrize("block", [1, 3, 7, 64, 1000])
@pytest.mark.parametrize("k", [1, 5, 60, 150])
def test_equals_the_definition_at_any_block(
    set_block, choose, block: int, k: int, device: str, by_torch: bool
) -> None:
    set_block(block)
    choose(by_torch)
    rng = np.random.default_rng(0)
    pages = unit(rng, 150, 33)
    pages[40:90] = pages[3]  # fifty ties, in the middle of which k = 5 and 60 may cut
    queries = np.concatenate([unit(rng, 6, 33), pages[3:4]])
    tie_break = rng.permutation(len(pages))
    scores, rows = nearest(queries, pages, k, tie_break=tie_break, device=device)
    expected_scores, expected_rows = slow(queries, pages, k, tie_break)
    assert np.array_equal(rows, expected_rows)
    assert np.array_equal(scores, expected_scores)


def test_more_ties_than_spare_places_are_cut_by_the_tie_break(set_block) -> None:
    set_block(100)
    rng = np.random.default_rng(1)
    pages = np.repeat(unit(rng, 2, 16), 500, axis=0)
    tie_break = np.arange(len(pages))[::-1].copy()
    _, rows = nearest(pages[:1], pages, 4, tie_break=tie_break)
    assert rows.tolist() == [[499, 498, 497, 496]]
    _, rows = nearest(pages[:1], pages, 4)
    assert rows.tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("length", [1, 1024])
def test_pages_apart_by_less_than_a_matmul_errs_keep_their_exact_order(set_block, length) -> None:
    set_block(37)
    rng = np.random.default_rng(2)
    base = unit(rng, 1, 512)[0]
    pages = np.tile(base, (300, 1))
    pages[:, 0] += rng.permutation(300).astype(np.float32) * np.float32(2e-8)
    base, pages = base * np.float32(length), pages * np.float32(length)
    scores, rows = nearest(base[None], pages, 5)
    expected_scores, expected_rows = slow(base[None], pages, 5)
    assert np.array_equal(rows, expected_rows)
    assert np.array_equal(scores, expected_scores)


def test_only_the_wanted_rows_are_searched_and_a_memory_map_will_do(tmp_path, set_block) -> None:
    set_block(4)
    rng = np.random.default_rng(3)
    np.save(tmp_path / "pages.npy", unit(rng, 60, 8))
    pages = np.load(tmp_path / "pages.npy", mmap_mode="r")
    queries = unit(rng, 4, 8)
    rows = np.array([2, 3, 4, 20, 41, 59])
    scores, nearest_rows = nearest(queries, pages, 3, rows=rows)
    expected_scores, expected = slow(queries, np.array(pages[rows]), 3)
    assert np.array_equal(nearest_rows, rows[expected])
    assert np.array_equal(scores, expected_scores)


def test_k_above_the_number_of_pages_gives_all_of_them() -> None:
    rng = np.random.default_rng(4)
    scores, rows = nearest(unit(rng, 2, 4), unit(rng, 3, 4), 10)
    assert scores.shape == rows.shape == (2, 3)
    assert sorted(rows[0].tolist()) == [0, 1, 2]


@pytest.mark.parametrize(("queries", "pages", "k"), [(0, 3, 2), (2, 0, 2), (2, 3, 0)])
def test_nothing_to_find(queries: int, pages: int, k: int) -> None:
    scores, rows = nearest(np.zeros((queries, 4), np.float32), np.zeros((pages, 4), np.float32), k)
    assert scores.shape == rows.shape == (queries, min(k, pages))


@pytest.mark.parametrize("torch", [False, True])
def test_what_cannot_be_ranked_is_named(choose, torch: bool) -> None:
    choose(torch)
    with pytest.raises(ValueError, match="not of one width"):
        nearest(np.ones((1, 5), np.float32), np.ones((100, 4), np.float32), 1)
    for broken in (np.nan, np.inf, -np.inf, 1e25):
        pages, queries = np.ones((100, 4), np.float32), np.ones((1, 4), np.float32)
        pages[1, 2] = broken
        with pytest.raises(InputError, match=r"NaN .* embedder.learning_rate and run `dvc repro`"):
            nearest(queries, pages, 1)
        with pytest.raises(InputError, match="NaN"):
            nearest(pages[1:2], np.ones((100, 4), np.float32), 1)


def test_few_are_sorted_where_many_are_equal() -> None:
    """As a full sort does, with ties at the boundary, fewer than k that score, and k of all."""
    rng = np.random.default_rng(8)
    for case in range(300):
        pages = int(rng.integers(1, 30))
        scores = rng.integers(-1, 3, pages).astype(np.float32)
        rows, tie_break = rng.permutation(40)[:pages], rng.permutation(40)
        k = case % (pages + 2)
        best, found = best_rows(scores, rows, k, tie_break)
        order = np.lexsort((tie_break[rows], -scores))[:k]
        assert (best.tolist(), found.tolist()) == (scores[order].tolist(), rows[order].tolist())


def test_torch_is_taken_where_it_pays(monkeypatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "torch")
    assert not _torch_pays("cpu", 10**8)
    assert _torch_pays("cpu", 10**8 + 1)
    assert _torch_pays("auto", 1)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert _torch_pays("cpu", 1)


def test_single_pairs_score_as_in_a_search(set_block) -> None:
    set_block(7)
    rng = np.random.default_rng(6)
    queries, pages = unit(rng, 5, 300), unit(rng, 40, 300)
    scores, rows = nearest(queries, pages, 40)
    pairs = np.repeat(np.arange(5), 40), rows.ravel()
    assert np.array_equal(pair_scores(queries, pages, *pairs), scores.ravel())
    assert pair_scores(queries, pages, *np.empty((2, 0), np.int64)).shape == (0,)


def test_equal_pages_come_in_the_order_of_trec_eval() -> None:
    import pytrec_eval

    ids = ["b10", "b9", "a", "é", "c"]
    pages = np.ones((5, 1), np.float32)
    _, rows = nearest(pages[:1], pages, 5, tie_break=trec_order(ids))
    ranked = [ids[row] for row in rows[0]]
    assert ranked == ["é", "c", "b9", "b10", "a"]
    for place, name in enumerate(ranked, start=1):
        measure = pytrec_eval.RelevanceEvaluator({"q": {name: 1}}, {"recip_rank"})
        run = {"q": {other: 1.0 for other in ids}}
        assert measure.evaluate(run)["q"]["recip_rank"] == pytest.approx(1 / place)


def test_a_search_leaves_the_garbage_collector_alone(choose) -> None:
    """A search page that froze what lives at each question would never give it back."""
    import gc

    choose(True)
    frozen = gc.get_freeze_count()
    nearest(np.ones((1, 4), np.float32), np.ones((9, 4), np.float32), 2)
    assert (gc.get_freeze_count(), gc.isenabled()) == (frozen, True)
