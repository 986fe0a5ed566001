"""Measure a few real steps of training and encoding, and say what the whole will take."""

import gc
import logging
import math
import os
import resource
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from PIL import Image
from sentence_transformers import CrossEncoder, SentenceTransformer
from transformers import (
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from pagefinder import corpus as tables
from pagefinder import encoding, scoring, training
from pagefinder.corpus import Corpus
from pagefinder.models import Hardware
from pagefinder.params import Compute, Embedder, Loss, Pixels, Training
from pagefinder.pixels import budget_size, encode_png

log = logging.getLogger(__name__)

# An A4 page at 150 dpi, before it is brought into the pixel budget.
PAGE = (1240, 1754)
# Distinct drawings among synthetic pages: more would only take longer to draw.
DRAWINGS = 16
# Rows whose loading is timed: a few steps take what was loaded ahead, and wait for nothing.
LOADED = 8


@dataclass(frozen=True)
class Speed:
    """What was measured of training or encoding.

    Attributes:
        per_second: Rows (triplets) or pages a second, in the long run.
        peak_gib: Memory taken at most.
        loading: Seconds of loading by one step's computing; above 1 the device waits.
        mini_batch: That the loss was cached by, or 0.
        setup: Seconds until the first step, a search for the mini-batch included.
        checkpoint: Seconds of writing one, where it was asked for.
    """

    per_second: float
    peak_gib: float
    loading: float = 0.0
    mini_batch: int = 0
    setup: float = 0.0
    checkpoint: float = 0.0


class Costs(NamedTuple):
    """Seconds of what a training stage is made of."""

    opening: float  # of the model; its best checkpoint is opened at the end
    setup: float  # until the first step
    step: float
    checkpoint: float
    decode: float  # a dev page, once
    page: float  # encoding a dev page, at each evaluation
    query: float


class _Stopwatch(TrainerCallback):  # type: ignore[misc]
    """Times every step, and the wait for its data before it."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.ended = time.perf_counter()
        self.waits: list[float] = []
        self.steps: list[float] = []

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **keywords: object,
    ) -> None:
        self.waits.append(time.perf_counter() - self.ended)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **keywords: object,
    ) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self.steps.append(now - self.ended)
        self.ended = now


def measure_training(
    model: SentenceTransformer,
    corpus: Corpus,
    rows: pd.DataFrame,
    knobs: Embedder,
    loss: Loss,
    compute: Compute,
    hardware: Hardware,
    steps: int,
    scratch: Path,
    *,
    save: bool = False,
) -> Speed:
    """Train `model` for 1 + `steps` real steps; the first one warms up and is not counted.

    Args:
        model: Whose weights are changed.
        corpus: Of the pages.
        rows: Training rows of ids.
        knobs: How to train; epochs and evaluations are left alone.
        loss: As a training stage takes it.
        compute: Likewise.
        hardware: What it came to.
        steps: How many to count.
        scratch: Folder that a checkpoint may be written to.
        save: Write a checkpoint, and time that.
    """
    started = time.perf_counter()
    epochs = (steps + 1) / max(1, len(rows) // knobs.batch)
    trainer = training.embedder_trainer(
        model,
        corpus,
        rows,
        knobs.model_copy(update={"epochs": epochs}),
        loss,
        compute,
        hardware,
        0,
        scratch,
        None,
    )
    watch = _Stopwatch(hardware.device)
    trainer.add_callback(watch)
    trainer.remove_callback(PrinterCallback)
    _forget_peak(hardware.device)
    watch.ended = time.perf_counter()
    trainer.train()
    trained = time.perf_counter() - started
    seconds = statistics.median(watch.steps[1:] or watch.steps)
    waited = sum(watch.waits[1:]) / max(sum(watch.steps[1:]), 1e-9)
    load = _load_seconds(trainer, knobs.batch, compute.workers)
    peak = peak_gib(hardware.device)
    return Speed(
        per_second=knobs.batch / max(seconds, load),
        peak_gib=peak,
        loading=max(waited, load / seconds),
        mini_batch=int(getattr(trainer.loss.loss, "mini_batch_size", 0)),
        setup=max(0.0, trained - len(watch.steps) * seconds),
        checkpoint=_checkpoint_seconds(trainer) if save else 0.0,
    )


def _load_seconds(trainer: Any, batch: int, workers: int) -> float:  # noqa: ANN401
    """Seconds in which the loader processes, each on a core of its own, prepare one batch."""
    count = min(LOADED, batch, len(trainer.train_dataset))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a loader process
    try:
        for _ in range(2):  # the first time is slower
            start = time.perf_counter()
            trainer.data_collator([trainer.train_dataset[i] for i in range(count)])
            took = time.perf_counter() - start
    finally:
        torch.set_num_threads(threads)
    return took * batch / count / max(1, min(workers, os.cpu_count() or 1))


def _checkpoint_seconds(trainer: Any) -> float:  # noqa: ANN401
    start = time.perf_counter()
    trainer._save_checkpoint(trainer.model, trial=None)
    return time.perf_counter() - start


def measure_costs(
    model: SentenceTransformer,
    corpus: Corpus,
    hardware: Hardware,
    batch: int,
    opening: float,
    trained: Speed,
    rows: int,
) -> Costs:
    """Time what a training stage does besides its steps.

    Args:
        model: That was trained.
        corpus: Whose first pages and queries stand for those of dev.
        hardware: Of training: the evaluator encodes as training computes.
        batch: Pages encoded at once.
        opening: Seconds that opening the model took.
        trained: What measure_training found, with a checkpoint.
        rows: That each of its steps took.
    """
    pages = range(min(2 * batch, len(corpus.pages)))
    texts = corpus.queries["text"].tolist()[: 2 * batch]
    start = time.perf_counter()
    images = corpus.images(pages)
    decoded = time.perf_counter()
    with hardware.precision():
        model.encode_document(images, batch_size=batch, show_progress_bar=False)
    encoded = time.perf_counter()
    encoding.encode_queries(model, texts, hardware, batch)
    asked = time.perf_counter()
    return Costs(
        opening=opening,
        setup=trained.setup,
        step=rows / trained.per_second,
        checkpoint=trained.checkpoint,
        decode=(decoded - start) / len(pages),
        page=(encoded - decoded) / len(pages),
        query=(asked - encoded) / len(texts),
    )


def schedule(knobs: Training, rows: int) -> tuple[int, int]:
    """Steps that training takes, and every how many of them dev is scored."""
    steps = max(1, round(knobs.epochs * max(1, rows // knobs.batch)))
    return steps, max(1, steps // knobs.evaluations)


def train_seconds(costs: Costs, steps: int, every: int, pages: int, queries: int) -> float:
    """What training an embedder takes.

    Args:
        costs: As measured.
        steps: To be trained.
        every: So many steps, and after the last, dev is scored and a checkpoint written.
        pages: Of dev, encoded at each evaluation.
        queries: Of dev, likewise.
    """
    checks = math.ceil(steps / every)
    dev = pages * costs.page + queries * costs.query
    # Dev is scored before the first step too, and the best model is opened and written at the end.
    return (
        2 * costs.opening
        + costs.setup
        + pages * costs.decode
        + steps * costs.step
        + (checks + 1) * (dev + costs.checkpoint)
    )


def measure_encoding(
    model: SentenceTransformer, corpus: Corpus, hardware: Hardware, batch: int, pages: int
) -> Speed:
    """Encode `pages` pages after one batch that warms up."""
    rows = np.arange(pages) % len(corpus.pages)
    encoding.encode_pages(model, corpus, rows[:batch], hardware, batch)
    _forget_peak(hardware.device)
    start = time.perf_counter()
    encoding.encode_pages(model, corpus, rows, hardware, batch)
    return Speed(pages / (time.perf_counter() - start), peak_gib(hardware.device))


def measure_scoring(
    model: CrossEncoder, corpus: Corpus, pairs: pd.DataFrame, hardware: Hardware, batch: int
) -> Speed:
    """Score query-page pairs after one batch that warms up."""
    scoring.score_pairs(model, corpus, pairs[:batch], hardware, batch)
    _forget_peak(hardware.device)
    start = time.perf_counter()
    scoring.score_pairs(model, corpus, pairs, hardware, batch)
    return Speed(len(pairs) / (time.perf_counter() - start), peak_gib(hardware.device))


def _forget_peak(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_gib(device: str) -> float:
    """Peak memory of the card since it was forgotten, or of this process, in GiB."""
    if device.startswith("cuda"):
        # What the allocator took of the card, not only what it had given out: both must fit.
        return float(torch.cuda.max_memory_reserved(device)) / 2**30
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


def sampled_rows(corpus: Corpus, negatives: int, count: int) -> pd.DataFrame:
    """Training rows of the real shape, their negatives drawn at random: enough to time a step."""
    positives = corpus.positives("train")
    pages = corpus.pages.loc[corpus.pages["split"] == "train", "page_id"].to_numpy()
    random = np.random.default_rng(0)
    rows = [
        [query_id, next(iter(relevant)), *random.choice(pages, negatives)]
        for query_id, relevant in list(positives.items())[:count]
    ]
    names = ["query_id", "image_id", *(f"negative_{i}_id" for i in range(negatives))]
    return pd.DataFrame(rows, columns=names)


def synthetic_corpus(
    folder: Path, pixels: Pixels, rows: int, negatives: int, dev: int = 0
) -> Corpus:
    """A corpus of A4 pages inside the budget, each used by one row: for speed, not for quality.

    Args:
        folder: To write it to.
        pixels: The budget.
        rows: Training rows, with a query and 1 + `negatives` pages each.
        negatives: Of each row.
        dev: Dev queries, with one page each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    width, height = budget_size(*PAGE, pixels)
    drawings = []
    for _ in range(DRAWINGS):
        # Blocks of grey on white: as large a file as a page of print.
        small = random.integers(0, 256, (height // 4, width // 4), dtype=np.uint8)
        drawings.append(encode_png(Image.fromarray(small).convert("RGB").resize((width, height))))
    empty = dict.fromkeys(tables.PAGE_SCHEMA.names)
    trained = rows * (1 + negatives)
    with (
        pa.OSFile(str(folder / tables.PAGES), "wb") as sink,
        pa.ipc.new_stream(sink, tables.PAGE_SCHEMA) as writer,
    ):
        for number in range(trained + dev):
            image = {"bytes": drawings[number % DRAWINGS], "path": None}
            split = "train" if number < trained else "dev"
            page = {"page_id": f"p{number}", "split": split, "image": image}
            size = {"width": width, "height": height}
            batch = pa.Table.from_pylist([empty | page | size], schema=tables.PAGE_SCHEMA)
            writer.write_table(batch)
    answers = [(n, "train", n) for n in range(rows)]
    answers += [(rows + n, "dev", trained + n) for n in range(dev)]
    queries: list[dict[str, object]] = [
        {"query_id": f"q{n}", "text": f"What does page {n} say about growth?", "split": split}
        for n, split, _ in answers
    ]
    tables.write_table(queries, tables.QUERY_SCHEMA, folder / tables.QUERIES)
    judged: list[dict[str, object]] = [
        {"query_id": f"q{n}", "page_id": f"p{page}", "relevance": 1} for n, _, page in answers
    ]
    tables.write_table(judged, tables.QREL_SCHEMA, folder / tables.QRELS)
    tables.write_table([], tables.NEAR_DUPLICATE_SCHEMA, folder / tables.NEAR_DUPLICATES)
    return Corpus(folder)


def synthetic_rows(rows: int, negatives: int) -> pd.DataFrame:
    """Rows over the synthetic corpus in which every page occurs once."""
    names = ["query_id", "image_id", *(f"negative_{i}_id" for i in range(negatives))]
    table = [
        [f"q{n}", f"p{n}", *(f"p{rows + n * negatives + i}" for i in range(negatives))]
        for n in range(rows)
    ]
    return pd.DataFrame(table, columns=names)
