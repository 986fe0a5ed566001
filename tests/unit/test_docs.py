"""Every command of README.md and docs is run by a test, or says what no test has for it."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
NEEDS = re.compile(r"# needs (a GPU|several GPUs|the Hub|a bucket|a server|the network)\b")
CI = {"make test"}  # by .ci/run


def commands(document: Path) -> list[str]:
    """Lines of the shell in a document: blocks of `sh`, and behind a prompt in other blocks."""
    lines = []
    for kind, block in FENCED.findall(document.read_text(encoding="utf-8")):
        whole = re.sub(r"\s*\\\n\s*", " ", block).splitlines()
        if kind == "sh":
            lines += [line for line in whole if line and not line.startswith("#")]
        else:
            lines += [line[2:] for line in whole if line.startswith("$ ")]
    return lines


def plain(line: str) -> str:
    """A command without the comment behind it."""
    return re.sub(r"\s+#.*", "", line)


def run_by_tests() -> set[str]:
    """The commands that tests/slow hands to `documented`."""
    calls = [
        node
        for path in sorted((ROOT / "tests/slow").glob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        if isinstance(node.func, ast.Name) and node.func.id == "documented"
    ]
    return {ast.literal_eval(call.args[1]) for call in calls}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_is_run_or_says_what_it_needs(document):
    free = {plain(line) for line in commands(document) if not NEEDS.search(line)}
    assert free <= run_by_tests() | CI


def test_tests_run_what_is_documented():
    known = {plain(line) for document in DOCUMENTS for line in commands(document)}
    assert len(known) > 30
    assert run_by_tests() <= known
    assert all(command in (ROOT / ".ci/run").read_text() for command in CI)


def test_blocks_without_a_language_hide_no_command():
    for document in DOCUMENTS:
        for kind, block in FENCED.findall(document.read_text(encoding="utf-8")):
            if kind != "sh":
                assert not re.search(r"^(make|dvc|git|pip|python) ", block, re.MULTILINE), block


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_is_named_in_a_line_exists(document):
    text = FENCED.sub("", document.read_text(encoding="utf-8"))
    named = [re.sub(r"\s+", " ", code) for code in re.findall(r"`([^`]+)`", text)]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for code in named:
        if target := re.fullmatch(r"make ([a-z-]+)", code):
            assert target[1] in targets, code
        if module := re.match(r"python -m ([\w.]+[a-z])", code):
            path = ROOT.joinpath(*module[1].split("."))
            missing = not path.with_suffix(".py").is_file() and not path.is_dir()
            assert not missing or module[1] == "pytest", code


@pytest.mark.parametrize("name", ["dependencies", "experiments", "plan", "push", "readme"])
def test_help_of_a_tool_says_how_it_is_called_and_writes_nothing(name, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", f"tools.{name}", "--help"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"python -m tools.{name}" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


def test_the_rows_of_docs_data_are_saved(tmp_path):
    blocks = dict(FENCED.findall((ROOT / "docs/data.md").read_text(encoding="utf-8")))
    lines = (
        "from PIL import Image\nimage, other = Image.new('L', (64, 64)), Image.new('L', (64, 96))\n"
    )
    (tmp_path / "data/raw").mkdir(parents=True)
    subprocess.run([sys.executable, "-c", lines + blocks["python"]], cwd=tmp_path, check=True)
    assert (tmp_path / "data/raw/mine.parquet").is_file()
