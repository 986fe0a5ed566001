"""Seconds and memory of one call, for the benchmarks of search and of mining."""

import threading
import time
from collections.abc import Callable
from pathlib import Path


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def added_mib(work: Callable[[], object]) -> int:
    """MiB of this process's own memory at its peak during a call, less what it had before."""
    stop, before = threading.Event(), _anonymous_mib()
    peak = [before]

    def watch() -> None:
        while not stop.wait(0.005):
            peak[0] = max(peak[0], _anonymous_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    stop.set()
    watcher.join()
    return peak[0] - before


def _anonymous_mib() -> int:
    """Memory that is not a mapped file's, as Linux counts it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) // 1024
