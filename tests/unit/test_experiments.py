"""Experiments over variants and seeds: which of them run, and what their tables say, by hand."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import report_inputs
from report_inputs import ROOT

from pagefinder.errors import InputError
from tools import experiments

# Lists the names in a file and adds that of an experiment that runs, unless it is to fail.
FAKE_DVC = """#!/bin/sh
echo "$@" >> calls
case "$2" in
  list) cat names ;;
  run) echo "noise of DVC"; [ "$5" != "$(cat fails)" ] && echo "$5" >> names ;;
esac
"""
SCORES = {  # seed 1, seed 2; two queries each, the second asked about another document
    "random": [[0.4, 0.6], [0.5, 0.7]],
    "unfiltered": [[0.4, 0.6], [0.7, 0.7]],
    "filtered": [[0.6, 0.6], [0.7, 0.9]],
}


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A root with the committed params, where `dvc` is FAKE_DVC."""
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    for name in ("names", "fails"):
        (tmp_path / name).touch()
    program = tmp_path / "bin/dvc"
    program.parent.mkdir()
    program.write_text(FAKE_DVC)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def calls(root: Path) -> list[list[str]]:
    """The experiments that were run: name, settings and target stages of each."""
    lines = (root / "calls").read_text().splitlines()
    assert lines[0] == "exp list --name-only"
    begin = "exp run --temp --name "
    assert all(line.startswith(begin) for line in lines[1:])
    return [[w for w in line.removeprefix(begin).split() if w != "-S"] for line in lines[1:]]


def parquet(table: pd.DataFrame) -> bytes:
    file = io.BytesIO()
    table.to_parquet(file)
    return file.getvalue()


def rows(values: list[float], documents: int = 2, metric: str = "tuned.ndcg@10") -> pd.DataFrame:
    table = [(f"q{i}", f"d{i % documents}", value) for i, value in enumerate(values)]
    return pd.DataFrame(table, columns=["query_id", "document_id", metric])


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_variant_and_seed_runs_once_and_is_printed(root, monkeypatch, capfd) -> None:
    def read(experiment, path, _):
        assert path.as_posix() == "data/per_query/embedder.parquet"
        variant, seed = experiment.split("-")[1:3]
        table = rows(SCORES[variant][int(seed) - 1])
        # Queries are paired by name, not by row.
        return parquet(table if variant == "random" else table[::-1])

    monkeypatch.setattr(experiments, "read", read)
    command = ["negatives", "--seeds", "1", "2", "-S", "profile=gpu"]
    assert experiments.main(command, root) == 0
    printed = capfd.readouterr()
    lines = printed.out.splitlines()
    assert lines[:2] == ["tuned.ndcg@10", ""]
    few = "too few documents (2)"  # for an interval
    assert [cells(line) for line in lines[2:]] == [
        ["variant", "seed 1", "seed 2", "mean", "deviation", "gain", "95% interval", "p"],
        ["---"] * 8,
        ["random", "0.5000", "0.6000", "0.5500", "0.0707", "", "", ""],
        # (0 + 0 + 0.2 + 0) / 4
        ["unfiltered", "0.5000", "0.7000", "0.6000", "0.1414", "+0.0500", few, ""],
        ["filtered", "0.6000", "0.8000", "0.7000", "0.1414", "+0.1500", few, ""],
    ]
    assert "noise of DVC" in printed.err
    ran = {name: settings for name, *settings in calls(root)}
    assert len(ran) == len(calls(root)) == 6
    shared = ["profile=gpu", "evaluate_embedder"]
    assert ran["negatives-filtered-2-profile-gpu"] == ["seed=2", "mine.given=ignore", *shared]
    settings = ran["negatives-random-1-profile-gpu"]
    assert settings[:3] == ["seed=1", "mine.given=ignore", "mine.sampling=random"]
    assert settings[-2:] == shared

    assert experiments.main(command, root) == 0
    assert capfd.readouterr().out == printed.out
    assert len((root / "calls").read_text().splitlines()) == 8  # only the list was asked for


