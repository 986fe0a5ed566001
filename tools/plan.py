"""Predict memory, hours and disk from a few steps of a profile: `python -m tools.plan [PROFILE]`.

It is no stage of the pipeline, writes only log lines, and needs no prepared corpus.
"""

import argparse
import logging
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from pagefinder import params_file
from pagefinder.data.corpus import Corpus
from pagefinder.layout import CORPUS, EMBEDDER
from pagefinder.models.device import choose_device
from pagefinder.models.opening import open_embedder, open_reranker
from pagefinder.models.visual_tokens import check_budget
from pagefinder.params import Params
from pagefinder.runtime import disk, outputs
from pagefinder.training.arguments import TrainingRun, schedule
from stages import run
from tools import room
from tools.measuring import (
    measure_encoding,
    measure_reranker_training,
    measure_scoring,
    measure_training,
)
from tools.predicting import (
    Costs,
    RerankerCosts,
    measure_costs,
    pair_counts,
    reranker_seconds,
    train_seconds,
)
from tools.synthetic import sampled_pairs, sampled_rows, synthetic_corpus, synthetic_rows

log = logging.getLogger(__name__)

STEPS = 3
# The reference data set: train rows of a query, its page and four negatives, which are distinct
# pages at most; an eval corpus beside them; images as they are published.
REFERENCE_ROWS, REFERENCE_NEGATIVES = 10_000, 4
REFERENCE_EVAL_QUERIES, REFERENCE_EVAL_PAGES = 300, 1_500
REFERENCE_PAGE_BYTES = 209_000


class Sizes(NamedTuple):
    """How much a profile trains on and encodes."""

    rows: int  # one for each train query and positive
    pages: int
    dev_pages: int  # scored while training
    dev_queries: int
    all_dev_queries: int
    eval_queries: int


class Prediction(NamedTuple):
    """What a run will take."""

    size: Sizes
    train_seconds: float  # of train_embedder
    encode_seconds: float  # of encode_base, and of encode_tuned
    reranker_seconds: tuple[float, float] | None  # of train_reranker and evaluate_reranker
    needs: dict[str, disk.Need]
    models: dict[str, disk.Weights]


def main(params: Params, root: Path = Path()) -> None:
    """Log peak memory, speed, visual tokens per page, predicted hours and disk."""
    prepared = (root / CORPUS).is_dir()
    if sys.argv[1:]:
        # Pages that were prepared for another profile may have the wrong size.
        prepared = prepared and sys.argv[1] == params.profile
        content = params_file.read(root / "params.yaml")
        params = params_file.parse(content | {"profile": sys.argv[1]})
    plan = predict(params, root, prepared)
    log.info("predicted for %d rows: train_embedder %s", plan.size.rows, _hours(plan.train_seconds))
    log.info(
        "predicted for %d pages: encode_base and encode_tuned %s each",
        plan.size.pages,
        _hours(plan.encode_seconds),
    )
    if plan.reranker_seconds:
        training, evaluation = map(_hours, plan.reranker_seconds)
        log.info("predicted: train_reranker %s, evaluate_reranker %s", training, evaluation)
    for line in room.lines(plan.needs, plan.models, root):
        log.info("disk: %s", line)


def predict(params: Params, root: Path, prepared: bool) -> Prediction:
    """What a run with these params will take; `prepared`: on the corpus that is there."""
    corpus = Corpus(root / CORPUS, params.base.page_content) if prepared else None
    size = sizes(params, corpus)
    # On the disk that checkpoints go to, one of which is written and timed.
    (root / outputs.WORK).mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="plan-", dir=root / outputs.WORK) as scratch:
        costs, pages_per_second = _measure(params, corpus, Path(scratch), root)
        reranker = _reranker_seconds(params, corpus, size, Path(scratch), root)
        amounts = _amounts(params, size, Path(scratch), root, prepared)
    for name, seconds in zip(costs._fields, costs, strict=True):
        log.info("%s: %.3f s", name, seconds)
    planned = schedule(params.embedder, size.rows)
    models = disk.models_of(params, root)
    return Prediction(
        size,
        train_seconds(costs, planned, size.dev_pages, size.dev_queries),
        costs.opening + size.pages / pages_per_second,
        reranker,
        disk.needs(params, amounts, models),
        models,
    )


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.2f} hours ({seconds:.0f} s)"


