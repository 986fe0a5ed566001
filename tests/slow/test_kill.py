"""Real kills, interruptions, two runs at once and a full disk."""

import os
import signal
import subprocess
import sys
import time

import pytest
from killing import MOMENTS, embedder_bytes, kill_at, run_python, run_stage
from tiny import stage_environment, write_root

import stages

pytestmark = pytest.mark.slow

# As in the default: a loader process runs ahead of the step that is lost.
LOADER = {"compute": {"workers": 1}}


def start_stage(root, name="train_embedder"):
    return subprocess.Popen(
        [sys.executable, "-m", *stages.command(name)],
        cwd=root,
        env=stage_environment(),
        stderr=subprocess.PIPE,
        text=True,
    )


def read_until(process, words):
    """Lines of stderr up to the first that contains the words."""
    lines = []
    for line in process.stderr:
        lines.append(line)
        if words in line:
            return lines
    raise AssertionError("".join(lines))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = write_root(tmp_path_factory.mktemp("whole"), **LOADER)
    done = run_stage(root)
    assert done.returncode == 0, done.stderr
    assert not list((root / ".work").glob("train_embedder-*")), "checkpoints go at the end"
    return root


@pytest.mark.parametrize(("moment", "step"), list(zip(MOMENTS, (0, 3, 6), strict=True)))
def test_a_killed_training_goes_on_to_the_same_bits(whole, tmp_path, moment, step):
    root = write_root(tmp_path, **LOADER)
    kill_at(moment, root)
    assert not (root / "models/embedder").exists()
    done = run_stage(root)
    assert done.returncode == 0, done.stderr
    assert (f"resuming from checkpoint-{step}" in done.stderr) is bool(step)
    assert embedder_bytes(root) == embedder_bytes(whole)
    curves = "metrics/plots/embedder_training.csv"
    assert (root / curves).read_bytes() == (whole / curves).read_bytes()
    assert not list((root / ".work/making").iterdir()), "the torn output goes too"


def test_an_interrupted_stage_exits_non_zero_and_goes_on(whole, tmp_path):
    root = write_root(tmp_path, **LOADER)
    process = start_stage(root)
    read_until(process, "step 1 of 6")
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "interrupted" in rest
    assert "Traceback" not in rest
    assert run_stage(root).returncode == 0
    assert embedder_bytes(root) == embedder_bytes(whole)


def test_a_second_run_waits_and_a_killed_first_one_frees_it(whole, tmp_path):
    root = write_root(tmp_path)
    first = start_stage(root)
    read_until(first, "step 1 of 6")
    # Held still, so that it is at work when the second one starts.
    os.kill(first.pid, signal.SIGSTOP)
    second = start_stage(root)
    lines = read_until(second, "waiting for process")
    assert f"waiting for process {first.pid}" in lines[-1]
    time.sleep(1)
    assert second.poll() is None
    first.kill()
    first.communicate()
    _, rest = second.communicate(timeout=300)
    assert second.returncode == 0, rest
    assert embedder_bytes(root) == embedder_bytes(whole)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 40 MiB: one checkpoint of the tiny model fits, the second does not."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", folder]).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_one_line_and_leaves_the_last_good_checkpoint(whole, small_disk):
    root = write_root(small_disk)
    # The disk looked large enough when the stage began, and filled while it ran.
    code = (
        "from stages import disk, run, train_embedder\n"
        "disk.check = lambda *_: None\n"
        "run(train_embedder.main, distributed=True)"
    )
    done = run_python(root, "-c", code)
    assert done.returncode == 1, done.stderr
    assert "the disk of" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    (folder,) = (root / ".work").glob("train_embedder-*")
    assert (folder / "checkpoint-3/trainer_state.json").exists()
    subprocess.run(["mount", "-o", "remount,size=512m", root], check=True)
    done = run_stage(root)
    assert done.returncode == 0, done.stderr
    assert "resuming from checkpoint-3" in done.stderr
    assert embedder_bytes(root) == embedder_bytes(whole)


def test_a_stage_does_not_begin_on_a_disk_that_is_too_small(small_disk):
    root = write_root(small_disk)
    done = run_stage(root)
    assert done.returncode == 1, done.stderr
    assert "train_embedder needs about" in done.stderr.splitlines()[-1]
    assert not list((root / ".work").glob("train_embedder-*"))


def test_vectors_that_do_not_fit_on_the_disk_are_an_error_that_can_be_named(tmp_path, small_disk):
    code = (
        "import sys, numpy; from pathlib import Path; from types import SimpleNamespace\n"
        "from pagefinder.models import encoding; from pagefinder.runtime import outputs\n"
        "numpy.save('000000-pages.npy', numpy.zeros((512, 40000), numpy.float32))\n"
        "corpus = SimpleNamespace(pages=range(512), queries=())\n"
        "try:\n    encoding.merge(Path(), corpus, Path(sys.argv[1]))\n"
        "except OSError as error:\n    print(outputs.is_disk_full(error))\n"
    )
    done = run_python(tmp_path, "-c", code, small_disk)
    assert done.stdout == "True\n", (done.returncode, done.stderr)


def test_encoding_goes_on_with_the_chunks_that_are_there(tmp_path):
    whole, torn = write_root(tmp_path / "whole"), write_root(tmp_path / "torn")
    code = (
        "import os, signal\n"
        "from pagefinder.models import encoding\n"
        "from stages import encode, run\n"
        "encoding.CHUNK = {encoding.PAGES: 12, encoding.QUERIES: 12}\n"
        "original, calls = encoding.encode_pages, []\n"
        "def mortal(*arguments):\n"
        "    calls.append(1)\n"
        "    if len(calls) == {kill}:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return original(*arguments)\n"
        "encoding.encode_pages = mortal\n"
        "run(encode.main, stage='encode_base', distributed=True)\n"
    )

    def run(root, kill):
        return run_python(root, "-c", code.replace("{kill}", str(kill)))

    assert run(whole, 99).returncode == 0
    assert run(torn, 3).returncode == -signal.SIGKILL
    assert not (torn / "data/embeddings/base").exists()
    done = run(torn, 99)
    assert done.returncode == 0, done.stderr
    assert "pages.npy: 2 of 4 chunks are there" in done.stderr
    for name in ("pages.npy", "queries.npy"):
        path = f"data/embeddings/base/{name}"
        assert (whole / path).read_bytes() == (torn / path).read_bytes()
    assert not list((torn / ".work").glob("encode_base-*"))
