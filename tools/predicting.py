"""Predict how long a training stage takes from the measured seconds of its parts."""

import math
import time
from typing import NamedTuple

import numpy as np
from sentence_transformers import SentenceTransformer

from pagefinder.models.encoding import encode_pages, encode_queries
from pagefinder.params import Reranker
from pagefinder.training.arguments import Schedule, TrainingRun
from tools.measuring import Speed


class Costs(NamedTuple):
    """Seconds of each part of a training stage."""

    opening: float  # of the model; its best checkpoint is opened at the end
    setup: float  # until the first step
    step: float
    checkpoint: float
    weights: float  # writing the weights alone
    decode: float  # a dev page, once
    page: float  # encoding a dev page, at each evaluation
    query: float


def measure_costs(
    model: SentenceTransformer, run: TrainingRun, opening: float, speed: Speed, batch: int
) -> Costs:
    """Seconds of each part of a training stage, to predict its length.

    Encoding is timed here, the rest comes from `opening` and `speed`.

    Args:
        model: The model that was trained.
        run: The training; the first pages and queries of its corpus are timed in place of dev's.
        opening: Seconds that opening the model took.
        speed: As `measure_training` returns it when it also timed a checkpoint.
        batch: Training rows per step.
    """
    corpus, at_once = run.corpus, run.compute.encode_batch
    pages = np.arange(min(2 * at_once, len(corpus.pages)))
    texts = corpus.queries["text"].tolist()[: 2 * at_once]
    start = time.perf_counter()
    corpus.page_inputs(pages)  # the evaluator holds those of dev, decoded, from the start
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
        weights=speed.weights,
        decode=(decoded - start) / len(pages),
        page=(encoded - decoded) / len(pages),
        query=(end - encoded) / len(texts),
    )


def train_seconds(costs: Costs, schedule: Schedule, pages: int, queries: int) -> float:
    """Seconds that training an embedder takes.

    Args:
        costs: As `measure_costs` returns them.
        schedule: Steps, dev scores and checkpoints of the training.
        pages: Number of dev pages that are encoded at each evaluation.
        queries: Number of dev queries that are encoded at each evaluation.
    """
    evaluations = math.ceil(schedule.steps / schedule.evaluation_steps)
    checkpoints = math.ceil(schedule.steps / schedule.checkpoint_steps)
    dev = pages * costs.page + queries * costs.query
    # Dev is scored before the first step too, and the best model is opened and written at the end.
    # Each score after it is taken for the best so far, whose weights are written.
    return (
        2 * costs.opening
        + costs.setup
        + pages * costs.decode
        + schedule.steps * costs.step
        + (evaluations + 1) * (dev + costs.weights)
        + checkpoints * costs.checkpoint
    )


class RerankerCosts(NamedTuple):
    """Seconds of each part of a reranker's training and evaluation."""

    opening: float
    setup: float  # until the first step
    step: float
    checkpoint: float
    weights: float  # writing the weights alone
    pair: float  # scoring a query-page pair


class PairCounts(NamedTuple):
    """How many pairs the stages of a reranker work on."""

    train: int
    dev: int  # at each evaluation of the training
    scored: int  # by evaluate_reranker


def pair_counts(knobs: Reranker, positives: int, dev_queries: int, eval_queries: int) -> PairCounts:
    """The most pairs that a reranker's stages work on.

    Args:
        knobs: How many negatives, and how deep it reranks.
        positives: Pairs of a train query and its page.
        dev_queries: All dev queries.
        eval_queries: All eval queries.
    """
    depth, deepest = knobs.compared_depth, max(knobs.depths)
    fusion = min(knobs.fusion_queries, dev_queries) * depth
    return PairCounts(
        train=positives * (1 + knobs.negatives),
        dev=min(knobs.dev_queries, dev_queries) * depth,
        # The base down to the compared depth, the tuned reranker to the deepest.
        scored=fusion + eval_queries * (depth + deepest),
    )


def reranker_seconds(
    costs: RerankerCosts, schedule: Schedule, counts: PairCounts
) -> tuple[float, float]:
    """Seconds of train_reranker and of evaluate_reranker."""
    evaluations = math.ceil(schedule.steps / schedule.evaluation_steps)
    checkpoints = math.ceil(schedule.steps / schedule.checkpoint_steps)
    training = (
        2 * costs.opening
        + costs.setup
        + schedule.steps * costs.step
        + (evaluations + 1) * (counts.dev * costs.pair + costs.weights)
        + checkpoints * costs.checkpoint
    )
    return training, 2 * costs.opening + counts.scored * costs.pair
