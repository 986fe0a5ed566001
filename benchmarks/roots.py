"""Folders in which a benchmark runs the pipeline's stages, beside the one it was started in."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import yaml

import stages

ROOT = Path(__file__).parents[1]


def share(paths: Iterable[str | Path], root: Path, folder: Path) -> None:
    """Link what stands in `root` into `folder`, where it is not there yet."""
    for path in paths:
        link = folder / path
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to((root / path).resolve())


def write_params(content: dict, folder: Path) -> None:
    """Write params.yaml."""
    text = yaml.safe_dump(content, sort_keys=False)
    (folder / "params.yaml").write_text(text, encoding="utf-8")


def run_stage(name: str, folder: Path) -> None:
    """Run a stage of this code in `folder`, in a process of its own."""
    command = [sys.executable, "-m", *stages.command(name)]
    subprocess.run(command, check=True, cwd=folder, env=environment())


def environment(code: Path = ROOT) -> dict[str, str]:
    """This process's, with its Python first on the path, and the project's code that `code` holds.

    What the Makefile sets is set too.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    folders = [str(code), *filter(None, [os.environ.get("PYTHONPATH")])]
    made = {"GOMP_SPINCOUNT": "10000", "PYTHONHASHSEED": "0", "TOKENIZERS_PARALLELISM": "false"}
    return os.environ | made | {"PATH": path, "PYTHONPATH": os.pathsep.join(folders)}
