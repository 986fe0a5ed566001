"""Folders under .work in which a stage keeps unfinished work, to go on after an interruption."""

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path

from pagefinder.runtime.outputs import WORK, remove

log = logging.getLogger(__name__)


def folder(name: str, knobs: object, inputs: Iterable[Path], root: Path) -> Path:
    """The folder .work/NAME-DIGEST below `root` for a stage's unfinished work, outside DVC.

    The digest covers the knobs and the content of all inputs (data, code, requirements.lock), so
    that a changed stage never goes on from a stale checkpoint. An input is a file or a folder,
    wherever it lies: files count by their names inside the input.
    """
    digest = hashlib.blake2b(repr(knobs).encode(), digest_size=8)
    for path in inputs:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(file.relative_to(path.parent).as_posix().encode())
                with file.open("rb") as stream:
                    digest.update(hashlib.file_digest(stream, "blake2b").digest())
    return root / WORK / f"{name}-{digest.hexdigest()}"


def file_states(files: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Absolute path, size in bytes and time of change in ns of each file.

    To hash gigabytes would be slow.
    """
    stats = [(str(path.resolve()), path.stat()) for path in files]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def discard(folder: Path) -> None:
    """Remove the folder of a stage's checkpoints, and log its size."""
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if folder.exists():
        log.info("removing %s: %.0f MiB of checkpoints", folder.name, size / 2**20)
    remove(folder)
