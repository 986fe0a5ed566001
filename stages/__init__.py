"""The stages of dvc.yaml, one module each, run as `python -m stages.NAME`."""

import sys
import time

from pagefinder.runtime import imports, interrupts

BEGAN = time.time()
# Python sets argv[0] to this while it looks for the module of `python -m stages.NAME`. All other
# imports follow: they take seconds, in which Ctrl-C should not print where it came.
if sys.argv[0] == "-m":
    interrupts.end_imports_at_once()
    imports.begin()

import configparser
import contextlib
import fcntl
import logging
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from pagefinder import params_file
from pagefinder.errors import InputError
from pagefinder.params import Params
from pagefinder.runtime import disk, outputs, processes, running, scratch

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


def shared_work(root: Path) -> Path:
    """The folder .work of the project that experiments share.

    DVC runs queued and `--temp` experiments in folders of their own, which it removes afterwards;
    DVC_ROOT then names the project that they belong to.
    """
    return Path(os.environ.get("DVC_ROOT") or root) / outputs.WORK


def dvc_cache(root: Path) -> Path:
    """The folder in which DVC caches the outputs of `root`."""
    return root / ".dvc" / _dvc_setting("dir", "cache", root)


def dvc_copies(root: Path) -> bool:
    """Whether DVC's cache takes as much again of the disk of `root` as the outputs.

    It does not where it lies on another disk, or where outputs are links to it or share its blocks.
    """
    kind = _dvc_setting("type", "reflink,copy", root).split(",")[0].strip()
    cache = dvc_cache(root)
    elsewhere = cache.is_dir() and cache.stat().st_dev != root.stat().st_dev
    if not (root / ".dvc").is_dir() or elsewhere or kind in ("hardlink", "symlink"):
        return False
    return kind != "reflink" or not _shares_blocks(root / outputs.WORK)


def _dvc_setting(name: str, default: str, root: Path) -> str:
    """A setting of the section `cache` of DVC's config; `default` where it is not set."""
    config = configparser.ConfigParser(interpolation=None)
    config.read([root / ".dvc/config", root / ".dvc/config.local"])
    return config.get("cache", name, fallback=default).strip("\"'")


def _shares_blocks(folder: Path) -> bool:
    """Whether the file system of a folder makes copies that share their blocks (reflinks)."""
    if sys.platform == "darwin":
        return True
    clone = 0x40049409  # FICLONE of linux/fs.h
    folder.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryFile(dir=folder) as source,
        tempfile.TemporaryFile(dir=folder) as target,
        contextlib.suppress(OSError),
    ):
        source.write(b"x")
        source.flush()
        fcntl.ioctl(target.fileno(), clone, source.fileno())
        return True
    return False


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
    imports.end()
    importing = time.time() - BEGAN
    running.configure_logging()
    module = Path(main.__code__.co_filename).stem
    name = stage or module
    try:
        interrupts.take_over()
        checked = params_file.load(root / "params.yaml")
        if distributed:
            processes.relaunch(f"stages.{module}", checked.compute.processes)
        with processes.joined():
            alone = (
                running.stage(name, root, importing)
                if processes.is_first()
                else contextlib.nullcontext()
            )
            with alone:
                processes.wait()
                if processes.is_first():
                    disk.check(name, checked, root, dvc_copies(root))
                main(checked, root)
    except InputError as error:
        log.error("error: %s", error)
        sys.exit(1)
    except KeyboardInterrupt:
        if processes.is_first():
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
