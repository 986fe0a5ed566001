"""What a branch of the Hub stood for when a model was opened, from the Hub's cache alone."""

import shutil
import subprocess
import sys

import huggingface_hub.constants
import pytest
from published import write_published_embedder
from tiny import stage_environment, tiny_content, write_root
from yaml import safe_dump

from pagefinder.models import commits

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path):
    """A cache of the Hub that holds a model at a commit, which is `main`."""
    folder = tmp_path / "hub/models--who--what"
    write_published_embedder(folder / "snapshots" / COMMIT)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text(COMMIT)
    return tmp_path / "hub"


def test_a_branch_is_resolved_and_said(cache, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    caplog.set_level("INFO")
    assert commits.opened_commit("who/what", COMMIT, "base", tmp_path) == COMMIT
    assert not caplog.messages
    assert commits.opened_commit("who/what", "main", "base", tmp_path) == COMMIT
    assert caplog.messages == [f"base.revision is main: today that is commit {COMMIT}"]
    assert commits.opened_commit("hub", "", "base", tmp_path) == ""


def test_a_trained_model_names_the_commit_of_its_base_though_the_branch_moves(cache, tmp_path):
    root = write_root(tmp_path / "root")
    shutil.rmtree(root / "models/vlm")
    content = tiny_content(
        base={"model": "who/what", "revision": "main", "pooling": ""},
        embedder={"epochs": 0.1, "evaluations": 1},
    )
    (root / "params.yaml").write_text(safe_dump(content | {"checkpoints": "params.yaml"}))
    done = subprocess.run(
        [sys.executable, "-m", "stages.train_embedder"],
        cwd=root,
        env=stage_environment() | {"HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"base.revision is main: today that is commit {COMMIT}" in done.stderr
    assert commits.read_commit(root / "models/embedder", "main") == COMMIT
    assert commits.read_commit(root / "data", "v1") == "v1"