def _measure(
    params: Params, corpus: Corpus | None, scratch: Path, root: Path
) -> tuple[Costs, float]:
    """Encode a few pages, train a few steps, and log speed and memory.

    Returns:
        The seconds of a training's parts, and the pages that all processes encode in a second.
    """
    device_settings = choose_device(params.compute)
    scoring = choose_device(params.compute, scoring=True)
    started = time.perf_counter()
    model = open_embedder(params.base, params.pixels, device_settings, root)
    opening = time.perf_counter() - started
    # One process's share of a step is measured; the others work at the same time.
    processes, batch = params.compute.processes, params.compute.encode_batch
    knobs = params.embedder.model_copy(update={"batch": params.embedder.batch // processes})
    corpus, rows = _sample(params, corpus, knobs.batch * (STEPS + 1), scratch)
    tokens = check_budget(model, corpus.page_inputs([0])[0], params.pixels)
    log.info("visual tokens per page: %s", tokens or "unknown")
    encoded = measure_encoding(model, corpus, scoring, batch, 2 * batch)
    page_rate = encoded.per_second * processes
    log.info("encoding: %.1f pages/s, peak %.1f GiB", page_rate, encoded.peak_gib)
    training = TrainingRun(corpus, params.compute, device_settings, 0, scratch)
    trained = measure_training(model, rows, knobs, params.loss, training, STEPS, save=True)
    row_rate = trained.per_second * processes
    log.info(
        "training: %.2f rows/s (%.1f pages/s), mini-batch %s, peak %.1f GiB",
        row_rate,
        row_rate * (len(rows.columns) - 1),
        trained.mini_batch or "none",
        trained.peak_gib,
    )
    log.info("loading a batch takes %.0f%% of computing its step", 100 * trained.loading)
    return measure_costs(model, training, opening, trained, knobs.batch), page_rate


def _reranker_seconds(
    params: Params, corpus: Corpus | None, size: Sizes, scratch: Path, root: Path
) -> tuple[float, float] | None:
    """Seconds of train_reranker and evaluate_reranker, from a few steps and scores; None without.

    `corpus` is the prepared one; without it the synthetic one of `_measure` is used. A reranker
    that begins as the tuned embedder is measured on the base.
    """
    knobs = params.reranker
    if not knobs.model:
        return None
    if knobs.model == str(EMBEDDER):
        knobs = knobs.model_copy(
            update={"model": params.base.model, "revision": params.base.revision}
        )
    corpus = replace(corpus or Corpus(scratch / "corpus"), page_content=knobs.page_content)
    settings = [choose_device(params.compute, scoring=scoring) for scoring in (True, False)]
    started = time.perf_counter()
    model = open_reranker(knobs, params.pixels, settings[0], root)
    opening = time.perf_counter() - started
    counts = pair_counts(knobs, size.rows, size.all_dev_queries, size.eval_queries)
    share = knobs.model_copy(update={"batch": knobs.batch // params.compute.processes})
    eval_pages = max(1, len(corpus.page_rows("eval")) or REFERENCE_EVAL_PAGES)
    pairs = sampled_pairs(corpus, 4 * params.compute.encode_batch, counts.scored / 2 / eval_pages)
    at_once = params.compute.encode_batch
    scored = measure_scoring(model, corpus, pairs.query("split == 'train'"), settings[0], at_once)
    log.info("reranking: %.1f pairs/s, peak %.1f GiB", scored.per_second, scored.peak_gib)
    training = TrainingRun(corpus, params.compute, settings[1], 0, scratch / "reranker")
    pairs = sampled_pairs(corpus, share.batch * (STEPS + 1), 1)
    trained = measure_reranker_training(model, pairs, share, training, STEPS)
    log.info("reranker: %.1f pairs/s in training", trained.per_second * params.compute.processes)
    costs = RerankerCosts(
        opening,
        trained.setup,
        share.batch / trained.per_second,
        trained.checkpoint,
        trained.weights,
        1 / scored.per_second,
    )
    return reranker_seconds(costs, schedule(knobs, counts.train), counts)


def _sample(
    params: Params, corpus: Corpus | None, count: int, scratch: Path
) -> tuple[Corpus, pd.DataFrame]:
    """A corpus and `count` training rows of it; without a corpus a synthetic one in `scratch`."""
    used = params.embedder.mined_negatives
    negatives = min(params.mine.negatives, params.mine.negatives if used == "all" else used)
    if corpus:
        return corpus, sampled_rows(corpus, negatives, count)
    log.info("no %s for this profile: measuring on synthetic pages of its budget", CORPUS)
    corpus = synthetic_corpus(scratch / "corpus", params.pixels, count, negatives, dev=2)
    corpus = replace(corpus, page_content=params.base.page_content)
    return corpus, synthetic_rows(count, negatives)


def sizes(params: Params, corpus: Corpus | None) -> Sizes:
    """Sizes of a corpus; of the reference data set where there is none yet."""
    dev_pages = params.embedder.dev_pages
    if corpus is None:
        given = REFERENCE_NEGATIVES if params.data.hub.negatives else 0
        pages = REFERENCE_ROWS * (1 + given) + REFERENCE_EVAL_PAGES
        dev = round(REFERENCE_ROWS * params.prepare.dev_share)
        return Sizes(REFERENCE_ROWS, pages, dev_pages, dev_pages, dev, REFERENCE_EVAL_QUERIES)
    rows = sum(len(pages) for pages in corpus.positives("train").values())
    dev_pages = min(dev_pages, len(corpus.page_rows("dev")))
    dev, held_out = (len(corpus.positives(split)) for split in ("dev", "eval"))
    return Sizes(rows, len(corpus.pages), dev_pages, min(dev_pages, dev), dev, held_out)


def _amounts(
    params: Params, size: Sizes, scratch: Path, root: Path, prepared: bool
) -> disk.Amounts:
    """What a run works on: as prepared, else as many pages as `size` says, each like the sample."""
    if prepared:
        return disk.amounts_of(params, root)
    sample = Corpus(scratch / "corpus")
    page_bytes = disk.folder_bytes([scratch / "corpus"]) / len(sample.pages)
    return disk.Amounts(
        source_bytes=size.pages * REFERENCE_PAGE_BYTES,
        corpus_bytes=round(size.pages * page_bytes),
        texts_and_pages=size.pages + size.rows + REFERENCE_EVAL_QUERIES,
        eval_queries=REFERENCE_EVAL_QUERIES,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tools.plan", description=__doc__)
    parser.add_argument("profile", nargs="?", help="default: the one in params.yaml")
    parser.parse_args()  # `main` takes the profile from the command line itself
    run(main)
