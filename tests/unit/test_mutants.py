"""The planted faults fit today's code, and the tool tells which of them a test sees."""

import ast
import json
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import yaml

from pagefinder.errors import InputError
from tools import mutants

ROOT = Path(__file__).parents[2]
ALL = mutants.mutants(ROOT)


def test_each_planted_fault_is_code_and_another_one():
    for mutant in ALL:
        sound = (ROOT / mutant.file).read_text(encoding="utf-8")
        assert ast.dump(ast.parse(mutant.planted(ROOT))) != ast.dump(ast.parse(sound)), mutant.name
    assert Counter(mutant.name for mutant in ALL).most_common(1)[0][1] == 1
    assert len(ALL) >= 100


def test_each_package_has_a_fault():
    packages = {path.parent.name for path in ROOT.glob("pagefinder/*/__init__.py")}
    assert packages <= {mutant.file.split("/")[1] for mutant in ALL}


def test_the_tests_that_should_see_a_fault_are_there():
    for mutant in ALL:
        assert mutant.tests, mutant.name
        for test in mutant.tests:
            file, _, name = test.partition("::")
            text = (ROOT / file).read_text(encoding="utf-8")
            assert not name or f"def {name.partition('[')[0]}(" in text, (mutant.name, test)


FAULTS = {
    "nano/sums.py": [
        {"fault": "sum", "old": "a - b", "new": "a + b", "tests": ["test_one.py"]},
        {"fault": "half", "old": "a / 2", "new": "a / 3", "tests": ["test_one.py"]},
        {"fault": "same", "old": "a * 1", "new": "a * 1.0", "tests": ["test_one.py"]},
    ]
}
SUMS = """
def difference(a, b):
    return a - b

def half(a):
    return a / 2

def one(a):
    return a * 1
"""
ONE = """
from nano.sums import difference, one

def test_one():
    assert (difference(3, 2), one(1)) == (1, 1)
"""
# Reached by the helper alone; the second test fails without any fault.
OTHER = """
import helper

def test_half():
    assert helper.half(4) == 2

def test_broken():
    assert False
"""


@pytest.fixture
def project(tmp_path):
    """A project of three functions and their tests; `half` is tested in another file."""
    files = {
        "nano/__init__.py": "",
        "nano/sums.py": SUMS,
        "tests/unit/test_one.py": ONE,
        "tests/unit/helper.py": "from nano.sums import half\n",
        "tests/unit/test_other.py": OTHER,
        "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = [".", "tests/unit"]\n',
        mutants.LIST: yaml.safe_dump(FAULTS),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def test_faults_are_planted_in_a_copy_and_shown_to_further_tests(project):
    results = project / "results.jsonl"
    chosen = mutants.mutants(project)
    seen = mutants.run(project, chosen, results, processes=2)
    assert seen == {
        "nano/sums.py: sum": "tests/unit/test_one.py::test_one",
        "nano/sums.py: half": "tests/unit/test_other.py::test_half",
        "nano/sums.py: same": "",
    }
    assert (project / "nano/sums.py").read_text() == SUMS
    assert mutants.table(seen).splitlines() == [
        "   2 of    3 killed  nano",
        "   2 of    3 killed  all",
        "survived: nano/sums.py: same",
    ]


def test_an_interrupted_run_goes_on_and_survivors_are_planted_again(project):
    results = project / "results.jsonl"
    chosen = [mutant for mutant in mutants.mutants(project) if mutant.fault != "half"]
    first = mutants.run(project, chosen[:1], results, further=False)
    both = mutants.run(project, chosen, results, further=False)
    assert both == first | {"nano/sums.py: same": ""}
    assert mutants.run(project, chosen, results, further=False) == both
    done = [json.loads(line)["mutant"] for line in results.read_text().splitlines()]
    assert done == ["nano/sums.py: sum", "nano/sums.py: same", "nano/sums.py: same"]


def test_a_fault_whose_text_is_gone_is_named(project):
    (project / "nano/sums.py").write_text(SUMS.replace("a - b", "b - a"))
    with pytest.raises(InputError, match=r"sums.py: sum: 'a - b' stands 0 times"):
        mutants.run(project, mutants.mutants(project), project / "results.jsonl")


def test_a_test_that_fails_without_any_fault_stops_the_run(project):
    (project / "tests/unit/test_one.py").write_text("def test_one():\n    assert False\n")
    with pytest.raises(InputError, match="without any fault fails .*::test_one"):
        mutants.run(project, mutants.mutants(project), project / "results.jsonl")


def test_a_fault_without_end_is_seen(project):
    faults = [{"fault": "loop", "old": "return a - b", "new": "while True:\n        pass"}]
    listed = {"nano/sums.py": [faults[0] | {"tests": ["test_one.py"]}]}
    (project / mutants.LIST).write_text(yaml.safe_dump(listed))
    results = project / "results.jsonl"
    seen = mutants.run(project, mutants.mutants(project), results, seconds=5, further=False)
    assert seen == {"nano/sums.py: loop": mutants.TOO_LONG}


def test_a_fault_that_waits_is_seen_and_a_slow_machine_is_no_fault(project, monkeypatch):
    run, limits = subprocess.run, list[float]()

    def run_or_wait(command, **keywords):
        if "timeout" in keywords:
            limits.append(keywords["timeout"])
        if "a + b" in (Path(keywords["cwd"]) / "nano/sums.py").read_text():
            raise subprocess.TimeoutExpired(command, keywords["timeout"])
        return run(command, **keywords)

    monkeypatch.setattr(subprocess, "run", run_or_wait)
    chosen = mutants.mutants(project)[:1]
    results = project / "results.jsonl"
    seen = mutants.run(project, chosen, results, seconds=7, further=False)
    assert seen == {"nano/sums.py: sum": mutants.TOO_LONG}
    assert limits[-1] == 7 * mutants.WAITING
