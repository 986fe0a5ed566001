"""Outputs that appear whole or not at all, and what a full disk looks like."""

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

# Scratch space outside DVC: locks, timings, checkpoints, outputs in the making.
WORK = Path(".work")


@contextlib.contextmanager
def output(path: Path, root: Path) -> Iterator[Path]:
    """Yield a scratch path that becomes `path` (file or folder) when the block succeeds.

    On failure `path` stays as it was and the scratch is removed. A killed process leaves its
    scratch under .work/making, where the next run that writes the same output removes it.
    """
    scratch = root / WORK / "making" / "+".join(path.relative_to(root).parts)
    remove(scratch)
    scratch.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield scratch
    except BaseException:
        remove(scratch)
        raise
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(path)
    shutil.move(scratch, path)


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or one that caused it, says that the disk is full.

    Libraries word it differently: safetensors repeats the system's message, torch only reports that
    a write failed.
    """
    while error is not None:
        words = str(error).lower()
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "no space left" in words or "file write failed" in words:
            return True
        error = error.__cause__ or error.__context__
    return False


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
