"""Outputs that appear whole or not at all, and what keeps them from being written."""

import contextlib
import errno
import itertools
import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)

# Scratch space outside DVC: locks, timings, checkpoints, outputs in the making.
WORK = Path(".work")

# What libraries say when the disk is full and they give no error number: safetensors repeats the
# system's message, torch says that a write failed or that its archive is too short, NumPy how many
# of the numbers it wrote.
_FULL = re.compile(
    r"no space left|quota exceeded|file write failed|inline_container.*unexpected pos"
    r"|\d+ requested and \d+ written",
    re.IGNORECASE,
)
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def output(path: Path, root: Path) -> Iterator[Path]:
    """Yield a scratch path that becomes `path` (file or folder) when the block succeeds.

    On failure `path` stays as it was and the scratch is removed; the old output goes when the new
    one is in its place. A killed process leaves its scratch under .work/making, where the next run
    that writes the same output removes it.
    """
    scratch = root / WORK / "making" / "+".join(path.relative_to(root).parts)
    remove(scratch)
    scratch.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield scratch
        path.parent.mkdir(parents=True, exist_ok=True)
        if scratch.parent.stat().st_dev == path.parent.stat().st_dev:
            _replace(scratch, path)
        else:
            _replace_on_another_disk(scratch, path)
    except BaseException:
        remove(scratch)
        raise


def _replace_on_another_disk(scratch: Path, path: Path) -> None:
    """Copy `scratch` to the disk of `path` first: only within a disk is a rename all or nothing."""
    near = path.with_name(f".{path.name}.making")
    remove(near)
    try:
        shutil.move(scratch, near)
        _replace(near, path)
    except BaseException:
        remove(near)
        raise


def _replace(scratch: Path, path: Path) -> None:
    """Rename `scratch` to `path`, which may exist; where that fails `path` is as it was."""
    if not scratch.is_dir() and not path.is_dir():
        scratch.replace(path)
        return
    names = (scratch.with_name(f"{scratch.name}.old{number or ''}") for number in itertools.count())
    old = next(name for name in names if _removed(name))
    try:
        if os.path.lexists(path):
            path.rename(old)
        scratch.rename(path)
    except BaseException:
        if os.path.lexists(old) and not os.path.lexists(path):
            old.rename(path)
        raise
    if not _removed(old):
        log.warning("%s is written; the old one could not be removed and lies in %s", path, old)


def _removed(path: Path) -> bool:
    """Remove a file or a folder; whether it is gone."""
    with contextlib.suppress(OSError):
        remove(path)
    return not os.path.lexists(path)


def writing_problem(error: BaseException, root: Path) -> str:
    """What keeps a stage from writing, and what to do about it; empty for any other error.

    Args:
        error: As the stage raised it.
        root: The folder that the stage works in.
    """
    if is_disk_full(error):
        return (
            f"the disk of {root.resolve()} is full: free some space, then run again; checkpoints "
            f"written so far are kept in {WORK}"
        )
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _NOT_ALLOWED and cause.filename:
            return (
                f"{cause.filename}: {cause.strerror}: allow this user to write there (chmod, "
                "chattr -i, or a disk that is not mounted read-only), then run again"
            )
        cause = cause.__cause__
    return ""


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, says that the disk is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if _FULL.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