def test_an_interrupted_command_goes_on_with_the_experiment_that_failed(root, caplog) -> None:
    (root / "fails").write_text("seeds-committed-14")
    assert experiments.main(["seeds", "--seeds", "13", "14", "15"], root) == 1
    assert "`dvc exp run --temp --name seeds-committed-14 -S seed=14 " in caplog.text
    assert "Traceback" not in caplog.text
    assert (root / "names").read_text().split() == ["seeds-committed-13"]
    (root / "fails").write_text("")
    (root / "calls").unlink()
    names = experiments.run_missing("seeds", [13, 14, 15], [], root)
    assert list(names.values()) == [f"seeds-committed-{seed}" for seed in (13, 14, 15)]
    stages = ["evaluate_embedder", "evaluate_reranker"]
    assert calls(root) == [[f"seeds-committed-{s}", f"seed={s}", *stages] for s in (14, 15)]


@pytest.mark.parametrize(("shared", "profile"), [([], "cpu"), (["profile=gpu"], "gpu")])
def test_a_variant_is_of_the_profile_that_runs(root, shared, profile) -> None:
    experiments.run_missing("heads", [13], shared, root)
    changes = [settings[2] for settings in calls(root)]
    assert changes == [f"profiles.{profile}.reranker.head={head}" for head in ("logit", "dense")]


def test_names_of_experiments_are_names_of_git_references(root) -> None:
    shared = ["profiles.cpu.embedder.dims=[192,48]"]
    names = experiments.run_missing("heads", [13], shared, root).values()
    for name in names:
        subprocess.run(["git", "check-ref-format", "--branch", name], check=True)


def test_heads_are_compared_by_the_documents_of_the_questions(root, monkeypatch, capfd) -> None:
    scores = {"logit": 0.5, "dense": 0.6}

    def read(experiment, path, _):
        base = scores[experiment.split("-")[1]]
        table = rows([base + 0.01 * (i % 3) for i in range(12)], 6, "tuned_ndcg@10")
        if path.name == "embedder.parquet":
            return parquet(table[["query_id", "document_id"]])
        return parquet(table.assign(**{"base_ndcg@10": 0.4}).drop(columns="document_id")[::-1])

    monkeypatch.setattr(experiments, "read", read)
    assert experiments.main(["heads", "--seeds", "13"], root) == 0
    base, tuned = capfd.readouterr().out.split("\n\ntuned_ndcg@10\n\n")
    assert cells(base.splitlines()[-1])[:5] == ["dense", "0.4000", "0.4000", "–", "+0.0000"]
    assert cells(tuned.splitlines()[-1])[4:6] == ["+0.1000", "+0.1000 to +0.1000"]


def test_the_interval_is_over_the_documents_of_all_seeds() -> None:
    tables = {
        (variant, seed): rows([base + 0.01 * (i % 3) for i in range(12)], documents=6)
        for seed in (1, 2)
        for variant, base in (("random", 0.5), ("unfiltered", 0.5), ("filtered", 0.6))
    }
    scores = pd.concat({key: table.set_index("query_id") for key, table in tables.items()})
    lines = experiments.compare(scores, "tuned.ndcg@10").splitlines()
    assert cells(lines[3])[5:7] == ["+0.0000", "+0.0000 to +0.0000"]
    assert cells(lines[4])[5:7] == ["+0.1000", "+0.1000 to +0.1000"]


def test_variants_that_were_asked_other_questions_are_not_compared() -> None:
    tables = {("a", 1): rows([0.5, 0.6]), ("b", 1): rows([0.5])}
    scores = pd.concat({key: table.set_index("query_id") for key, table in tables.items()})
    with pytest.raises(KeyError, match="q1"):
        experiments.compare(scores, "tuned.ndcg@10")


