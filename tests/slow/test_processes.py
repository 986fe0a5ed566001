"""Two processes under torchrun do what one does with the whole batch."""

import os
import signal
import subprocess
import sys

import killing
import pandas as pd
import pytest
from killing import run_python
from safetensors.torch import load_file
from tiny import ranked_candidates, stage_environment, write_root

pytestmark = pytest.mark.slow
LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
WEIGHTS = "models/embedder/model.safetensors"


def run_stage(root, name):
    done = killing.run_stage(root, name)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize("mini_batch", [0, 1])
def test_training_in_two_processes_equals_one(tmp_path, mini_batch):
    knobs = {"mini_batch": mini_batch, "batch": 4, "epochs": 1}
    one = write_root(tmp_path / "one", embedder=knobs)
    two = write_root(tmp_path / "two", embedder=knobs, compute={"processes": 2})
    run_stage(one, "train_embedder")
    said = run_stage(two, "train_embedder")
    assert "starting 2 processes" in said
    assert said.count("train_embedder: done") == 1
    curves = [
        pd.read_csv(root / "metrics/plots/embedder_training.csv").set_index(["metric", "step"])
        for root in (one, two)
    ]
    first = [curve["value"]["loss", 1] for curve in curves]
    assert first[0] == pytest.approx(first[1], abs=1e-5)
    one_file, two_file = (load_file(root / WEIGHTS) for root in (one, two))
    base = load_file(one / "models/vlm/model.safetensors")
    assert one_file.keys() == two_file.keys()
    learned = distance(one_file, {name: base[rename(name, base)] for name in one_file})
    assert distance(one_file, two_file) < 0.05 * learned


def rename(name, base):
    """The fresh checkpoint holds the backbone under `model.`."""
    return name if name in base else f"model.{name}"


def distance(one, other):
    """Euclidean distance of two sets of weights."""
    squares = [((one[name].float() - other[name].float()) ** 2).sum() for name in one]
    return float(sum(squares)) ** 0.5


def test_the_reranker_in_two_processes_equals_one(tmp_path):
    roots = [
        write_root(tmp_path / name, compute={"processes": processes})
        for name, processes in (("one", 1), ("two", 2))
    ]
    losses = []
    for root in roots:
        ranked_candidates().to_parquet(root / "data/candidates.parquet")
        run_stage(root, "train_reranker")
        curves = pd.read_csv(root / "metrics/plots/reranker_training.csv")
        losses.append(curves.loc[curves["metric"] == "loss", "value"].tolist())
    assert losses[0][0] == pytest.approx(losses[1][0], abs=1e-5)
    assert len(losses[0]) == len(losses[1]) == 15


def test_two_processes_that_are_killed_go_on_to_the_same_bits(tmp_path):
    whole = write_root(tmp_path / "whole", compute={"processes": 2})
    run_stage(whole, "train_embedder")
    torn = write_root(tmp_path / "torn", compute={"processes": 2})
    killed = run_python(torn, *LAUNCHER, 2, killing.__file__, killing.MOMENTS[1])
    assert killed.returncode != 0
    assert not (torn / "models/embedder").exists()
    assert "resuming from checkpoint-3" in run_stage(torn, "train_embedder")
    assert killing.embedder_bytes(torn) == killing.embedder_bytes(whole)


def test_two_processes_that_are_interrupted_say_so_once(tmp_path):
    root = write_root(tmp_path, compute={"processes": 2})
    process = subprocess.Popen(
        [sys.executable, "-m", "stages.train_embedder"],
        cwd=root,
        env=stage_environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    said = next(line for line in process.stderr if "step 1 of" in line)
    os.killpg(process.pid, signal.SIGINT)
    said += process.communicate(timeout=300)[1]
    assert process.returncode == 130
    assert said.count("interrupted; the next `dvc repro` goes on from here") == 1
    assert "Traceback" not in said


def test_encoding_in_two_processes_gives_the_same_vectors(tmp_path):
    # The corpus of 40 pages and 40 queries in four chunks each, so that both have some to encode.
    code = (
        "from pagefinder.models import encoding\n"
        "from pagefinder.runtime import processes\n"
        "from stages import encode, run\n"
        "encoding.CHUNK = {encoding.PAGES: 12, encoding.QUERIES: 12}\n"
        "original = encoding.encode_pages\n"
        "def told(*arguments):\n"
        "    open(f'rank-{processes.rank()}', 'a').write('x')\n"
        "    return original(*arguments)\n"
        "encoding.encode_pages = told\n"
        "run(encode.main, stage='encode_base', distributed=True)\n"
    )
    (tmp_path / "encode.py").write_text(code)
    vectors = []
    for name, processes in (("one", 1), ("two", 2)):
        root = write_root(tmp_path / name, compute={"processes": processes})
        done = run_python(root, *LAUNCHER, processes, tmp_path / "encode.py")
        assert done.returncode == 0, done.stderr
        shares = [len((root / f"rank-{rank}").read_text()) for rank in range(processes)]
        assert shares == [4 // processes] * processes
        folder = root / "data/embeddings/base"
        vectors.append([(folder / kind).read_bytes() for kind in ("pages.npy", "queries.npy")])
    assert vectors[0] == vectors[1]


def test_a_batch_that_cannot_be_shared_is_named(tmp_path):
    root = write_root(tmp_path, embedder={"batch": 3}, compute={"processes": 2})
    done = killing.run_stage(root)
    assert done.returncode != 0
    assert "batch 3 over 24 rows cannot be shared by 2 processes" in done.stderr
