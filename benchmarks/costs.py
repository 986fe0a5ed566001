"""Seconds and memory of one call, for other benchmarks."""

import resource
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Cost(NamedTuple):
    """What a call took."""

    seconds: float
    processor: float  # seconds of all threads, and of child processes that have ended


def cost(work: Callable[[], object]) -> Cost:
    """What one call takes."""
    started, used = time.perf_counter(), _processor_seconds()
    work()
    return Cost(time.perf_counter() - started, _processor_seconds() - used)


def _processor_seconds() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


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
