"""Measure a few real steps of training, encoding and scoring: their speed and memory."""

import gc
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from transformers import PrinterCallback, TrainerCallback
from transformers.trainer_utils import IntervalStrategy

from pagefinder.data.corpus import Corpus
from pagefinder.models import encoding, scoring
from pagefinder.models.device import DeviceSettings
from pagefinder.params import Embedder, Loss, Reranker
from pagefinder.training.arguments import TrainingRun
from pagefinder.training.callbacks import Watch
from pagefinder.training.embedder import embedder_trainer
from pagefinder.training.reranker import reranker_trainer
from pagefinder.training.trainers import EmbedderTrainer, RerankerTrainer

# Rows whose loading is timed: a few steps take what was loaded ahead, and wait for nothing.
LOADED = 8


@dataclass(frozen=True)
class Speed:
    """Speed and memory of training, encoding or scoring.

    Attributes:
        per_second: Training rows, pages or pairs a second, in the long run.
        peak_gib: Memory taken at most.
        loading: Seconds of loading a batch over those of computing it; above 1 the device waits.
        waited: Share of the counted steps' time that passed in waiting for data.
        mini_batch: Mini-batch of the cached loss; 0 for the uncached one.
        checkpointing: Whether activations were computed again in the backward pass.
        setup: Seconds until the first step, a search for the mini-batch included.
        checkpoint: Seconds of writing a checkpoint, or 0 where none was written.
        weights: The same for the weights alone.
    """

    per_second: float
    peak_gib: float
    loading: float = 0.0
    waited: float = 0.0
    mini_batch: int = 0
    checkpointing: bool = False
    setup: float = 0.0
    checkpoint: float = 0.0
    weights: float = 0.0


