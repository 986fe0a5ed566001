"""The stages of dvc.yaml, one module each, run as `python -m stages.NAME`."""

import sys

from pagefinder.runtime import interrupts

# Python sets argv[0] to this while it looks for the module of `python -m stages.NAME`. All other
# imports follow: they take seconds, in which Ctrl-C should not print where it came.
if sys.argv[0] == "-m":
    interrupts.end_imports_at_once()

import contextlib
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from pagefinder import params_file
from pagefinder.errors import InputError
from pagefinder.params import Params
from pagefinder.runtime import outputs, processes, running, scratch

log = logging.getLogger(__name__)

# Must be set before torch is loaded. Threads that spin long while they wait make a stage many times
# slower on a busy machine; threads that sleep at once lose a quarter of the speed on an idle one.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
# Batches of differing sizes would leave a card's memory in pieces that fit nothing.
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")

# The project's folder; a stage may work in another one.
HOME = Path(__file__).parents[1]


def pipeline() -> dict[str, Any]:
    """The stages of dvc.yaml by name."""
    content = yaml.safe_load((HOME / "dvc.yaml").read_text(encoding="utf-8"))
    stages: dict[str, Any] = content["stages"]
    return stages


def command(stage: str) -> list[str]:
    """Module and arguments of a stage's command in dvc.yaml, e.g. ["stages.encode", "base"]."""
    words: list[str] = pipeline()[stage]["cmd"].split()
    return words[2:]


def code(stage: str) -> list[Path]:
    """The files that decide a stage's result beside params and data: code and requirements.lock.

    The code is what dvc.yaml lists among the stage's deps, so that DVC and the resuming of an
    interrupted stage use one list.
    """
    deps = pipeline()[stage]["deps"]
    listed = [dep for dep in deps if dep.startswith(("stages/", "pagefinder/"))]
    return [HOME / name for name in (*listed, "requirements.lock")]


def resume_folder(stage: str, knobs: object, inputs: Iterable[Path], root: Path) -> Path:
    """The folder of a stage's unfinished work with these knobs, inputs and code.

    Args:
        stage: Name of the stage in dvc.yaml.
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
    """Run a stage's `main` on the params of `root`; a user's mistake ends in one line of the log.

    `stage` is its name in dvc.yaml; left out where that is the module's name.

    A `distributed` stage runs in `compute.processes` processes. The first holds the stage's lock
    and writes its outputs; the others wait until it has the lock.
    """
    running.configure_logging()
    module = Path(main.__code__.co_filename).stem
    name = stage or module
    try:
        interrupts.take_over()
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
        log.error(interrupts.HINT, name)
        sys.exit(interrupts.EXIT_CODE)
    except Exception as error:
        mend = outputs.writing_problem(error, root)
        if not mend:
            raise
        log.error("error: %s", mend)
        sys.exit(1)
    finally:
        interrupts.end_children()
