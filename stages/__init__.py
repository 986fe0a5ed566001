"""The stages of dvc.yaml, one module each, run as `python -m stages.NAME`."""

import contextlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from pagefinder import launching, params, work
from pagefinder.errors import InputError
from pagefinder.params import Params

log = logging.getLogger(__name__)

# Before torch is loaded: threads that spin long while they wait make a stage many times slower on a
# machine that has other work; those that sleep at once cost a quarter of an idle one's speed.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

CORPUS = Path("data/corpus")
SOURCE = Path("data/source")
QUARANTINE = Path("data/quarantine.parquet")
BASE_VECTORS = Path("data/embeddings/base")
TUNED_VECTORS = Path("data/embeddings/tuned")
COMPARE_VECTORS = Path("data/compare")
NEGATIVES = Path("data/negatives.parquet")
CANDIDATES = Path("data/candidates.parquet")
AUDIT = Path("data/audit")
RUNS = Path("data/runs")
PER_QUERY = Path("data/per_query")
EMBEDDER = Path("models/embedder")
RERANKER = Path("models/reranker")
RELEASE = Path("models/release")
METRICS = Path("metrics")
PLOTS = Path("metrics/plots")
REPORT = Path("metrics/report")


def run(
    main: Callable[[Params, Path], None], root: Path = Path(), *, distributed: bool = False
) -> None:
    """Run a stage's `main` on the params of `root`; a user's mistake ends in one line.

    A `distributed` stage runs in `compute.processes` processes. The first holds the stage's lock
    and writes its outputs; the others wait until it has the lock.
    """
    work.configure_logging()
    name = Path(main.__code__.co_filename).stem
    try:
        checked = params.load(root / "params.yaml")
        if distributed:
            launching.relaunch(f"stages.{name}", checked.compute.processes)
        with launching.joined():
            alone = work.stage(name, root) if launching.is_first() else contextlib.nullcontext()
            with alone:
                launching.wait()
                main(checked, root)
    except InputError as error:
        log.error("error: %s", error)
        sys.exit(1)
    except KeyboardInterrupt:
        log.error("%s: interrupted; the next `dvc repro` goes on from here", name)
        sys.exit(130)
    except Exception as error:
        if not work.is_disk_full(error):
            raise
        log.error(
            "error: the disk of %s is full: free some space, then run again; checkpoints written "
            "so far are kept in %s",
            root.resolve(),
            work.WORK,
        )
        sys.exit(1)