class _Stopwatch(TrainerCallback):  # type: ignore[misc]
    """Records the seconds of each step, and of the wait for its data."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.ended = time.perf_counter()
        self.waits: list[float] = []
        self.steps: list[float] = []

    def on_step_begin(self, *_: object, **__: object) -> None:
        self.waits.append(time.perf_counter() - self.ended)

    def on_step_end(self, *_: object, **__: object) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self.steps.append(now - self.ended)
        self.ended = now


def measure_training(
    model: SentenceTransformer,
    rows: pd.DataFrame,
    knobs: Embedder,
    loss: Loss,
    run: TrainingRun,
    steps: int,
    *,
    save: bool = False,
) -> Speed:
    """Train `model` for 1 + `steps` real steps; the first one warms up and is not counted.

    Args:
        model: The embedder, whose weights change.
        rows: Training rows of ids.
        knobs: How to train; their epochs and evaluations do not matter.
        loss: Knobs of the loss.
        run: What the training runs on.
        steps: Number of steps that count.
        save: Write a checkpoint, and time that.
    """
    started = time.perf_counter()
    epochs = (steps + 1) / max(1, len(rows) // knobs.batch)
    knobs = knobs.model_copy(update={"epochs": epochs})
    trainer = embedder_trainer(model, rows, knobs, loss, run)
    return _training_speed(trainer, knobs.batch, run, started, save)


def measure_reranker_training(
    model: CrossEncoder, candidates: pd.DataFrame, knobs: Reranker, run: TrainingRun, steps: int
) -> Speed:
    """The same for the reranker `model`, with a checkpoint; `per_second` counts pairs.

    `candidates` are those of `train_reranker`, of train and dev.
    """
    started = time.perf_counter()
    rows = int((candidates["split"] == "train").sum())
    epochs = (steps + 1) / max(1, rows // knobs.batch)
    knobs = knobs.model_copy(update={"epochs": epochs})
    trainer = reranker_trainer(model, candidates, knobs, run)
    trainer.remove_callback(Watch)
    trainer.args.eval_strategy = trainer.args.save_strategy = IntervalStrategy.NO
    return _training_speed(trainer, knobs.batch, run, started, save=True)


def _training_speed(
    trainer: EmbedderTrainer | RerankerTrainer,
    batch: int,
    run: TrainingRun,
    started: float,
    save: bool,
) -> Speed:
    """Train to the end, and measure it.

    Args:
        trainer: All its steps but the first count.
        batch: Rows or pairs of a step.
        run: What the training runs on.
        started: When its preparation began, by `time.perf_counter`.
        save: Write a checkpoint, and time that.
    """
    model, device = trainer.model, run.device_settings.device
    watch = _Stopwatch(device)
    trainer.add_callback(watch)
    trainer.remove_callback(PrinterCallback)
    _forget_peak(device)
    watch.ended = time.perf_counter()
    trainer.train()
    trained = time.perf_counter() - started
    seconds = statistics.median(watch.steps[1:] or watch.steps)
    waited = sum(watch.waits[1:]) / max(sum(watch.steps[1:]), 1e-9)
    load = _load_seconds(trainer, batch, run.compute.workers)
    peak = _peak_gib(device)
    return Speed(
        per_second=batch / max(seconds, load),
        peak_gib=peak,
        loading=max(waited, load / seconds),
        waited=waited,
        mini_batch=int(getattr(getattr(trainer.loss, "loss", None), "mini_batch_size", 0)),
        setup=max(0.0, trained - len(watch.steps) * seconds),
        checkpointing=any(getattr(at, "gradient_checkpointing", False) for at in model.modules()),
        checkpoint=_seconds(lambda: trainer._save_checkpoint(model, trial=None)) if save else 0.0,
        weights=_seconds(lambda: trainer.save_model(_internal_call=True)) if save else 0.0,
    )


def _load_seconds(trainer: EmbedderTrainer | RerankerTrainer, batch: int, workers: int) -> float:
    """Seconds in which the loader processes, each on a core of its own, prepare one batch."""
    count = min(LOADED, batch, len(trainer.train_dataset))
    seconds = _one_thread_seconds(
        lambda: trainer.data_collator([trainer.train_dataset[i] for i in range(count)])
    )
    return seconds * batch / count / max(1, min(workers, os.cpu_count() or 1))


def _seconds(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure_encoding(
    model: SentenceTransformer,
    corpus: Corpus,
    device_settings: DeviceSettings,
    batch: int,
    pages: int,
) -> Speed:
    """Speed of encoding `pages` pages; the first batch warms up and is not counted."""
    rows = np.arange(pages) % len(corpus.pages)
    parts = [rows[start : start + batch] for start in range(0, pages, batch)]
    batches = encoding.encode_parts(model, corpus, parts, device_settings, batch)

    def prepare() -> None:
        encoding.preprocess_pages(model, corpus, rows[:LOADED])

    return _batch_speed(batches, prepare, min(LOADED, pages), device_settings)


def measure_scoring(
    model: CrossEncoder,
    corpus: Corpus,
    pairs: pd.DataFrame,
    device_settings: DeviceSettings,
    batch: int,
) -> Speed:
    """Speed of scoring query-page pairs; the first batch warms up and is not counted."""
    texts_and_rows = scoring.text_and_page_row(corpus, pairs)
    batches = scoring.score_batches(model, corpus, texts_and_rows, device_settings, batch)
    first = texts_and_rows[:LOADED]

    def prepare() -> None:
        scoring.PairPreprocessor(model, corpus)((first, frozenset()))

    return _batch_speed(batches, prepare, len(first), device_settings)


def _batch_speed(
    batches: Iterator[np.ndarray],
    prepare: Callable[[], None],
    prepared: int,
    device_settings: DeviceSettings,
) -> Speed:
    """Speed of all batches but the first, bounded by the speed of loader processes.

    The few batches that are timed were prepared ahead, so loading is timed by `prepare`.

    Args:
        batches: Computes the batches: vectors or logits, a row for each page or pair.
        prepare: Loads `prepared` rows, as a loader process does.
        prepared: Number of these rows.
        device_settings: The device, and the number of loader processes.
    """
    next(batches)
    _forget_peak(device_settings.device)
    start = time.perf_counter()
    rows = sum(map(len, batches))
    compute = (time.perf_counter() - start) / rows
    peak = _peak_gib(device_settings.device)
    load = 0.0
    if device_settings.loader_processes:
        load = _one_thread_seconds(prepare) / prepared / device_settings.loader_processes
    return Speed(1 / max(compute, load), peak, load / compute)


def _one_thread_seconds(work: Callable[[], object]) -> float:
    """Seconds that `work` takes in one thread, as in a loader process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(2):  # the first time is slower
            start = time.perf_counter()
            work()
            seconds = time.perf_counter() - start
    finally:
        torch.set_num_threads(threads)
    return seconds


def _forget_peak(device: str) -> None:
    """Free a card's unused memory and start to measure its peak anew."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _peak_gib(device: str) -> float:
    """Peak memory of the card since it was forgotten, or of this process, in GiB."""
    if device.startswith("cuda"):
        # What the allocator took of the card, not only what it had given out: both must fit.
        return float(torch.cuda.max_memory_reserved(device)) / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20
