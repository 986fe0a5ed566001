"""PDFs on a laptop: `make repro INPUT=...` in a temporary clone, with a small model of texts."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from test_dvc import documented, run
from test_pdf import manual
from tiny import write_text_model

ROOT = Path(__file__).parents[2]
PARTS = "shaft bearing seal valve filter motor handle hose gauge casing impeller spring".split()
VERBS = ["Cleaning", "Replacing", "Painting", "Measuring", "Storing"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone of the working tree whose profile `text` takes a small model."""
    folder = tmp_path_factory.mktemp("clone") / "pagefinder"
    run(ROOT, "git", "clone", "-q", str(ROOT), str(folder))
    write_text_model(folder / "nano/models/text")
    content = yaml.safe_load((folder / "params.yaml").read_text())
    text = content["profiles"]["text"]
    text["base"] |= {"model": "nano/models/text", "max_tokens": 0}
    text["embedder"] |= {"dims": [32, 16], "batch": 8, "epochs": 1, "evaluations": 1}
    text["compute"]["threads"] = 1
    text["pixels"]["max"] = 64 * 64
    content["prepare"]["max_quarantined"] = 1.0
    (folder / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    run(folder, "git", "config", "user.name", "test")
    run(folder, "git", "config", "user.email", "test@example.org")
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / ".git/info/exclude").write_text(".venv\n")
    run(folder, "git", "commit", "-qam", "small")
    return folder


@pytest.fixture(scope="module")
def manuals(tmp_path_factory):
    """Twelve manuals of five sections, in a folder whose name DVC must not take apart."""
    folder = tmp_path_factory.mktemp("my manuals, all=yes")
    for part in PARTS:
        topics = [f"{verb} the {part}" for verb in VERBS]
        manual(folder / f"{part}.pdf", topics, f"Book of the {part}")
    return folder


def test_one_command_from_pdfs_to_the_report(clone, manuals):
    said = documented(
        clone,
        "make repro INPUT=/path/to/pdfs",
        **{"/path/to/pdfs": f"'{manuals}'", "make": "make -o .venv/ready -o .venv/text"},
    )
    assert "base embedder" in said
    assert "tuned embedder" in said
    assert "BM25" in said
    assert f"report: {clone / 'metrics/report/index.html'}" in said
    content = yaml.safe_load((clone / "params.yaml").read_text())
    assert (content["profile"], content["input"]) == ("text", str(manuals))
    again = documented(
        clone,
        "make repro INPUT=/path/to/pdfs",
        **{"/path/to/pdfs": f"'{manuals}'", "make": "make -o .venv/ready -o .venv/text"},
    )
    assert "Running stage" not in again


def test_a_folder_that_is_not_there_is_named_before_anything_runs(clone, tmp_path):
    command = ["make", "-o", ".venv/ready", "-o", ".venv/text", "repro", f"INPUT={tmp_path}/gone"]
    done = subprocess.run(command, cwd=clone, capture_output=True, text=True)
    assert done.returncode != 0
    assert "gone', no folder: name the one that holds your PDFs" in done.stderr
