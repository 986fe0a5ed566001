"""Write into dvc.yaml which code each stage depends on: `python -m tools.dependencies [--check]`.

DVC hashes the files that dvc.yaml lists and follows no imports. So each stage lists its own module,
every module of the project that it imports, directly or not, except PLUMBING, and the data files
that lie beside these modules.
"""

import argparse
import ast
import re
import sys
from functools import cache
from pathlib import Path

import yaml

PIPELINE = Path("dvc.yaml")
# Code that decides no result: a change of it must not train models again.
PLUMBING = (
    "pagefinder/errors.py",
    "pagefinder/layout.py",  # a wrong path fails: dvc.yaml names the same outputs
    "pagefinder/models/torchvision_free.py",
    "pagefinder/params_file.py",
    "pagefinder/params.py",  # holds fields and checks; the values are hashed by dvc.yaml's `params`
    "pagefinder/params_base.py",
    "pagefinder/params_writing.py",
    "pagefinder/runtime/",
    "stages/__init__.py",
)
DATA = (".css", ".csv", ".html", ".json", ".md", ".txt")  # read by the modules beside them
CODE = re.compile(r"^      - (?:stages|pagefinder)/\S+\n", re.MULTILINE)


def stage_module(stage: dict[str, object]) -> str:
    """File of the module that a stage of dvc.yaml runs, relative to the project's root."""
    match = re.match(r"python -m (\S+)", str(stage["cmd"]))
    if match is None:
        raise ValueError(f"{stage['cmd']!r} does not begin with `python -m MODULE`")
    return match[1].replace(".", "/") + ".py"


@cache
def imported(root: Path, file: str) -> frozenset[str]:
    """Files of the project that a file imports anywhere in it, packages' __init__.py included."""
    names = set()
    for node in ast.walk(ast.parse((root / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    files = set()
    for name in names:
        parts = name.split(".")
        if parts[0] in ("nano", "pagefinder", "stages"):
            files |= {f"{'/'.join(parts[:n])}/__init__.py" for n in range(1, len(parts) + 1)}
            files.add("/".join(parts) + ".py")
    return frozenset(name for name in files if (root / name).is_file())


def needed(root: Path, file: str) -> list[str]:
    """A file and every file of the project that it imports, directly or not, sorted.

    Imports of PLUMBING are not followed: they decide no result either.
    """
    seen, todo = {file}, [file]
    while todo:
        new = imported(root, todo.pop()) - seen
        seen |= new
        todo += [name for name in new if not name.startswith(PLUMBING)]
    return sorted(seen)


def decides_results(root: Path, file: str) -> bool:
    """Whether a change of this file can change a stage's result."""
    if file.startswith(PLUMBING):
        return False
    # An __init__.py that holds a docstring and imports has no result of its own.
    body = ast.parse((root / file).read_text(encoding="utf-8")).body
    return not file.endswith("__init__.py") or any(
        isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Assign) for node in body
    )


def code_of(root: Path, stage: dict[str, object]) -> list[str]:
    """The code files whose change makes a stage of dvc.yaml run again, sorted."""
    modules = [name for name in needed(root, stage_module(stage)) if decides_results(root, name)]
    folders = {(root / name).parent for name in modules}
    files = [path for folder in folders for path in folder.iterdir() if path.suffix in DATA]
    return sorted([*modules, *(path.relative_to(root).as_posix() for path in files)])


def with_code(root: Path, text: str) -> str:
    """The text of dvc.yaml with the code of each stage listed after its other dependencies."""
    stages = yaml.safe_load(text)["stages"]
    parts = re.split(r"^  (?=\w+:$)", CODE.sub("", text), flags=re.MULTILINE)
    for number, part in enumerate(parts):
        name = part.partition(":")[0]
        if name in stages:
            lines = "".join(f"      - {file}\n" for file in code_of(root, stages[name]))
            parts[number] = re.sub(
                r"(^    deps:\n(?:      - .*\n)*)", rf"\g<1>{lines}", part, flags=re.MULTILINE
            )
    return "  ".join(parts)


def main(root: Path = Path(), *, check: bool = False) -> int:
    """Write dvc.yaml; with `check` write nothing, and return 1 with a message if it is stale."""
    text = (root / PIPELINE).read_text(encoding="utf-8")
    current = with_code(root, text)
    if check and current != text:
        sys.stderr.write("dvc.yaml does not list the code that its stages import: `make readme`\n")
        return 1
    if not check:
        (root / PIPELINE).write_text(current, encoding="utf-8")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tools.dependencies", description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where dvc.yaml is stale")
    sys.exit(main(check=parser.parse_args().check))
