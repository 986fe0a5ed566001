"""The stages of dvc.yaml, one module each, run as `python -m stages.NAME`."""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from pagefinder import params_file
from pagefinder.errors import InputError
from pagefinder.params import Params
from pagefinder.runtime import outputs, processes, running, scratch

log = logging.getLogger(__name__)

# Before torch is loaded: threads that spin long while they wait make a stage many times slower on a
# machine that has other work; those that sleep at once cost a quarter of an idle one's speed.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
# Batches of differing sizes would leave a card's memory in pieces that fit nothing.
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")

# Where this code lies, whatever folder a stage works in.
HOME = Path(__file__).parents[1]


def pipeline() -> dict[str, Any]:
    """The stages of dvc.yaml by name."""
    content = yaml.safe_load((HOME / "dvc.yaml").read_text(encoding="utf-8"))
    stages: dict[str, Any] = content["stages"]
    return stages


def command(stage: str) -> list[str]:
    """Module and arguments that a stage runs, e.g. ["stages.encode", "base"]."""
    words: list[str] = pipeline()[stage]["cmd"].split()
    return words[2:]


def code(stage: str) -> list[Path]:
    """What decides a stage's result apart from params and data: its code, and the library versions.

    The modules are those that dvc.yaml lists among the stage's deps: one list for DVC and for what
    an interrupted stage goes on from.
    """
    deps = pipeline()[stage]["deps"]
    listed = [dep for dep in deps if dep.startswith(("stages/", "pagefinder/"))]
    return [HOME / name for name in (*listed, "requirements.lock")]


def resume_folder(stage: str, knobs: object, inputs: Iterable[Path], root: Path) -> Path:
    """Where an interrupted run of a stage left what it had done with these knobs, inputs and code.

    Args:
        stage: As dvc.yaml calls it.
        knobs: The params that decide the result.
        inputs: Files and folders, relative to `root` or absolute.
        root: The folder that the stage works in.
    """
    return scratch.folder(stage, knobs, [*(root / path for path in inputs), *code(stage)], root)


def run(
    main: Callable[[Params, Path], None],
    root: Path = Path(),
    *,
    stage: str = "",
    distributed: bool = False,
) -> None:
    """Run a stage's `main` on the params of `root`; a user's mistake ends in one line.

    `stage` is its name in dvc.yaml, where its module bears another.

    A `distributed` stage runs in `compute.processes` processes. The first holds the stage's lock
    and writes its outputs; the others wait until it has the lock.
    """
    running.configure_logging()
    module = Path(main.__code__.co_filename).stem
    name = stage or module
    try:
        checked = params_file.load(root / "params.yaml")
        if distributed:
            processes.relaunch(f"stages.{module}", checked.compute.processes)
        with processes.joined():
            alone = running.stage(name, root) if processes.is_first() else contextlib.nullcontext()
            with alone:
                processes.wait()
                main(checked, root)
    except InputError as error:
        log.error("error: %s", error)
        sys.exit(1)
    except KeyboardInterrupt:
        log.error("%s: interrupted; the next `dvc repro` goes on from here", name)
        sys.exit(130)
    except Exception as error:
        if not outputs.is_disk_full(error):
            raise
        log.error(
            "error: the disk of %s is full: free some space, then run again; checkpoints written "
            "so far are kept in %s",
            root.resolve(),
            outputs.WORK,
        )
        sys.exit(1)
