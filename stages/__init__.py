"""The stages of dvc.yaml, one module each, run as `python -m stages.NAME`."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

from pagefinder import params, work
from pagefinder.errors import InputError
from pagefinder.params import Params

log = logging.getLogger(__name__)

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


def run(main: Callable[[Params, Path], None], root: Path = Path()) -> None:
    """Run a stage's `main` on the params of `root`; a user's mistake ends in one line."""
    work.configure_logging()
    name = Path(main.__code__.co_filename).stem
    try:
        checked = params.load(root / "params.yaml")
        with work.stage(name, root):
            main(checked, root)
    except InputError as error:
        log.error("error: %s", error)
        sys.exit(1)
    except KeyboardInterrupt:
        log.error("%s: interrupted; the next `dvc repro` goes on from here", name)
        sys.exit(130)
