import errno
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from tiny import stage_environment

from pagefinder.runtime import imports, locks, outputs, running, scratch

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


def test_the_old_output_stays_where_the_new_one_cannot_take_its_place(tmp_path, monkeypatch):
    target = tmp_path / "models" / "release"
    target.mkdir(parents=True)
    (target / "old").write_text("old")
    rename = Path.rename

    def refused(path, goal):
        if goal == target and (path / "new").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(path, goal)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(OSError, match="No space"), outputs.output(target, tmp_path) as scratch:
        scratch.mkdir()
        (scratch / "new").write_text("new")
    assert [path.name for path in target.iterdir()] == ["old"]
    assert not list((tmp_path / ".work/making").iterdir())


def test_the_old_output_goes_only_once_the_new_one_stands(tmp_path, monkeypatch, caplog):
    target = tmp_path / "models" / "release"
    target.mkdir(parents=True)
    (target / "old").write_text("old")

    def remove(folder):
        assert [path.name for path in target.iterdir()] == ["new"], folder
        raise PermissionError(errno.EPERM, "Operation not permitted", str(folder))

    monkeypatch.setattr(shutil, "rmtree", remove)
    with outputs.output(target, tmp_path) as scratch:
        scratch.mkdir()
        (scratch / "new").write_text("new")
    (rest,) = (tmp_path / ".work/making").iterdir()
    assert (rest / "old").read_text() == "old"
    assert f"the old one could not be removed and lies in {rest}" in caplog.text
    # What is left of it is in nobody's way.
    monkeypatch.undo()
    for number in range(2):
        with outputs.output(target, tmp_path) as scratch:
            scratch.mkdir()
            (scratch / f"newer-{number}").write_text("newer")
    assert [path.name for path in target.iterdir()] == ["newer-1"]
    assert not list((tmp_path / ".work/making").iterdir())


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second disk")
def test_an_output_on_another_disk_appears_whole_too(tmp_path):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        (tmp_path / "models").symlink_to(other)
        for content in ("old", "new"):
            with outputs.output(tmp_path / "models/release", tmp_path) as scratch:
                scratch.mkdir()
                (scratch / content).write_text(content)
        assert [path.name for path in Path(other).rglob("*")] == ["release", "new"]


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (OSError("19968 requested and 992 written"), True),  # NumPy's short write
        (
            RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
            True,
        ),
        (RuntimeError("[enforce fail at inline_container.cc:858] . file write failed"), True),
        (OSError(errno.EIO, "Input/output error"), False),
        (ValueError("20 requested"), False),
    ],
)
def test_a_full_disk_is_known_by_its_number_or_by_the_words_of_libraries(error, full, tmp_path):
    assert outputs.is_disk_full(error) is full
    assert ("disk of" in outputs.writing_problem(error, tmp_path)) is full


def test_numpy_says_of_a_full_disk_what_is_expected_of_it(tmp_path):
    """A limit on the size of files stands for the disk: NumPy writes short of it all the same."""
    code = (
        "import resource, numpy; from pagefinder.runtime import outputs\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n    numpy.save('a.npy', numpy.zeros(9999))\n"
        "except OSError as error:\n    print(error, outputs.is_disk_full(error))\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=stage_environment(), capture_output=True)
    assert done.stdout.endswith(b"written True\n"), done


def failing_stage(root: Path, error: str) -> subprocess.CompletedProcess:
    """A stage whose work ends in an error."""
    (root / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    code = f"import stages\ndef main(params, root):\n    {error}\nstages.run(main, stage='export')"
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=root, env=stage_environment(), capture_output=True, text=True
    )


def test_an_output_that_may_not_be_written_is_one_line(tmp_path):
    error = "raise PermissionError(1, 'Operation not permitted', 'models/release/a.bin')"
    done = failing_stage(tmp_path, error)
    assert done.returncode == 1
    assert "error: models/release/a.bin: Operation not permitted: allow this user" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_of_the_code_keeps_its_traceback(tmp_path):
    assert "Traceback" in failing_stage(tmp_path, "raise OSError(5, 'Input/output error')").stderr


def test_stage_records_time_and_memory(tmp_path):
    with running.stage("mine", tmp_path, imports=2.04):
        pass
    row = json.loads((tmp_path / ".work/timings/mine.jsonl").read_text())
    assert row["stage"] == "mine"
    assert row["peak_mib"] > 1
    assert row["imports"] == 2.0


def test_imports_look_for_no_garbage_and_leave_what_they_made_alone():
    held = gc.get_freeze_count()
    with imports.fast():
        assert not gc.isenabled()
        made = [[number] for number in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= held + len(made)
    frozen = gc.get_freeze_count()
    made += [[number] for number in range(1000)]
    imports.end()  # nothing began
    # Threads of other tests may let go of what was frozen.
    assert frozen - 1000 < gc.get_freeze_count() <= frozen
    gc.unfreeze()


def test_a_stage_imports_without_looking_for_garbage(tmp_path):
    (tmp_path / "yaml.py").write_text(
        "import gc\nprint(gc.isenabled(), flush=True)\nraise SystemExit"
    )
    path = os.pathsep.join(map(str, (tmp_path, ROOT)))
    done = subprocess.run(
        [sys.executable, "-m", "stages.mine"],
        cwd=tmp_path,
        env=stage_environment() | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "False\n", done.stderr


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
    assert f"waiting for process {first.pid}" in second.stderr.readline()
    first.kill()
    first.communicate()
    out, _ = second.communicate(timeout=300)
    assert out == "in\n"


def test_threads_take_turns_and_one_that_gives_up_takes_no_lock_away(tmp_path, caplog) -> None:
    lock = tmp_path / "lock"
    code = (
        "import sys; from pathlib import Path; from pagefinder.runtime import locks\n"
        "with locks.held(Path(sys.argv[1]), 'it', wait=False) as held: print(held)\n"
    )

    def held_elsewhere() -> str:
        command = [sys.executable, "-c", code, str(lock)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()

    def give_up() -> None:
        with locks.held(lock, "it", wait=False) as held:
            assert not held
            gave_up.append(True)

    gave_up: list[bool] = []
    with locks.held(lock, "it") as held:
        assert held
        thread = threading.Thread(target=give_up)
        thread.start()
        thread.join()
        assert gave_up
        assert f"it: process {os.getpid()} works on it" in caplog.text
        assert held_elsewhere() == "False"
    assert held_elsewhere() == "True"


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
