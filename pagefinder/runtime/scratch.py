"""Folders under .work in which an interrupted stage finds what it had done."""

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path

from pagefinder.runtime.outputs import WORK, remove

log = logging.getLogger(__name__)


def folder(name: str, knobs: object, inputs: Iterable[Path], root: Path) -> Path:
    """The folder where a stage may go on from: .work/NAME-DIGEST, outside DVC.

    The digest covers the knobs, the content of every input (data, code, requirements.lock), so that
    another variant never picks up a stale checkpoint. Inputs may lie anywhere: files go by their
    names inside the input.
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
    """Path, size and time of change of every file: reading gigabytes to hash them would be slow."""
    stats = [(str(path.resolve()), path.stat()) for path in files]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def discard(folder: Path) -> None:
    """Remove a stage's checkpoints once its output is written, and say what they took."""
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if folder.exists():
        log.info("removing %s: %.0f MiB of checkpoints", folder.name, size / 2**20)
    remove(folder)
