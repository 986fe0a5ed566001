import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pagefinder.runtime import outputs, running, scratch

ROOT = Path(__file__).parents[2]


def test_output_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "data" / "table.txt"
    with pytest.raises(RuntimeError, match="disk"), outputs.output(target, tmp_path) as scratch:
        scratch.write_text("half")
        raise RuntimeError("disk")
    assert not target.exists()
    assert not list((tmp_path / ".work" / "making").iterdir())
    with outputs.output(target, tmp_path) as scratch:
        scratch.write_text("whole")
    assert target.read_text() == "whole"


def test_output_replaces_a_folder(tmp_path):
    target = tmp_path / "models" / "embedder"
    for content in ("old", "new"):
        with outputs.output(target, tmp_path) as scratch:
            scratch.mkdir()
            (scratch / content).write_text(content)
    assert [path.name for path in target.iterdir()] == ["new"]


def test_stage_records_time_and_memory(tmp_path):
    with running.stage("mine", tmp_path):
        pass
    row = json.loads((tmp_path / ".work/timings/mine.jsonl").read_text())
    assert row["stage"] == "mine"
    assert row["peak_mib"] > 1


def test_a_failed_stage_records_nothing(tmp_path):
    with pytest.raises(ValueError, match="no"), running.stage("mine", tmp_path):
        raise ValueError("no")
    assert not (tmp_path / ".work/timings").exists()


def test_a_second_run_waits_for_the_first_and_a_dead_one_holds_no_lock(tmp_path):
    code = (
        "import sys, time, logging; from pathlib import Path\n"
        "from pagefinder.runtime import running\n"
        "logging.basicConfig(level=logging.INFO, stream=sys.stderr)\n"
        "with running.stage('mine', Path(sys.argv[1])):\n"
        "    print('in', flush=True); time.sleep(float(sys.argv[2]))\n"
    )

    def start(seconds: float) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), str(seconds)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    first = start(60)
    assert first.stdout.readline() == "in\n"
    second = start(0)
    time.sleep(0.5)
    assert second.poll() is None
    first.kill()
    first.communicate()
    out, err = second.communicate(timeout=30)
    assert out == "in\n"
    assert f"waiting for process {first.pid}" in err


def test_a_child_that_outlives_its_stage_does_not_hold_the_lock(tmp_path):
    code = (
        "import os, sys, time; from pathlib import Path; from pagefinder.runtime import running\n"
        "with running.stage('mine', Path(sys.argv[1])):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        os.close(1); time.sleep(60)\n"
        "    print(child, flush=True); os.kill(os.getpid(), 9)\n"
    )
    died = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        started = time.monotonic()
        with running.stage("mine", tmp_path):
            assert time.monotonic() - started < 30
    finally:
        os.kill(int(died.stdout), signal.SIGKILL)


def test_checkpoints_are_keyed_by_knobs_and_content(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "a").write_text("1")
    one = scratch.folder("train", {"lr": 1}, [data], tmp_path)
    assert one == scratch.folder("train", {"lr": 1}, [data], tmp_path)
    assert one != scratch.folder("train", {"lr": 2}, [data], tmp_path)
    (data / "a").write_text("2")
    assert one != scratch.folder("train", {"lr": 1}, [data], tmp_path)
    elsewhere = scratch.folder("train", {}, [data], tmp_path / "root")
    assert elsewhere.parent == tmp_path / "root/.work", "an input may lie outside the root"
    (data / "a").rename(data / "b")
    assert elsewhere != scratch.folder("train", {}, [data], tmp_path / "root")
