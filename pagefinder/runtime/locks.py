"""Locks that one process or thread at a time holds, and that go with their process."""

import contextlib
import fcntl
import logging
import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger(__name__)

# The system's locks are a process's: its threads take turns by these. A thread that waits may not
# even open the file, since closing it would let go of the lock that another one holds.
_turns: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)


@contextlib.contextmanager
def held(path: Path, name: str, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock file `path`, which names the process, within the block.

    It goes with its process, even a killed one. Child processes do not inherit it, so one that
    lives on for seconds blocks nobody.

    Args:
        path: Of the file; its folder is made.
        name: Of what it guards, for the log.
        wait: Until it is free.

    Yields:
        Whether it is held: False where another one has it and `wait` is false.

    Raises:
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    turn = _turns[path.resolve()]
    if not turn.acquire(blocking=False):
        _log(name, str(os.getpid()), wait=wait)
        if not wait:
            yield False
            return
        turn.acquire()
    try:
        with path.open("a+") as file:
            if not _taken(file.fileno(), wait=False):
                file.seek(0)
                _log(name, file.read().strip(), wait=wait)
                if not _taken(file.fileno(), wait=wait):
                    yield False
                    return
            file.seek(0)
            file.truncate()
            file.write(str(os.getpid()))
            file.flush()
            yield True
    finally:
        turn.release()


def _log(name: str, process: str, *, wait: bool) -> None:
    does = "waiting for process %s, which works on it" if wait else "process %s works on it"
    log.warning(f"%s: {does}", name, process)


def _taken(file: int, *, wait: bool) -> bool:
    """Take the lock of an open file, after waiting for it or at once; whether that worked."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (BlockingIOError, PermissionError):  # systems differ in which one they raise
        return False
    return True
