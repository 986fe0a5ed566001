"""What the code imports and what pyproject.toml declares are the same."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CODE = ("pagefinder", "stages", "tools", "nano", "benchmarks")
# Run as commands, or read by mypy alone.
PROGRAMS = re.compile(r"mypy|ruff|types-.*|.*-stubs")


# Used by DVC alone, which does not ask for it.
UNIMPORTED = {"ruamel-yaml-clib"}
# Distributions of another name than their package, which need not be installed here.
OTHER_NAMES = {"lance": "pylance"}


def canonical(name: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements: list[str]) -> set[str]:
    """Distributions of a list of requirements."""
    return {canonical(re.match(r"[\w.-]+", line)[0]) for line in requirements}


def imported(*folders: str) -> dict[str, set[str]]:
    """Distributions that offer each package that a folder's modules import from elsewhere."""
    names: set[str] = set()
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
    beside = {path.stem for path in (ROOT / "tests").rglob("*.py")}  # as tests import each other
    names -= {*sys.stdlib_module_names, *CODE, *beside}
    installed = packages_distributions()
    return {name: set(map(canonical, installed.get(name, ()))) for name in names}


RUNTIME = declared(PROJECT["dependencies"])
TEST = declared(PROJECT["optional-dependencies"]["test"])
# What an extra brings need not be installed here.
OPTIONAL = PROJECT["optional-dependencies"].items()
EXTRAS = declared([line for name, lines in OPTIONAL if name != "test" for line in lines])


def test_every_import_is_declared() -> None:
    code, tests = imported(*CODE), imported("tests")
    assert len(code) > 20
    missing = {name for name, offered in code.items() if not offered & RUNTIME}
    missing |= {name for name, offered in tests.items() if not offered & (RUNTIME | TEST)}
    assert {canonical(OTHER_NAMES.get(name, name)) for name in missing} <= EXTRAS


def test_everything_declared_is_imported() -> None:
    assert RUNTIME - set().union(*imported(*CODE).values()) <= UNIMPORTED
    unused = TEST - set().union(*imported("tests").values())
    assert not [name for name in unused if not PROGRAMS.fullmatch(name)]
    assert not RUNTIME & TEST


def test_everything_declared_is_pinned() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pinned = {canonical(line.partition("==")[0]) for line in lines if "==" in line}
    assert not (RUNTIME | TEST) - pinned


def test_make_installs_extras_that_are_declared() -> None:
    lines = re.findall(r"-e '\.\[(.+)\]'", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert len(lines) == 3
    named = {name for line in lines for name in line.split(",")}
    assert named <= PROJECT["optional-dependencies"].keys()
