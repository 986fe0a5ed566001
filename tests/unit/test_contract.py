"""What DVC cannot check itself: that dvc.yaml lists the code and params that decide each result."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import stages
from pagefinder import params, params_file
from tools import dependencies

ROOT = Path(__file__).parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
MODEL_FREE = (
    "stages.download",
    "stages.write_queries",
    "stages.prepare",
    "stages.mine",
    "stages.evaluate_embedder",
    "stages.evaluate_pixels",
    "stages.candidates",
    "stages.export",
    "stages.report",
    "tools.summary",
)
LIBRARY = sorted((ROOT / "pagefinder").rglob("*.py"))
CODE = [*LIBRARY, *(path for name in ("stages", "tools") for path in (ROOT / name).glob("*.py"))]


def library_of(name: str) -> list[str]:
    """Every file of the project that a stage of dvc.yaml imports, itself included."""
    return dependencies.needed(ROOT, dependencies.stage_module(STAGES[name]))


def test_dvc_yaml_lists_the_code_that_its_stages_import():
    assert dependencies.main(ROOT, check=True) == 0, "run `make readme`"


def test_bytecode_is_in_no_hash_of_dvc(tmp_path):
    """Python writes it beside the code; a stage that hashed it would run again."""
    deps = {dep for stage in STAGES.values() for dep in stage["deps"] if "/" in dep}
    code = {dep for dep in deps if dep.startswith(("pagefinder/", "stages/"))}
    assert len(code) > 50
    assert all((ROOT / dep).is_file() for dep in code)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    shutil.copytree(ROOT / ".dvc", tmp_path / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache"))
    shutil.copy(ROOT / ".dvcignore", tmp_path)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    for folder in ("pagefinder", "nano/models"):
        written = tmp_path / folder / "module.py"
        written.parent.mkdir(parents=True)
        written.touch()
        command = [sys.executable, "-c", "import module"]
        subprocess.run(command, cwd=written.parent, env=environment, check=True)
        (bytecode,) = (tmp_path / folder).rglob("*.pyc")
        command = [sys.executable, "-m", "dvc", "check-ignore", bytecode.relative_to(tmp_path)]
        assert subprocess.run(command, cwd=tmp_path, env=environment).returncode == 0


def test_ci_writes_bytecode_as_a_person_s_machine_does():
    lines = (ROOT / ".ci/run").read_text().splitlines()
    assert lines.index("unset PYTHONDONTWRITEBYTECODE") < lines.index("make test")


@pytest.mark.parametrize("name", STAGES)
def test_only_what_makes_a_result_runs_a_stage_again(name):
    code = " ".join(dependencies.code_of(ROOT, STAGES[name]))
    assert "/params.py" not in code
    assert "/runtime/" not in code
    if name != "report":
        assert "/reporting/" not in code
    if name.startswith(("train", "encode")):
        assert not re.search("/(mining/audit|evaluation|release|serving)", code)


def test_the_package_holds_the_data_files_of_its_modules():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folder = ROOT / "pagefinder"
    packed = {file for glob in settings["package-data"]["pagefinder"] for file in folder.glob(glob)}
    data = [file for file in folder.rglob("*") if file.suffix in dependencies.DATA]
    assert set(data) <= packed
    assert len(data) > 5


def test_plumbing_exists():
    for name in dependencies.PLUMBING:
        assert (ROOT / name).exists(), name


def test_an_interrupted_stage_goes_on_with_the_code_and_libraries_it_began_with():
    code = [path.relative_to(ROOT).as_posix() for path in stages.code("prepare")]
    assert {
        "stages/prepare.py",
        "pagefinder/preparing/splits.py",
        "requirements.lock",
    } <= set(code)
    assert "data/source" not in code
    assert all(path.exists() for name in STAGES for path in stages.code(name))


def params_in(path: str) -> set[str]:
    """Sections of params that the functions of a file read from an argument of type Params."""
    sections = set()
    for function in ast.walk(ast.parse((ROOT / path).read_text())):
        if not isinstance(function, ast.FunctionDef):
            continue
        arguments = {
            argument.arg
            for argument in (*function.args.args, *function.args.kwonlyargs)
            if argument.annotation and ast.unparse(argument.annotation).endswith("Params")
        }
        for node in ast.walk(function):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                sections |= {node.attr} if node.value.id in arguments else set()
    return sections & {*params.Params.model_fields}


@pytest.mark.parametrize("name", STAGES)
def test_stage_lists_the_params_it_reads(name):
    # What checks all params before any work decides no result.
    files = [file for file in library_of(name) if not file.startswith(dependencies.PLUMBING)]
    used = set().union(*map(params_in, files))
    # encode serves several stages, each of which takes its own part of what the module reads.
    module = dependencies.stage_module(STAGES[name])
    alike = [one for one in STAGES.values() if dependencies.stage_module(one) == module]
    entries = [entry for stage in alike for entry in stage["params"]]
    listed = {entry.removeprefix("profiles.${profile}.").partition(".")[0] for entry in entries}
    if "profiles.${profile}" in entries:
        listed |= set(params.Profile.model_fields)
    listed |= {"compare"} if "compare_models" in listed else set()
    deps = " ".join(map(str, STAGES[name]["deps"]))
    listed |= {key for key in ("input", "checkpoints") if f"${{{key}}}" in deps}
    assert used <= listed


def test_every_stage_has_a_description_and_runs_as_a_module():
    for name, stage in STAGES.items():
        assert stage["desc"], name
        assert (ROOT / dependencies.stage_module(stage)).is_file(), name


@pytest.mark.parametrize("name", MODEL_FREE)
def test_stages_without_a_model_do_not_import_torch(name):
    code = (
        f"import sys, {name}; "
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
    if path.stem != "__init__":
        assert len(path.read_text().splitlines()) <= 65


@pytest.mark.parametrize("path", CODE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_modules_and_functions_are_small(path):
    # params.py is a list of fields, and grows with the knobs.
    assert len(path.read_text().splitlines()) <= (400 if path.name == "params.py" else 300)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            assert node.end_lineno - node.lineno < 70, node.name
            assert len(arguments) <= 7, node.name


@pytest.mark.parametrize("name", ["params", "params_base", "params_writing"])
def test_params_hold_fields_and_checks_alone(name):
    """A property there would decide results, and no stage runs again for a change of params."""
    for section in ast.parse((ROOT / f"pagefinder/{name}.py").read_text()).body:
        for node in ast.walk(section):
            if isinstance(node, ast.FunctionDef):
                decorators = " ".join(map(ast.unparse, node.decorator_list))
                assert "_validator(" in decorators, node.name


def test_profiles_have_the_same_keys_and_share_none_with_the_top():
    content = params_file.read(ROOT / "params.yaml")

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
    content = params_file.read(ROOT / "params.yaml")
    for name in content["profiles"]:
        assert params_file.parse(content | {"profile": name}).profile == name
