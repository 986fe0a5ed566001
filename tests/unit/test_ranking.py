"""Metrics against hand-computed rankings, the written files and a second implementation."""

import math

import ir_measures
import numpy as np
import pandas as pd
import pytest
from corpora import write_corpus
from ir_measures import RR, R, nDCG

from pagefinder.errors import InputError
from pagefinder.retrieval.metrics import METRICS, mean_metrics, metrics_per_query
from pagefinder.retrieval.runs import Run, documents_of, write_qrels, write_run

QRELS = {
    "one": {"c": 1},
    "several": {"a": 1, "d": 1, "x": 1, "b": 0},
    "graded": {"b": 3, "d": 1},
    "missed": {"z": 1},
    "unanswered": {"a": 1},
}


@pytest.fixture
def run() -> Run:
    pages = [list("abcd"), list("dcba"), list("abcd"), list("abcd")]
    scores = [[0.9, 0.8, 0.7, 0.6], [0.1, 0.2, 0.3, 0.4], [4, 3, 2, 1], [0.4, 0.3, 0.2, 0.1]]
    return Run(["one", "several", "graded", "missed"], pages, scores)


def gain_at(rank: int, relevance: int = 1) -> float:
    return relevance / math.log2(rank + 1)


def test_hand_computed(run: Run) -> None:
    scored = metrics_per_query(run, QRELS)
    assert scored.index.tolist() == list(QRELS)
    expected = {
        "one": [gain_at(3), gain_at(3), 0, 1, 1 / 3, 3],
        # a at 1, d at 4, x not found; the best order has all three first
        "several": [(1 + gain_at(4)) / (1 + gain_at(2) + gain_at(3))] * 2 + [1 / 3, 2 / 3, 1, 1],
        "graded": [(gain_at(2, 3) + gain_at(4)) / (3 + gain_at(2))] * 2 + [0, 1, 1 / 2, 2],
        "missed": [0, 0, 0, 0, 0, 0],
        "unanswered": [0, 0, 0, 0, 0, 0],
    }
    for query, values in expected.items():
        assert scored.loc[query, [*METRICS, "rank"]].tolist() == pytest.approx(values), query


def test_a_new_metric_is_one_line(run: Run, monkeypatch) -> None:
    monkeypatch.setitem(METRICS, "ndcg@3", "ndcg_cut_3")
    scored = metrics_per_query(run, QRELS)
    assert scored.loc["graded", "ndcg@3"] == pytest.approx(gain_at(2, 3) / (3 + gain_at(2)))
    assert mean_metrics(run, QRELS)["ndcg@3"] == pytest.approx(scored["ndcg@3"].mean())


def test_cutoffs() -> None:
    """A right page at rank 6 or 10 counts in @10, at rank 11 in none of them but has a rank."""
    pages = [f"p{i:02d}" for i in range(20)]
    run = Run(["six", "ten", "eleven"], [pages] * 3, [np.arange(20, 0, -1)] * 3)
    qrels = {"six": {"p05": 1}, "ten": {"p09": 1}, "eleven": {"p10": 1}}
    scored = metrics_per_query(run, qrels)
    assert scored.loc["six"].tolist() == pytest.approx([gain_at(6), 0, 0, 1, 1 / 6, 6])
    assert scored.loc["ten"].tolist() == pytest.approx([gain_at(10), 0, 0, 1, 1 / 10, 10])
    assert scored.loc["eleven"].tolist() == [0, 0, 0, 0, 0, 11]


def test_ties_go_to_the_page_id_that_sorts_last(run: Run) -> None:
    tied = Run(["q"], [["a", "c", "b"]], [[0.5, 0.5, 0.5]])
    assert list(tied.as_dict()["q"]) == ["c", "b", "a"]
    scored = metrics_per_query(tied, {"q": {"b": 1}})
    assert scored.loc["q", "rank"] == 2


