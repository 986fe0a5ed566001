"""The comparison of kinds of negatives: what it trains, and how it pools seeds, by hand."""

import pandas as pd
import pytest

from benchmarks import negatives

SCORES = {  # seed 1, seed 2; two queries each, the second asked about another document
    "random": [[0.4, 0.6], [0.5, 0.7]],
    "unfiltered": [[0.4, 0.6], [0.7, 0.7]],
    "filtered": [[0.6, 0.6], [0.7, 0.9]],
}


def table(values: list[float], documents: int = 2) -> pd.DataFrame:
    rows = [(f"q{i}", f"d{i % documents}", value) for i, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["query_id", "document_id", negatives.METRIC])


def test_every_variant_and_seed_is_trained_once_and_printed(monkeypatch, capsys) -> None:
    asked = {}

    def train(name, seed, changes, extra):
        assert name not in asked
        asked[name] = (seed, changes, extra)

    def per_query(name):
        variant, seed = name.split("-")[1:3]
        found = table(SCORES[variant][int(seed) - 1])
        return found if variant == "random" else found[::-1]  # pairs are told by query, not by row

    monkeypatch.setattr(negatives, "train", train)
    monkeypatch.setattr(negatives, "per_query", per_query)
    monkeypatch.setattr("sys.argv", ["negatives", "--seeds", "1", "2", "-S", "profile=gpu"])
    negatives.main()
    assert [line.split(" | ") for line in capsys.readouterr().out.splitlines()] == [
        ["| negatives", "seed 1", "seed 2", "mean", "gain |"],
        ["|---|---|---|---|---|"],
        ["| random", "0.5000", "0.6000", "0.5500", " |"],
        # Two documents are too few for an interval. (0 + 0 + 0.2 + 0) / 4
        ["| unfiltered", "0.5000", "0.7000", "0.6000", "+0.0500 |"],
        ["| filtered", "0.6000", "0.8000", "0.7000", "+0.1500 |"],
    ]
    assert len(asked) == 6
    assert asked["negatives-filtered-2-profile-gpu"] == (2, {}, ["profile=gpu"])
    changes = asked["negatives-random-1-profile-gpu"][1]
    assert changes["mine.sampling"] == "random"


def test_the_interval_is_over_the_documents_of_all_seeds() -> None:
    tables = {
        (variant, seed): table([base + 0.01 * (i % 3) for i in range(12)], documents=6)
        for seed in (1, 2)
        for variant, base in (("random", 0.5), ("unfiltered", 0.5), ("filtered", 0.6))
    }
    lines = negatives.comparison(tables, [1, 2]).splitlines()
    assert "+0.0000 [+0.0000, +0.0000]" in lines[3]
    assert "+0.1000 [+0.1000, +0.1000]" in lines[4]


@pytest.mark.parametrize("known", [True, False])
def test_an_experiment_that_exists_is_only_read(monkeypatch, known) -> None:
    ran = []

    class Listed:
        stdout = "negatives-random-1\n" if known else ""

    def run(command, **_):
        ran.append(command)
        return Listed

    monkeypatch.setattr(negatives.subprocess, "run", run)
    negatives.train("negatives-random-1", 1, {"mine.range_max": "9"}, ["profile=gpu"])
    assert ran[0][:3] == ["dvc", "exp", "list"]
    assert len(ran) == (1 if known else 2)
    if not known:
        sets = [part for flag, part in zip(ran[1], ran[1][1:], strict=False) if flag == "-S"]
        assert sets == ["seed=1", "mine.given=ignore", "mine.range_max=9", "profile=gpu"]
        assert ran[1][-1] == "evaluate_embedder"
