"""What README.md and docs/architecture.md repeat from the run, from dvc.yaml and from the code."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
import report_inputs
from report_inputs import ROOT

from pagefinder.reporting.usage import usage
from tools import readme

TEXT = """# t
<!-- results -->
old
<!-- /results -->
after
"""
ARCHITECTURE = """# a
<!-- stages -->
<!-- /stages -->
between
<!-- files -->
<!-- /files -->
after
"""
STAGES = """
stages:
  encode:
    desc: Encode | once
    matrix: {name: "${compare}"}
    outs: ["data/compare/${item.name}"]
    metrics: [{metrics/a.json: {cache: false}}]
"""


@pytest.fixture
def root(tmp_path) -> Path:
    report_inputs.write(tmp_path)
    (tmp_path / readme.README).write_text(TEXT)
    (tmp_path / readme.ARCHITECTURE).parent.mkdir()
    (tmp_path / readme.ARCHITECTURE).write_text(ARCHITECTURE)
    (tmp_path / "dvc.yaml").write_text(STAGES)
    (tmp_path / readme.DEFAULTS).parent.mkdir(parents=True)
    (tmp_path / readme.DEFAULTS).write_text("{}")
    (tmp_path / "pagefinder/one.py").write_text('"""The first line.\n\nMore.\n"""\n')
    for name in ("stages", "tools", "pagefinder", "pagefinder/part"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "__init__.py").write_text(f'"""What {name} is."""\n')
    return tmp_path


def test_parts_are_written_and_the_rest_is_left(root) -> None:
    assert readme.main(root) == 0
    text = (root / "README.md").read_text()
    assert text.startswith("# t\n<!-- results -->\n|")
    assert text.endswith("\n<!-- /results -->\nafter\n")
    assert "old" not in text
    assert "| tuned embedder | 0.8260 | +0.3506 | +0.1000 to +0.6000 | 0.012 |" in text
    assert (
        "| first 20 reranked, over tuned | 0.9260 | +0.1000 | −0.1000 to +0.3000 | 0.31 |" in text
    )
    assert "| other-2B | 0.7000 |" in text
    assert "| tuned | 0.8260 | 0.8200 |" in text
    assert (
        "Recommended by the development split: 96 dimensions (92% of resampled dev sets choose it)."
        in text
    )
    text = (root / "docs/architecture.md").read_text()
    assert text.startswith("# a\n<!-- stages -->\n|")
    assert "\n<!-- /stages -->\nbetween\n<!-- files -->\n" in text
    assert text.endswith("```\n<!-- /files -->\nafter\n")
    assert r"| `encode` | Encode \| once | `data/compare/NAME`, `metrics/a.json` |" in text
    assert "\ntools/                  What tools is\n" in text
    assert "\n  one.py                The first line\n" in text
    assert "\n  part/                 What pagefinder/part is\n" in text
    assert json.loads((root / readme.DEFAULTS).read_text())["seed"] == 13


def test_the_processor_is_that_of_the_figures(root, monkeypatch) -> None:
    monkeypatch.setattr(readme, "processor", lambda path: "this machine")
    readme.main(root)
    assert "\n\nRecorded on this machine.\n<!-- /results -->" in (root / "README.md").read_text()
    monkeypatch.setattr(readme, "processor", lambda path: "that machine")
    readme.main(root)
    assert "Recorded on this machine." in (root / "README.md").read_text()
    worsen(root)
    readme.main(root)
    text = (root / "README.md").read_text()
    assert "Recorded on that machine." in text
    assert "this machine" not in text


def test_the_kind_of_processor_names_its_bfloat16_products(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(readme.platform, "machine", lambda: "x86_64")
    (tmp_path / "cpuinfo").write_text("flags : avx512f avx512_bf16\n")
    kind = "a processor of the kind x86_64"
    assert readme.processor(tmp_path / "cpuinfo") == f"{kind} with AVX512-BF16 but without AMX"
    (tmp_path / "cpuinfo").write_text("flags : amx_bf16 avx512_bf16\n")
    assert readme.processor(tmp_path / "cpuinfo") == f"{kind} with AVX512-BF16 and AMX"
    assert readme.processor(tmp_path / "none") == f"{kind} without AVX512-BF16 and AMX"


def lock(root) -> None:
    """Record the metrics as DVC does."""
    outs = [
        {"path": f"metrics/{path.name}", "md5": hashlib.md5(path.read_bytes()).hexdigest()}
        for path in sorted((root / "metrics").glob("*.json"))
    ]
    (root / "dvc.lock").write_text(json.dumps({"stages": {"all": {"outs": outs}}}))


def worsen(root) -> None:
    metrics = root / "metrics/embedder.json"
    metrics.write_text(metrics.read_text().replace("0.826", "0.827"))


def test_check_fails_until_it_is_written(root, capsys) -> None:
    lock(root)
    assert readme.check(root) == 1
    assert (root / "README.md").read_text() == TEXT
    files = "README.md, docs/architecture.md, pagefinder/reporting/sections/defaults.json"
    assert f"{files}: stale; run `make readme`" in capsys.readouterr().err
    readme.main(root)
    assert readme.check(root) == 0
    worsen(root)
    lock(root)
    assert readme.check(root) == 1
    assert capsys.readouterr().err.startswith("README.md: stale")


def test_metrics_that_no_run_recorded_are_named(root, capsys) -> None:
    readme.main(root)
    lock(root)
    worsen(root)
    readme.main(root)
    assert readme.check(root) == 1
    assert "metrics/embedder.json (not the one of dvc.lock)" in capsys.readouterr().err


def test_an_experiment_in_the_workspace_leaves_the_commits_readme_sound(root) -> None:
    def git(*words: str) -> None:
        identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
        subprocess.run(["git", *identity, *words], cwd=root, check=True, capture_output=True)

    lock(root)
    readme.main(root)
    git("init")
    git("add", "--all")
    git("commit", "-m", "one")
    worsen(root)
    lock(root)
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("seed: 13", "seed: 14"))
    assert readme.check(root) == 0
    git("commit", "-a", "-m", "another run, without its README")
    assert readme.check(root) == 1


def test_a_second_writing_changes_nothing(root) -> None:
    readme.main(root)
    paths = [root / path for path in readme.current(root, root)]
    once = [path.read_bytes() for path in paths]
    readme.main(root)
    assert [path.read_bytes() for path in paths] == once


def test_a_missing_marker_is_named(root) -> None:
    (root / "README.md").write_text("no markers")
    with pytest.raises(ValueError, match="<!-- results -->"):
        readme.main(root)


def test_the_readme_shows_the_same_lines_of_python_as_the_report() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = usage("image", "image")
    assert f"```python\n{lines}```" in text
    assert len(lines.splitlines()) == 8
