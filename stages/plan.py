"""Run a few steps of the chosen profile and predict memory and hours: `python -m stages.plan`.

No stage of the pipeline: it writes nothing but log lines, and needs no prepared corpus.
"""

import logging
import tempfile
from pathlib import Path

import pandas as pd

from pagefinder import models, planning
from pagefinder.corpus import Corpus
from pagefinder.params import Params
from stages import CORPUS, run

log = logging.getLogger(__name__)

STEPS = 3
# Sizes for which hours are predicted where there is no corpus yet: the reference's.
REFERENCE_ROWS, REFERENCE_PAGES = 10_000, 11_500


def main(params: Params, root: Path = Path()) -> None:
    """Log peak memory, speed, visual tokens per page, and predicted hours."""
    hardware = models.settle(params.compute)
    model = models.open_embedder(params.base, params.pixels, hardware, root)
    # One process's share of a step is measured; the others work at the same time.
    processes = params.compute.processes
    knobs = params.embedder.model_copy(update={"batch": params.embedder.batch // processes})
    with tempfile.TemporaryDirectory(prefix="plan-") as scratch:
        corpus, rows = _examples(params, root, Path(scratch), knobs.batch * (STEPS + 1))
        tokens = models.check_budget(model, corpus.image(0), params.pixels)
        batch = params.compute.encode_batch
        encoded = planning.measure_encoding(model, corpus, hardware, batch, 2 * batch)
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
    real = (root / CORPUS).is_dir()
    train_rows = len(corpus.positives("train")) if real else REFERENCE_ROWS
    pages = len(corpus.pages) if real else REFERENCE_PAGES
    page_rate, row_rate = encoded.per_second * processes, trained.per_second * processes
    dev = (1 + params.embedder.evaluations) * params.embedder.dev_pages
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


def _examples(params: Params, root: Path, scratch: Path, rows: int) -> tuple[Corpus, pd.DataFrame]:
    """The prepared corpus where there is one, else synthetic pages of the budget's size."""
    negatives = params.mine.negatives
    if (root / CORPUS).is_dir():
        corpus = Corpus(root / CORPUS)
        return corpus, planning.sampled_rows(corpus, negatives, rows)
    log.info("no %s yet: measuring on synthetic pages", CORPUS)
    corpus = planning.synthetic_corpus(scratch / "corpus", params.pixels, rows, negatives)
    return corpus, planning.synthetic_rows(rows, negatives)


if __name__ == "__main__":
    run(main)