def test_the_figures_of_the_seeds_are_written_for_the_report(root, monkeypatch, capfd) -> None:
    source = report_inputs.write(root / "source")
    content = (ROOT / "params.yaml").read_bytes()
    files = {path.name: path.read_bytes() for path in (source / "metrics").glob("*.json")}
    files["params.yaml"] = content.replace(b"compared_depth: 20", b"compared_depth: 10")
    monkeypatch.setattr(experiments, "read", lambda _, path, __: files[path.name])
    assert experiments.main(["seeds", "--seeds", "13", "14"], root) == 0
    seeds = json.loads((root / "metrics/seeds.json").read_text())
    assert list(seeds) == ["13", "14"]
    measured = ["base", "tuned", "gain", "bm25", "reranked", "reranking"]
    assert list(seeds["13"]) == measured
    # At the compared depth, which need not be the middle one.
    assert seeds["13"]["reranked"] == 0.9
    lines = capfd.readouterr().out.splitlines()
    assert [cells(line)[0] for line in lines[2:]] == ["13", "14", "mean", "deviation"]


NAMES = ["seed", "loss.temperature", "mine.negatives"]


def run(seed: int, value: float | None, temperature: float = 0.05) -> dict[str, str]:
    ndcg = "" if value is None else str(value)
    change = {"loss.temperature": str(temperature), "mine.negatives": "1"}
    return {"seed": str(seed), "ndcg": ndcg, **change}


RUNS = [run(13, 0.5), run(15, 0.8, 0.02), run(15, 0.9), run(14, 0.7), run(16, None)]


def by_seed(runs: list[dict[str, str]]) -> dict[str, dict[int, float]]:
    values = experiments.by_seed(pd.DataFrame(runs), NAMES, "ndcg")
    return {variant: row.dropna().to_dict() for variant, row in values.iterrows()}


def test_runs_that_differ_in_the_seed_alone_are_joined() -> None:
    assert by_seed(RUNS) == {
        "as committed": {13: 0.5, 15: 0.9, 14: 0.7},
        "loss.temperature=0.02": {15: 0.8},
    }


def test_the_same_seed_counts_once() -> None:
    assert by_seed([*RUNS, run(13, 0.6)]) == by_seed(RUNS)


def test_the_table_by_hand() -> None:
    values = experiments.by_seed(pd.DataFrame(RUNS), NAMES, "ndcg")
    header, _, same, other = map(cells, experiments.table(values).splitlines())
    assert header == ["variant", "seed 13", "seed 14", "seed 15", "mean", "deviation"]
    # Deviations from 0.7 are -0.2, 0.2 and 0: the variance of the sample is 0.08 / 2.
    assert same == ["as committed", "0.5000", "0.7000", "0.9000", "0.7000", "0.2000"]
    assert other == ["loss.temperature=0.02", "–", "–", "0.8000", "0.8000", "–"]


def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(InputError, match="no run has the metric 'ncdg'"):
        experiments.by_seed(pd.DataFrame(RUNS), NAMES, "ncdg")


def test_without_params_or_a_commit_it_ends_in_one_line(
    tmp_path, caplog, capfd, monkeypatch
) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    assert experiments.main(["spread"], tmp_path) == 1
    assert "params.yaml is missing" in caplog.text
    (tmp_path / "params.yaml").write_text("seed: 1")
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    caplog.clear()
    assert experiments.main(["spread"], tmp_path) == 1
    assert "there is no commit" in caplog.text
    (tmp_path / ".dvc/config").unlink()
    (tmp_path / ".dvc").rename(tmp_path / "elsewhere")
    caplog.clear()
    assert experiments.main(["spread"], tmp_path) == 1
    assert f"`dvc exp show --csv` failed in {tmp_path}: mend what DVC says" in caplog.text
    assert "not inside of a DVC repository" in capfd.readouterr().err
    assert len(caplog.text.splitlines()) == 1


def test_changes_that_are_not_committed_are_refused(root) -> None:
    for arguments in (["init", "-q"], ["add", "params.yaml"]):
        subprocess.run(["git", *arguments], cwd=root, check=True)
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *who, "commit", "-qm", "one"], cwd=root, check=True)
    experiments.run_missing("seeds", [1], [], root)
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("seed: 13", "seed: 14"))
    with pytest.raises(InputError, match="differ from the commit"):
        experiments.run_missing("seeds", [1], [], root)