def test_scores_closer_than_float32_are_ties() -> None:
    """trec_eval holds float32, so a difference past it cannot decide; our order says the same."""
    close = Run(["q"], [["a", "b"]], [[0.5 + 1e-12, 0.5]])
    assert list(close.as_dict()["q"]) == ["b", "a"]
    assert metrics_per_query(close, {"q": {"b": 1}}).loc["q", "recall@1"] == 1


def test_files_give_the_same_figures(tmp_path, run: Run) -> None:
    """Parsed back and scored by ir-measures, random runs with ties give what we report."""
    rng = np.random.default_rng(1)
    pages = np.array([f"p{i:03d}" for i in range(300)], dtype=object)
    names = [f"q{i}" for i in range(50)]
    chosen = np.array([rng.choice(300, 100, replace=False) for _ in names])
    scores = rng.standard_normal((50, 100)).astype(np.float32)
    scores[:, 40:60] = scores[:, :1]
    answers = Run(names, pages[chosen], scores)
    qrels = {
        name: {str(pages[row]): int(rng.integers(0, 3)) for row in rows[:7]} | {f"x{name}": 1}
        for name, rows in zip(names, chosen, strict=True)
    }
    write_run(answers, tmp_path / "run.trec", "test")
    write_qrels(qrels, tmp_path / "qrels.trec")
    parsed = list(ir_measures.read_trec_run(str(tmp_path / "run.trec")))
    judged = list(ir_measures.read_trec_qrels(str(tmp_path / "qrels.trec")))
    measures = {"ndcg@10": nDCG @ 10, "ndcg@5": nDCG @ 5, "recall@1": R @ 1, "recall@10": R @ 10}
    theirs = ir_measures.calc_aggregate([*measures.values(), RR], judged, parsed)
    ours = mean_metrics(answers, qrels)
    for name, measure in measures.items():
        assert ours[name] == pytest.approx(theirs[measure], abs=1e-6), name
    per_query = metrics_per_query(answers, qrels)["rank"]
    assert (1 / per_query).mean() == pytest.approx(theirs[RR], abs=1e-6)
    written = pd.read_csv(tmp_path / "run.trec", sep=" ", header=None)
    assert written[3].tolist() == list(range(1, 101)) * 50
    assert (written[4].to_numpy(np.float32).reshape(50, 100)[:, :-1] >=
            written[4].to_numpy(np.float32).reshape(50, 100)[:, 1:]).all()  # fmt: skip
    assert set(written[4].to_numpy(np.float32)) == set(scores.ravel())


def test_swapped_ids_change_the_figures(run: Run) -> None:
    swapped = Run(
        run.query_ids, [run.page_ids[1], *run.page_ids[:1], *run.page_ids[2:]], run.scores
    )
    assert mean_metrics(swapped, QRELS) != mean_metrics(run, QRELS)


def test_an_empty_run_scores_zero() -> None:
    assert set(mean_metrics(Run([], [], []), QRELS).values()) == {0.0}


@pytest.mark.parametrize("name", ["a b", "", " a", "a\n"])
def test_ids_that_trec_cannot_carry(tmp_path, name: str) -> None:
    with pytest.raises(InputError, match="one word"):
        write_run(Run([name], [["a"]], [[1]]), tmp_path / "run", "x")
    with pytest.raises(InputError, match="one word"):
        write_qrels({"q": {name: 1}}, tmp_path / "qrels")


def test_a_broken_score_is_an_error() -> None:
    with pytest.raises(ValueError, match="finite"):
        metrics_per_query(Run(["q"], [["a", "b"]], [[1, math.nan]]), {"q": {"a": 1}})


def test_a_query_counts_under_its_first_right_page(tmp_path) -> None:
    """Not under a page that the source marks as worse than unrelated (-1), as TREC's spam is."""
    pages = [
        {"page_id": f"p{row}", "split": "eval", "document_id": document}
        for row, document in enumerate(["a", "b", None])
    ]
    corpus = write_corpus(tmp_path / "corpus", pages, [], [])
    qrels = {"one": {"p0": -1, "p1": 2}, "two": {"p0": 0, "p2": 1}, "three": {"p0": 1, "p1": 3}}
    assert documents_of(corpus, qrels) == ["b", "p2", "a"]
