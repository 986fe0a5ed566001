"""Run a few steps of a profile and predict memory and hours: `python -m tools.plan [PROFILE]`.

No stage of the pipeline: it leaves nothing but log lines, and needs no prepared corpus.
"""

import logging
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from pagefinder import params as file
from pagefinder.data.corpus import Corpus
from pagefinder.layout import CORPUS
from pagefinder.models.device import choose_device
from pagefinder.models.opening import open_embedder
from pagefinder.models.visual_tokens import check_budget
from pagefinder.params import Params
from pagefinder.runtime import outputs
from stages import run
from tools import measuring, predicting

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
    device_settings = choose_device(params.compute)
    scoring = choose_device(params.compute, scoring=True)
    started = time.perf_counter()
    model = open_embedder(params.base, params.pixels, device_settings, root)
    opening = time.perf_counter() - started
    # One process's share of a step is measured; the others work at the same time.
    processes = params.compute.processes
    knobs = params.embedder.model_copy(update={"batch": params.embedder.batch // processes})
    # On the disk that checkpoints go to, one of which is written and timed.
    (root / outputs.WORK).mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="plan-", dir=root / outputs.WORK) as folder:
        scratch, count = Path(folder), knobs.batch * (STEPS + 1)
        corpus, rows = _real(params, root, count) if real else _synthetic(params, scratch, count)
        tokens = check_budget(model, corpus.image(0), params.pixels)
        batch = params.compute.encode_batch
        encoded = measuring.measure_encoding(model, corpus, scoring, batch, 2 * batch)
        trained = measuring.measure_training(
            model,
            corpus,
            rows,
            knobs,
            params.loss,
            params.compute,
            device_settings,
            STEPS,
            scratch,
            save=True,
        )
        costs = predicting.measure_costs(
            model, corpus, device_settings, batch, opening, trained, knobs.batch
        )
    page_rate, row_rate = encoded.per_second * processes, trained.per_second * processes
    log.info("visual tokens per page: %s", tokens or "unknown")
    log.info("encoding: %.1f pages/s, peak %.1f GiB", page_rate, encoded.peak_gib)
    log.info(
        "training: %.2f rows/s (%.1f pages/s), mini-batch %s, peak %.1f GiB",
        row_rate,
        row_rate * (len(rows.columns) - 1),
        trained.mini_batch or "none",
        trained.peak_gib,
    )
    log.info("loading a batch takes %.0f%% of computing its step", 100 * trained.loading)
    for name, seconds in zip(costs._fields, costs, strict=True):
        log.info("%s: %.3f s", name, seconds)
    train_rows, dev_pages, queries = _sizes(params, corpus if real else None)
    schedule = predicting.schedule(params.embedder, train_rows)
    took = predicting.train_seconds(costs, *schedule, dev_pages, queries)
    log.info(
        "predicted for %d rows: train_embedder %.2f hours (%.0f s)", train_rows, took / 3600, took
    )
    pages = len(corpus.pages) if real else REFERENCE_PAGES
    took = opening + pages / page_rate
    log.info(
        "predicted for %d pages: encode_base and encode_tuned %.2f hours (%.0f s) each",
        pages,
        took / 3600,
        took,
    )


def _sizes(params: Params, corpus: Corpus | None) -> tuple[int, int, int]:
    """Training rows, one for each query and positive, and dev pages and queries."""
    dev_pages = params.embedder.dev_pages
    if corpus is None:
        return REFERENCE_ROWS, dev_pages, dev_pages
    rows = sum(len(pages) for pages in corpus.positives("train").values())
    dev_pages = min(dev_pages, len(corpus.page_rows("dev")))
    return rows, dev_pages, min(dev_pages, len(corpus.positives("dev")))


def _real(params: Params, root: Path, count: int) -> tuple[Corpus, pd.DataFrame]:
    corpus = Corpus(root / CORPUS)
    return corpus, predicting.sampled_rows(corpus, params.mine.negatives, count)


def _synthetic(params: Params, scratch: Path, count: int) -> tuple[Corpus, pd.DataFrame]:
    log.info("no %s for this profile: measuring on synthetic pages of its budget", CORPUS)
    negatives = params.mine.negatives
    corpus = predicting.synthetic_corpus(scratch / "corpus", params.pixels, count, negatives)
    return corpus, predicting.synthetic_rows(count, negatives)


if __name__ == "__main__":
    run(main)
