"""Around a stage's work: its log, its lock, its seconds and peak memory."""

import contextlib
import json
import logging
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pagefinder.runtime import locks
from pagefinder.runtime.outputs import WORK

log = logging.getLogger(__name__)


def configure_logging() -> None:
    """Log to stderr with the time; of talkative libraries only warnings."""
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
        stream=sys.stderr,
    )
    for noisy in (
        "httpx",
        "httpx2",
        "openai",
        "bm25s",
        "urllib3",
        "filelock",
        "matplotlib",
        "sentence_transformers",
        "transformers",
        "datasets",
    ):
        logging.getLogger(noisy).setLevel(logging.WARNING)


@contextlib.contextmanager
def stage(name: str, root: Path, imports: float = 0.0) -> Iterator[None]:
    """Hold the stage's lock and append its seconds and peak memory to .work/timings/NAME.jsonl.

    `imports` are the seconds that the process took to import its modules; they are written beside.

    A second run of the same stage waits for the first, and logs the id of the process that it waits
    for. A failed stage writes no timing.
    """
    with locks.held(root / WORK / "locks" / name, name):
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
            "imports": round(imports, 1),
            "seconds": round(seconds, 1),
            "peak_mib": round(peak_mib),
        }
        timings = root / WORK / "timings"
        timings.mkdir(parents=True, exist_ok=True)
        with (timings / f"{name}.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        log.info("%s: done in %.1f s, peak memory %.0f MiB", name, seconds, peak_mib)
