"""What a person does with DVC, in a temporary clone: repro, repro again, experiments, diffs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow

SMALL = {
    "evaluate.bootstrap": 100,
    "mine.range_max": 10,
    "profiles.cpu.data.generated.companies": 4,
    "profiles.cpu.data.generated.years": 3,
    "profiles.cpu.pixels.max": 128 * 96,
    "profiles.cpu.embedder.batch": 16,
    "profiles.cpu.embedder.epochs": 1,
    "profiles.cpu.embedder.evaluations": 1,
    "profiles.cpu.reranker.batch": 32,
    "profiles.cpu.reranker.epochs": 1,
    "profiles.cpu.reranker.evaluations": 1,
    "profiles.cpu.reranker.negatives": 1,
    "profiles.cpu.reranker.depths": [2, 4, 6],
    "profiles.cpu.reranker.train_depth": 6,
    "profiles.cpu.reranker.dev_queries": 6,
    "profiles.cpu.reranker.fusion_queries": 6,
}


def run(folder: Path, *command: str, check: bool = True) -> str:
    """Output of a command in the clone, with this environment's python first on the path."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert not check or done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A committed clone of the working tree, small params, reproduced once."""
    folder = tmp_path_factory.mktemp("clone") / "pagefinder"
    run(ROOT, "git", "clone", "-q", str(ROOT), str(folder))
    yaml = YAML()
    content = yaml.load(folder / "params.yaml")
    for path, value in SMALL.items():
        block = content
        *parts, last = path.split(".")
        for part in parts:
            block = block[part]
        block[last] = value
    yaml.dump(content, folder / "params.yaml")
    run(folder, "git", "config", "user.name", "test")
    run(folder, "git", "config", "user.email", "test@example.org")
    run(folder, "dvc", "repro")
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "small")
    return folder


def ran(output: str) -> set[str]:
    return {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")}


def test_a_second_repro_runs_nothing(clone):
    assert ran(run(clone, "dvc", "repro")) == set()
    assert "up to date" in run(clone, "dvc", "status")


def test_a_reranker_param_reruns_no_embedder_stage(clone):
    output = run(
        clone, "dvc", "exp", "run", "-n", "gentle", "-S", "profiles.cpu.reranker.learning_rate=3e-5"
    )
    stages = ran(output)
    assert "train_reranker" in stages
    assert not stages & {
        "download",
        "prepare",
        "encode_base",
        "mine",
        "train_embedder",
        "encode_tuned",
    }
    shown = json.loads(run(clone, "dvc", "params", "diff", "--json", "HEAD", "gentle"))
    assert (
        shown["params.yaml"]
        == {"profiles.cpu.reranker.learning_rate": {"old": 5.0e-4, "new": 3e-5}}
        or len(shown["params.yaml"]) == 1
    )
    assert "metrics/reranker.json" in run(clone, "dvc", "metrics", "diff", "HEAD", "gentle")
    assert "gentle" in run(clone, "dvc", "exp", "show", "--md")


def test_an_experiment_in_a_temporary_folder_leaves_the_workspace_alone(clone):
    before = run(clone, "git", "stash", "list")
    run(clone, "git", "checkout", "-q", "--", ".")
    run(clone, "dvc", "checkout", "-q")
    run(clone, "dvc", "exp", "run", "--temp", "-n", "seeded", "-S", "mine.negatives=1")
    assert run(clone, "git", "status", "--short") == ""
    assert run(clone, "git", "stash", "list") == before


def test_going_back_gives_the_very_models(clone):
    lock = (clone / "dvc.lock").read_bytes()
    weights = (clone / "models/embedder/model.safetensors").read_bytes()
    run(clone, "dvc", "exp", "apply", "seeded")
    assert (clone / "models/embedder/model.safetensors").read_bytes() != weights
    run(clone, "git", "checkout", "-q", "--", ".")
    run(clone, "dvc", "checkout", "-q", "--force")
    assert (clone / "models/embedder/model.safetensors").read_bytes() == weights
    assert (clone / "dvc.lock").read_bytes() == lock


def test_a_remote_shares_the_cache(clone, tmp_path):
    run(clone, "dvc", "remote", "add", "-d", "shelf", str(tmp_path / "shelf"))
    run(clone, "dvc", "push", "-q")
    other = tmp_path / "other"
    run(tmp_path, "git", "clone", "-q", str(clone), str(other))
    run(other, "dvc", "remote", "add", "-d", "shelf", str(tmp_path / "shelf"))
    run(other, "dvc", "pull", "-q")
    for name in ("models/embedder/model.safetensors", "data/corpus/pages.arrow"):
        assert (other / name).read_bytes() == (clone / name).read_bytes()
    assert ran(run(other, "dvc", "repro")) == set()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("profiles.cpu.base.model=nano/models/nobody", "no such folder"),
        ("profiles.cpu.embedder.dims=[4096,64]", "asks for dimension 4096"),
        ("loss.temperature=-1", "loss.temperature is -1"),
    ],
)
def test_a_mistake_fails_in_one_line_and_leaves_nothing_half_written(clone, change, said):
    output = run(clone, "dvc", "exp", "run", "--temp", "-S", change, check=False)
    lines = [line for line in output.splitlines() if "error:" in line]
    assert any(said in line for line in lines), output[-2000:]
    assert "Traceback" not in output
    run(clone, "git", "checkout", "-q", "--", ".")
