"""Ctrl-C: one line for the person at the keyboard, and no process that outlives its stage.

Nothing is imported here that takes time, in which Ctrl-C would still be a traceback.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

HINT = "%s: interrupted; the next `dvc repro` goes on from here"
# What a shell reports of a command that Ctrl-C ended.
EXIT_CODE = 130


def end_imports_at_once() -> None:
    """Let Ctrl-C end the process with one line while it only imports modules.

    An exception there would be a long traceback, and some libraries turn it into an error of their
    own. `take_over` ends this. A process that ignores Ctrl-C, as a shell's background job does,
    goes on doing so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def take_over() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(number: int, frame: FrameType | None) -> None:
    """End the process; of several that torchrun started the first says so."""
    module = next((word for word in sys.orig_argv if word.startswith("stages.")), "stage")
    if os.environ.get("RANK", "0") == "0":
        os.write(sys.stderr.fileno(), f"{HINT % module.removeprefix('stages.')}\n".encode())
    os._exit(EXIT_CODE)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Hold Ctrl-C back within the block; processes that it starts never see one.

    The terminal sends Ctrl-C to all processes of a stage. Only the first one acts on it: it ends
    the others.
    """
    from multiprocessing import resource_tracker

    # Else it starts with the first process, and lets Ctrl-C through again.
    resource_tracker.ensure_running()
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def end_children() -> None:
    """End the processes that this one started and that still run."""
    import multiprocessing

    for child in multiprocessing.active_children():
        child.terminate()


def end_with_parent() -> None:
    """Let this process end when the one that started it is gone, even killed.

    It would go on with tasks whose results nobody reads, and write files beside the next run.
    """
    from multiprocessing import connection, parent_process

    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            connection.wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
