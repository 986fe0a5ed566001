"""Say what a whole training will take, from what was measured of its parts."""

import math
import time
from typing import NamedTuple

import numpy as np
from sentence_transformers import SentenceTransformer

from pagefinder.models.encoding import encode_pages, encode_queries
from pagefinder.training.arguments import TrainingRun
from tools.measuring import Speed


class Costs(NamedTuple):
    """Seconds of what a training stage is made of."""

    opening: float  # of the model; its best checkpoint is opened at the end
    setup: float  # until the first step
    step: float
    checkpoint: float
    decode: float  # a dev page, once
    page: float  # encoding a dev page, at each evaluation
    query: float


def measure_costs(
    model: SentenceTransformer, run: TrainingRun, opening: float, speed: Speed, batch: int
) -> Costs:
    """Seconds of each part of a training stage, to predict its length.

    Encoding is timed here, the rest comes from `opening` and `speed`.

    Args:
        model: That was trained.
        run: The training; its corpus' first pages and queries stand for those of dev.
        opening: Seconds that opening the model took.
        speed: As `measure_training` returns it when it also timed a checkpoint.
        batch: Training rows of a step.
    """
    corpus, at_once = run.corpus, run.compute.encode_batch
    pages = np.arange(min(2 * at_once, len(corpus.pages)))
    texts = corpus.queries["text"].tolist()[: 2 * at_once]
    start = time.perf_counter()
    corpus.images(pages)  # the evaluator holds those of dev, decoded, from the start
    decoded = time.perf_counter()
    # In training precision, as the evaluator encodes dev during training.
    encode_pages(model, corpus, pages, run.device_settings, at_once)
    encoded = time.perf_counter()
    encode_queries(model, texts, run.device_settings, at_once)
    end = time.perf_counter()
    return Costs(
        opening=opening,
        setup=speed.setup,
        step=batch / speed.per_second,
        checkpoint=speed.checkpoint,
        decode=(decoded - start) / len(pages),
        page=(encoded - decoded) / len(pages),
        query=(end - encoded) / len(texts),
    )


def train_seconds(costs: Costs, steps: int, interval: int, pages: int, queries: int) -> float:
    """Seconds that training an embedder takes.

    Args:
        costs: As measured.
        steps: To be trained.
        interval: After so many steps each, and after the last, dev is scored and a checkpoint
            written.
        pages: Of dev, encoded at each evaluation.
        queries: Of dev, likewise.
    """
    evaluations = math.ceil(steps / interval)
    dev = pages * costs.page + queries * costs.query
    # Dev is scored before the first step too, and the best model is opened and written at the end.
    return (
        2 * costs.opening
        + costs.setup
        + pages * costs.decode
        + steps * costs.step
        + (evaluations + 1) * (dev + costs.checkpoint)
    )
