"""What every stage does around its work: log, lock, time, write each output whole or not at all."""

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import resource
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

log = logging.getLogger(__name__)

# Scratch space outside DVC: locks, timings, checkpoints, outputs in the making.
WORK = Path(".work")


def configure_logging() -> None:
    """Log to stderr with the time, and keep the libraries' chatter to warnings."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
    for noisy in (
        "httpx",
        "urllib3",
        "filelock",
        "matplotlib",
        "sentence_transformers",
        "transformers",
        "datasets",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)


@contextlib.contextmanager
def stage(name: str, root: Path) -> Iterator[None]:
    """Hold the stage's lock and append its seconds and peak memory to .work/timings/NAME.jsonl.

    A second run of the same stage waits for the first and names its process. The lock is the
    kernel's, so a dead process holds none, and the process's own: a loader process that outlives a
    kill by seconds does not inherit it.
    """
    with _locked(root / WORK / "locks" / name, name):
        started = time.time()
        log.info("%s: started", name)
        yield
        seconds = time.time() - started
        peak = max(
            resource.getrusage(who).ru_maxrss
            for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        # macOS counts bytes where Linux counts KiB.
        peak_mib = peak / 2**20 if sys.platform == "darwin" else peak / 2**10
        row = {
            "stage": name,
            "started": round(started, 1),
            "seconds": round(seconds, 1),
            "peak_mib": round(peak_mib),
        }
        timings = root / WORK / "timings"
        timings.mkdir(parents=True, exist_ok=True)
        with (timings / f"{name}.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        log.info("%s: done in %.1f s, peak memory %.0f MiB", name, seconds, peak_mib)


@contextlib.contextmanager
def _locked(path: Path, name: str) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            log.warning(
                "%s: waiting for process %s, which runs this stage", name, file.read().strip()
            )
            fcntl.lockf(file, fcntl.LOCK_EX)
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextlib.contextmanager
def output(path: Path, root: Path) -> Iterator[Path]:
    """Yield a scratch path that becomes `path` (file or folder) when the block succeeds.

    On failure nothing appears at `path` and the scratch is removed; what a killed process leaves
    lies under .work, where the next run of the same output removes it.
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
    """Whether an error, or one behind it, says that the disk is full.

    Libraries say it in their own words: safetensors passes on the system's, torch only reports that
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


def write_json(path: Path, content: object, root: Path) -> None:
    """Write nested metrics, floats rounded to 6 digits so that a diff shows only what changed."""
    with output(path, root) as scratch:
        scratch.write_text(json.dumps(_rounded(content), indent=2) + "\n", encoding="utf-8")


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return round(value, 6) if isinstance(value, float) else value


def checkpoints(name: str, knobs: object, inputs: Iterable[Path], root: Path) -> Path:
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


def discard(folder: Path) -> None:
    """Remove a stage's checkpoints once its output is written, and say what they took."""
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if folder.exists():
        log.info("removing %s: %.0f MiB of checkpoints", folder.name, size / 2**20)
    remove(folder)
