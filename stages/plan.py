"""Run a few steps of a profile and predict memory and hours: `python -m stages.plan [PROFILE]`.

No stage of the pipeline: it writes nothing but log lines, and needs no prepared corpus.
"""

import logging
import sys
import tempfile
from pathlib import Path

import pandas as pd

from pagefinder import models, planning
from pagefinder import params as file
from pagefinder.corpus import Corpus
from pagefinder.params import Params
from stages import CORPUS, run

log = logging.getLogger(__name__)

STEPS = 3
# Sizes for which hours are predicted where there is no corpus yet: the reference's.
REFERENCE_ROWS, REFERENCE_PAGES = 10_000, 11_500


def main(params: Params, root: Path = Path()) -> None:
    """Log peak memory, speed, visual tokens per page, and predicted hours."""
    real = (root / CORPUS).is_dir()
    if sys.argv[1:]:
        # Pages prepared for one profile have another's wrong size.
        real = real and sys.argv[1] == params.profile
        content = file.read(root / "params.yaml")
        params = file.parse(content | {"profile": sys.argv[1]})
    hardware = models.settle(params.compute)
    scoring = models.settle(params.compute, scoring=True)
    model = models.open_embedder(params.base, params.pixels, hardware, root)
    # One process's share of a step is measured; the others work at the same time.
    processes = params.compute.processes
    knobs = params.embedder.model_copy(update={"batch": params.embedder.batch // processes})
    with tempfile.TemporaryDirectory(prefix="plan-") as scratch:
        count = knobs.batch * (STEPS + 1)
        corpus, rows = (
            _real(params, root, count) if real else _synthetic(params, Path(scratch), count)
        )
        tokens = models.check_budget(model, corpus.image(0), params.pixels)
        batch = params.compute.encode_batch
        encoded = planning.measure_encoding(model, corpus, scoring, batch, 2 * batch)
        trained = planning.measure_training(
            model,
            corpus,
            rows,
            knobs,
            params.loss,
            params.compute,
            hardware,
            STEPS,
            Path(scratch),
        )
    train_rows = len(corpus.positives("train")) if real else REFERENCE_ROWS
    pages = len(corpus.pages) if real else REFERENCE_PAGES
    page_rate, row_rate = encoded.per_second * processes, trained.per_second * processes
    dev_pages = params.embedder.dev_pages
    if real:
        dev_pages = min(dev_pages, len(corpus.page_rows("dev")))
    dev = (1 + params.embedder.evaluations) * dev_pages
    train_hours = (train_rows * params.embedder.epochs / row_rate + dev / page_rate) / 3600
    log.info("visual tokens per page: %s", tokens or "unknown")
    log.info("encoding: %.1f pages/s, peak %.1f GiB", page_rate, encoded.peak_gib)
    log.info(
        "training: %.2f rows/s (%.1f pages/s), peak %.1f GiB, %.0f%% of a step is loading",
        row_rate,
        row_rate * (len(rows.columns) - 1),
        trained.peak_gib,
        100 * trained.loading,
    )
    log.info("predicted for %d rows: train_embedder %.2f hours", train_rows, train_hours)
    log.info(
        "predicted for %d pages: encode_base and encode_tuned %.2f hours each",
        pages,
        pages / page_rate / 3600,
    )


def _real(params: Params, root: Path, count: int) -> tuple[Corpus, pd.DataFrame]:
    corpus = Corpus(root / CORPUS)
    return corpus, planning.sampled_rows(corpus, params.mine.negatives, count)


def _synthetic(params: Params, scratch: Path, count: int) -> tuple[Corpus, pd.DataFrame]:
    log.info("no %s for this profile: measuring on synthetic pages of its budget", CORPUS)
    negatives = params.mine.negatives
    corpus = planning.synthetic_corpus(scratch / "corpus", params.pixels, count, negatives)
    return corpus, planning.synthetic_rows(count, negatives)


if __name__ == "__main__":
    run(main)
