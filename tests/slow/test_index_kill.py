"""An index survives real kills: nothing twice, nothing lost, and the vectors are the same."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sources import write_pdf
from tiny import stage_environment, write_vlm

from pagefinder.indexing import store

pytestmark = pytest.mark.slow

# Kills its own process at a moment, given as the name of a function and how often it may be called.
MORTAL = """
import os, signal, sys
from pagefinder import index
from pagefinder.indexing import store, updating
from pagefinder.indexing.encoder import Encoder

name, calls, before = sys.argv[1], [int(sys.argv[2])], sys.argv[3] == "before"
place = Encoder if name == "rows" else store
original = getattr(place, name)
updating.COMMIT_PAGES = 32

def mortal(*arguments):
    calls[0] -= 1
    if before and not calls[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    result = original(*arguments)
    if not calls[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(place, name, mortal)
sys.exit(index.main(sys.argv[4:]))
"""


def index(root: Path, *mortal: str) -> int:
    """Index root/pages in a process of its own, which may be mortal; its exit status."""
    arguments = ["pages", "--models", "release", "--index", "index", "--no-ocr"]
    command = ["-c", MORTAL, *mortal] if mortal else ["-m", "pagefinder.index"]
    done = subprocess.run(
        [sys.executable, *command, *arguments],
        cwd=root,
        env=stage_environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def rows(place: Path) -> list[dict[str, object]]:
    found = store.open_table(str(place)).search().to_list()
    found.sort(key=lambda row: (row["path"], row["row"]))
    return [{name: value for name, value in row.items() if name != "modified"} for row in found]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A release of the tiny model, and PDFs of 100 pages, indexed without an interruption."""
    root = tmp_path_factory.mktemp("kills")
    write_vlm(root / "base")
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(str(root / "base"), device="cpu").save_pretrained(
        str(root / "release/embedder")
    )
    (root / "pages").mkdir()
    for number, pages in enumerate((40, 20, 30, 10)):
        content = [[f"page {page} of document {number}"] for page in range(pages)]
        write_pdf(root / f"pages/{number}.pdf", content, box=(200, 200))
    assert index(root) == 0
    (root / "index").rename(root / "whole")
    assert len(rows(root / "whole")) == 100
    return root


@pytest.mark.parametrize(("number", "moment"), [("2", "before"), ("1", "after")])
def test_kills_at_every_commit_lose_nothing_and_repeat_nothing(root, number, moment):
    kills = 0
    while index(root, "commit", number, moment) != 0:
        kills += 1
        assert kills < 9
    assert kills >= 2
    assert rows(root / "index") == rows(root / "whole")
    shutil.rmtree(root / "index")


def test_kills_between_chunks_and_while_old_pages_go(root):
    assert index(root) == 0
    changed = (root / "pages/1.pdf").read_bytes()
    write_pdf(root / "pages/1.pdf", [["another text"]] * 25, box=(200, 200))
    assert index(root, "rows", "1", "after") != 0
    assert index(root) == 0
    (root / "pages/1.pdf").write_bytes(changed)
    assert index(root, "remove", "2", "before") != 0
    assert index(root, "remove", "2", "after") in (0, -signal.SIGKILL)
    assert index(root) == 0
    assert rows(root / "index") == rows(root / "whole")
