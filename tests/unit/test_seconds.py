"""Where the seconds of a run go: what the benchmark reads of the records, what its clock counts."""

import json
import os
import time

from benchmarks import seconds


def write_run(root, stage: str, **row: float) -> None:
    folder = root / ".work/timings"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{stage}.jsonl").open("a") as file:
        file.write(json.dumps({"stage": stage} | row) + "\n")


def test_records_of_the_last_run_are_split_into_before_imports_and_work(tmp_path):
    write_run(tmp_path, "mine", started=5.0, imports=1.0, seconds=1.0)  # of an earlier run
    write_run(tmp_path, "mine", started=1010.0, imports=3.0, seconds=2.0)
    write_run(tmp_path, "prepare", started=1004.0, imports=1.0, seconds=2.5)
    (tmp_path / ".work/started").touch()
    os.utime(tmp_path / ".work/started", (1000, 1000))
    table = seconds.recorded(tmp_path)
    assert table.to_numpy().tolist() == [
        ["prepare", 3.0, 1.0, 2.5],
        ["mine", 0.5, 3.0, 2.0],
        ["total", 3.5, 4.0, 4.5],
    ]


def test_a_part_is_without_the_parts_inside_it_but_dev_scores_are_whole(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    clock = seconds.Clock()

    def work(length: float) -> None:
        now[0] += length

    with clock.part("forward"):
        work(1)
        with clock.part("preprocessing"):
            work(2)
    with clock.part(seconds.DEV):
        work(4)
        with clock.part("forward"):
            work(8)
    work(16)
    with clock.part("imports"):
        pass
    assert clock.seconds == {
        "other": 16,
        "forward": 1,
        "preprocessing": 2,
        seconds.DEV: 12,
        "imports": 0,
    }


def test_the_functions_that_make_a_part_exist():
    for functions in seconds.PARTS.values():
        for module, path in functions:
            owner, name = seconds.owner_of(module, path)
            assert callable(getattr(owner, name))
