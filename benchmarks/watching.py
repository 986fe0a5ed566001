"""The most of something that changes while a block runs."""

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def highest(measure: Callable[[], int], every: float) -> Iterator[list[int]]:
    """Within the block, keep the most that `measure` has given, in a list of one.

    Args:
        measure: Called at the start, and in a thread of its own until the block ends.
        every: Seconds between two calls.
    """
    most, stop = [measure()], threading.Event()

    def watch() -> None:
        while not stop.wait(every):
            most[0] = max(most[0], measure())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        stop.set()
        watcher.join()
