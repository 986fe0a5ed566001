"""The spread over seeds: who is joined with whom, and the figures."""

import subprocess
import sys

import pytest

from pagefinder.errors import InputError
from tools import spread

NAMES = ["seed", "loss.temperature", "mine.negatives"]


def run(seed: float, value: float | None, temperature: float = 0.05) -> dict:
    return {"seed": seed, "loss.temperature": temperature, "mine.negatives": 1.0, "ndcg": value}


RUNS = [run(13.0, 0.5), run(15.0, 0.8, 0.02), run(15.0, 0.9), run(14.0, 0.7), run(16.0, None)]


def test_runs_that_differ_in_the_seed_alone_are_joined() -> None:
    assert spread.by_seed(RUNS, NAMES, "ndcg") == {
        "as committed": {13: 0.5, 15: 0.9, 14: 0.7},
        "loss.temperature=0.02": {15: 0.8},
    }


def test_the_same_seed_counts_once() -> None:
    twice = [*RUNS, run(13.0, 0.5)]
    assert spread.by_seed(twice, NAMES, "ndcg") == spread.by_seed(RUNS, NAMES, "ndcg")


def test_the_table_by_hand() -> None:
    header, _, same, other = spread.table(spread.by_seed(RUNS, NAMES, "ndcg")).splitlines()
    assert header.split() == ["seeds", "mean", "deviation", "lowest", "highest", "variant"]
    # Deviations from 0.7 are -0.2, 0.2 and 0: the variance of the sample is 0.08 / 2.
    assert same.split()[3:] == ["0.7000", "0.2000", "0.5000", "0.9000", "as", "committed"]
    assert same.startswith("13 14 15 ")
    assert other.split() == ["15", "0.8000", "–", "0.8000", "0.8000", "loss.temperature=0.02"]


def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(InputError, match="no run has the metric 'ncdg'"):
        spread.by_seed(RUNS, NAMES, "ncdg")


def test_without_params_or_a_commit_it_ends_in_one_line(tmp_path, caplog) -> None:
    assert spread.main([], tmp_path) == 1
    assert "params.yaml is missing" in caplog.text
    (tmp_path / "params.yaml").write_text("seed: 1")
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    caplog.clear()
    assert spread.main([], tmp_path) == 1
    assert "there is no commit" in caplog.text
    (tmp_path / ".dvc/config").unlink()
    (tmp_path / ".dvc").rename(tmp_path / "elsewhere")
    caplog.clear()
    assert spread.main([], tmp_path) == 1
    assert "run from the project's root" in caplog.text
    assert len(caplog.text.splitlines()) == 1
