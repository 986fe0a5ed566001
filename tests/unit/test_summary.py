"""The closing table of `make repro`."""

import json
import os
from pathlib import Path

import pytest
import report_inputs

from tools import summary

STAGES = """
stages:
  prepare: {cmd: x}
  compare: {cmd: "x ${item.name}", matrix: {name: "${compare}"}}
  absent: {cmd: "x ${item.name}", matrix: {name: []}}
  train: {cmd: x}
  never: {cmd: x}
"""


@pytest.fixture
def root(tmp_path) -> Path:
    report_inputs.write(tmp_path)
    (tmp_path / "dvc.yaml").write_text(STAGES)
    timings = tmp_path / ".work/timings"
    timings.mkdir(parents=True)
    mark = tmp_path / ".work/started"
    mark.touch()
    os.utime(mark, (1000.04, 1000.04))

    def write(name: str, *runs: tuple[float, float, int]) -> None:
        rows = [
            {"stage": name, "started": at, "seconds": seconds, "peak_mib": peak}
            for at, seconds, peak in runs
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (timings / f"{name}.jsonl").write_text(text)

    write("prepare", (10.0, 5.0, 100), (900.0, 6.0, 100))  # before this run began
    write("compare", (990.0, 50.0, 9000), (1001.0, 2.5, 300), (1004.0, 3.0, 250))
    write("train", (1000.0, 60.0, 1500))  # the very moment, rounded down
    with (timings / "train.jsonl").open("a") as file:
        file.write('{"stage": "tra')
    return tmp_path


def test_times_of_this_run_alone_count(root) -> None:
    assert summary.times(root) == [
        ("prepare", "cached", ""),
        ("compare", "5.5", "300"),
        ("train", "60.0", "1,500"),
        ("never", "cached", ""),
        ("total", "65.5", "1,500"),
    ]


def test_scores_with_gain_interval_and_baselines(root) -> None:
    assert list(summary.scores(root)) == [
        ("base embedder", "0.4754", "", "", ""),
        ("tuned embedder", "0.8260", "+0.3506", "+0.1000 to +0.6000", "0.012"),
        ("first 20 reranked, over tuned", "0.9260", "+0.1000", "-0.1000 to +0.3000", "0.31"),
        ("BM25", "0.6000", "", "", ""),
        ("other-2B", "0.7000", "", "", ""),
    ]
    assert summary.recommendation(root) == (
        "recommended: 96 dimensions (92% of resampled dev sets choose it), 384 bytes a page as "
        "float32, NDCG@10 0.8200\n"
    )


def test_what_is_printed_ends_with_the_path_of_the_report(root, capsys) -> None:
    summary.main(root)
    assert capsys.readouterr().out.endswith("\nno report was written\n")
    page = root / "metrics/report/index.html"
    page.parent.mkdir()
    page.touch()
    summary.main(root)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"report: {page}"
    assert "tuned embedder 0.8260 +0.3506 +0.1000 to +0.6000 0.012" in map(squeezed, lines)


def squeezed(line: str) -> str:
    """A line with single blanks between its words."""
    return " ".join(line.split())


def test_a_depth_that_was_not_measured_or_compared_has_no_row(root) -> None:
    text = (root / "params.yaml").read_text()
    for depth in (10, 50):
        changed = text.replace("compared_depth: 20", f"compared_depth: {depth}")
        (root / "params.yaml").write_text(
            changed.replace("depths: [10, 20]", "depths: [10, 20, 50]")
        )
        assert not any("reranked" in row[0] for row in summary.scores(root))


def test_a_p_value_that_no_flip_reached_is_an_upper_bound(root) -> None:
    path = root / "metrics/embedder.json"
    path.write_text(path.read_text().replace("0.0123", "0.0001"))
    assert [row[-1] for row in summary.scores(root)][1] == "at most 0.0001"


def test_too_few_documents_are_named(tmp_path) -> None:
    report_inputs.write(tmp_path, full=False)
    rows = list(summary.scores(tmp_path))
    assert rows[1] == ("tuned embedder", "0.8260", "+0.3506", "too few documents (3)", "")
    assert "recommended: 96 dimensions, 384 bytes" in summary.recommendation(tmp_path)


def test_without_metrics_the_stages_are_still_listed(tmp_path, capsys) -> None:
    (tmp_path / "dvc.yaml").write_text(STAGES)
    summary.main(tmp_path)
    assert "prepare   cached" in capsys.readouterr().out


def test_what_is_fused_is_compared_with_each_part(root) -> None:
    report_inputs.write_fusion(root)
    gain = ("+0.1000 to +0.6000", "0.012")
    assert list(summary.scores(root))[2:] == [
        ("first 20 reranked, over tuned", "0.9260", "+0.1000", "-0.1000 to +0.3000", "0.31"),
        ("first 20 reranked, over tuned + BM25", "0.9260", "+0.0260", *gain),
        ("tuned + BM25 + reranker, over tuned + BM25", "0.9300", "+0.0300", *gain),
        ("base + BM25, over base", "0.7000", "+0.2246", *gain),
        ("base + BM25, over BM25", "0.7000", "+0.1000", *gain),
        ("tuned + BM25, over tuned", "0.9000", "+0.0740", *gain),
        ("tuned + BM25, over BM25", "0.9000", "+0.3000", *gain),
        ("BM25", "0.6000", "", "", ""),
        ("BM25, over tuned", "0.6000", "-0.2260", *gain),
        ("other-2B", "0.7000", "", "", ""),
    ]
