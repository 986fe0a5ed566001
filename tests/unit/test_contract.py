"""What DVC cannot check itself: that dvc.yaml lists the code and params that decide each result."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import stages
from pagefinder import params

ROOT = Path(__file__).parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# Listed nowhere on purpose: they decide no result, and each new param would rerun everything.
EXEMPT = {
    f"pagefinder/{name}.py"
    for name in ("__init__", "params", "errors", "launching", "work", "torchvision_free")
}
MODEL_FREE = ("download", "prepare", "export", "report", "summary")
LIBRARY = sorted((ROOT / "pagefinder").rglob("*.py"))


def imports(path: Path) -> set[Path]:
    """Files of this project that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    found = set()
    for name in names:
        base = ROOT / name.replace(".", "/")
        if name.startswith(("pagefinder", "stages.")):
            found |= {
                file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()
            }
    return found


def closure(path: Path) -> set[str]:
    """Everything of the project that a file needs, directly or not."""
    seen: set[Path] = set()
    todo = [path]
    while todo:
        for file in imports(todo.pop()) - seen:
            seen.add(file)
            todo.append(file)
    return {file.relative_to(ROOT).as_posix() for file in seen} - EXEMPT


@pytest.mark.parametrize("name", STAGES)
def test_stage_lists_the_code_it_runs(name):
    listed = [str(dep) for dep in STAGES[name]["deps"]]
    files = {
        file.relative_to(ROOT).as_posix()
        for dep in listed
        if dep.startswith(("pagefinder", "stages"))
        for file in ([ROOT / dep] if dep.endswith(".py") else (ROOT / dep).rglob("*.py"))
    }
    needed = closure(ROOT / f"stages/{name}.py") | {f"stages/{name}.py"}
    assert needed - files == set(), "imported but not listed"
    folders = [dep for dep in listed if dep.startswith("pagefinder") and not dep.endswith(".py")]
    in_folders = {file for file in files if any(file.startswith(f"{dep}/") for dep in folders)}
    assert files - needed - in_folders == set(), "listed but not imported"


def test_an_interrupted_stage_goes_on_with_the_code_and_libraries_it_began_with():
    found = [path.relative_to(ROOT).as_posix() for path in stages.code("prepare")]
    assert {"stages/prepare.py", "pagefinder/preparing", "requirements.lock"} <= set(found)
    assert "data/source" not in found
    assert all(path.exists() for name in STAGES for path in stages.code(name))


def params_in(path: str) -> set[str]:
    """Sections of params that a file names."""
    return set(re.findall(r"\bparams\.([a-z_]+)", (ROOT / path).read_text()))


@pytest.mark.parametrize("name", STAGES)
def test_stage_lists_the_params_it_reads(name):
    path = f"stages/{name}.py"
    used = params_in(path) - {"load", "Params", "model_copy", "model_dump", "yaml"}
    for shared in closure(ROOT / path):
        # Which weights are read the stage itself decides.
        if shared.startswith("stages/"):
            used |= params_in(shared) - {"checkpoints", "yaml"}
    listed = {
        entry.removeprefix("profiles.${profile}.").partition(".")[0]
        for entry in STAGES[name]["params"]
    }
    if "profiles" in listed or "profiles.${profile}" in STAGES[name]["params"]:
        listed |= set(params.Profile.model_fields)
    listed |= {"compare"} if "compare_models" in listed else set()
    deps = " ".join(map(str, STAGES[name]["deps"]))
    listed |= {key for key in ("input", "checkpoints") if f"${{{key}}}" in deps}
    assert used <= listed


def test_every_stage_has_a_description_and_runs_as_a_module():
    for name, stage in STAGES.items():
        assert stage["desc"], name
        assert stage["cmd"].startswith(f"python -m stages.{name}"), name


@pytest.mark.parametrize("name", MODEL_FREE)
def test_stages_without_a_model_do_not_import_torch(name):
    code = (
        f"import sys, stages.{name}; "
        "print([m for m in ('torch', 'sentence_transformers', 'transformers') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def test_threads_that_wait_leave_the_cores_to_other_work():
    code = "import os, stages; print(os.environ['GOMP_SPINCOUNT'])"
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == "10000", done.stderr


@pytest.mark.parametrize("fails", ["flash-attn", "torchvision"])
def test_make_cuda_tells_what_could_not_be_built_and_goes_on(tmp_path, fails):
    pip = tmp_path / ".venv/bin/pip"
    pip.parent.mkdir(parents=True)
    pip.write_text(f'#!/bin/sh\ncase "$*" in *{fails}*) exit 1;; esac\n')
    pip.chmod(0o755)
    (tmp_path / ".venv/ready").touch()
    command = ["make", "-f", ROOT / "Makefile", "-o", ".venv/ready", "cuda"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.splitlines() if line.startswith(fails)]
    assert len(told) == 1
    assert "not built" in told[0] or "not installed" in told[0]


def test_no_two_test_modules_share_a_name():
    """`make test-slow` loads them all, and pytest takes two of one name for one."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))


def test_the_library_knows_neither_dvc_nor_the_stages():
    for path in LIBRARY:
        assert not re.search(r"^\s*(import|from) (dvc|stages)\b", path.read_text(), re.M), path


@pytest.mark.parametrize("path", sorted((ROOT / "stages").glob("*.py")), ids=lambda path: path.stem)
def test_stages_are_thin(path):
    if path.stem not in ("__init__", "summary", "readme", "push", "plan", "spread"):
        assert len(path.read_text().splitlines()) <= 65


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_modules_and_functions_are_small(path):
    assert len(path.read_text().splitlines()) <= 420
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 80, node.name


def test_profiles_have_the_same_keys_and_share_none_with_the_top():
    content = params.read(ROOT / "params.yaml")

    def keys(block, prefix=""):
        for key, value in block.items():
            yield prefix + key
            if isinstance(value, dict) and key != "learning_rates":
                yield from keys(value, f"{prefix}{key}.")

    profiles = content.pop("profiles")
    first, *others = ({*keys(block)} for block in profiles.values())
    assert all(other == first for other in others)
    assert set(content) & {key for block in profiles.values() for key in block} == set()


def test_every_profile_is_valid():
    content = params.read(ROOT / "params.yaml")
    for name in content["profiles"]:
        assert params.parse(content | {"profile": name}).profile == name
