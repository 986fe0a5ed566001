"""NDCG@10 as the reference recipe counts it: repeats of a page are pages of their own."""

import math

import ir_measures
import numpy as np
import pytest
from corpora import write_corpus
from ir_measures import nDCG

from pagefinder.evaluation.recipe import recipe_metrics, recipe_ndcg
from pagefinder.retrieval.runs import Run
from pagefinder.retrieval.tasks import task_of


def test_repeats_take_places_and_count_as_wrong():
    """q0's answer b is the answer of q1 too, and a negative of q2: three copies below a's two."""
    qrels = {"q0": {"b": 1, "a": 0}, "q1": {"b": 1, "c": 0}, "q2": {"c": 1, "a": 0, "b": 0}}
    copies = {"a": 2, "b": 3, "c": 2}
    run = Run(["q0", "q1", "q2"], [["a", "b"], ["b", "a"], ["a", "b"]], [[0.9, 0.8]] * 3)
    third, first = (np.mean([1 / math.log2(1 + rank + i) for i in range(3)]) for rank in (3, 1))
    expected = (third + first + 0) / 3  # q2 does not find c
    assert recipe_ndcg(run, qrels, copies) == pytest.approx(expected, abs=1e-12)
    deep = Run(["q0"], [["a", "b"]], [[0.9, 0.8]])
    assert recipe_ndcg(deep, qrels, {"a": 9, "b": 2}) == pytest.approx(0.5 / math.log2(11))


def test_it_is_the_mean_over_corpora_with_every_copy_a_page_of_its_own():
    """Against ir_measures, the order of equal pages drawn a thousand times."""
    rng = np.random.default_rng(0)
    pages = [f"p{number}" for number in range(8)]
    copies = {page: int(count) for page, count in zip(pages, rng.integers(1, 5, 8), strict=True)}
    scores = [rng.permutation(8) / 10.0 for _ in range(6)]
    answers = rng.integers(0, 8, 6)
    qrels = {f"q{i}": {pages[page]: 1} for i, page in enumerate(answers)}
    run = Run(list(qrels), [pages] * 6, scores)
    drawn = []
    for _ in range(1000):
        corpus = [(page, copy) for page in pages for copy in range(copies[page])]
        result = {
            f"q{i}": {
                f"{page}-{copy}": scores[i][pages.index(page)] + rng.random() / 1000
                for page, copy in corpus
            }
            for i in range(6)
        }
        judged = {f"q{i}": {f"{pages[page]}-0": 1} for i, page in enumerate(answers)}
        drawn.append(ir_measures.calc_aggregate([nDCG @ 10], judged, result)[nDCG @ 10])
    assert recipe_ndcg(run, qrels, copies) == pytest.approx(np.mean(drawn), abs=0.01)


def test_every_row_counts_its_answer_and_its_negatives(tmp_path):
    """Two rows of an answer and two negatives: six pages as the recipe counts, four that differ."""
    pages = [{"page_id": f"p{i}", "split": "eval"} for i in range(5)]
    queries = [{"query_id": f"q{i}", "text": f"Where {i}?", "split": "eval"} for i in range(2)]
    qrels = [("q0", "p0", 1), ("q0", "p1", 0), ("q0", "p2", 0)]
    qrels += [("q1", "p3", 1), ("q1", "p0", 0), ("q1", "p1", 0)]
    task = task_of(write_corpus(tmp_path / "corpus", pages, queries, qrels), "eval")
    names = [f"p{i}" for i in range(5)]
    run = Run(["q0", "q1"], [names, names], [[0.5, 0.4, 0.3, 0.2, 0.1]] * 2)
    metrics = recipe_metrics({"base": run, "tuned": run}, task)
    assert metrics["pages"] == 7  # and p4, which no row names
    first = (1 + 1 / math.log2(3)) / 2  # q0: p0 or its copy comes first
    second = 1 / math.log2(1 + 6)  # q1: p0 and p1 twice, p2 once, then p3
    assert metrics["base"]["ndcg@10"] == pytest.approx((first + second) / 2)
    bare = [row for row in qrels if row[2]]
    plain = task_of(write_corpus(tmp_path / "plain", pages, queries, bare), "eval")
    assert recipe_metrics({"base": run, "tuned": run}, plain) == {}
