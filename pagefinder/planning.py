"""Measure a few real steps of training and encoding, and say what the whole will take."""

import logging
import resource
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from PIL import Image
from sentence_transformers import SentenceTransformer
from transformers import (
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from pagefinder import corpus as tables
from pagefinder import encoding, training
from pagefinder.corpus import Corpus
from pagefinder.models import Hardware
from pagefinder.params import Compute, Embedder, Loss, Pixels
from pagefinder.pixels import budget_size, encode_png

log = logging.getLogger(__name__)

# An A4 page at 150 dpi, before it is brought into the pixel budget.
PAGE = (1240, 1754)
# Distinct drawings among synthetic pages: more would only take longer to draw.
DRAWINGS = 16


@dataclass(frozen=True)
class Speed:
    """What was measured: rows a second (triplets or pages), peak GiB, share spent on loading."""

    per_second: float
    peak_gib: float
    loading: float = 0.0


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
) -> Speed:
    """Train `model` for 1 + `steps` real steps; the first one warms up and is not counted."""
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
    seconds = statistics.median(watch.steps[1:] or watch.steps)
    loading = sum(watch.waits[1:]) / max(sum(watch.steps[1:]), 1e-9)
    return Speed(knobs.batch / seconds, peak_gib(hardware.device), loading)


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


def _forget_peak(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_gib(device: str) -> float:
    """Peak memory of the card since it was forgotten, or of this process, in GiB."""
    if device.startswith("cuda"):
        return float(torch.cuda.max_memory_allocated(device)) / 2**30
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


def synthetic_corpus(folder: Path, pixels: Pixels, rows: int, negatives: int) -> Corpus:
    """A corpus of A4 pages inside the budget, each used by one row: for speed, not for quality."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    width, height = budget_size(*PAGE, pixels)
    drawings = []
    for _ in range(DRAWINGS):
        # Blocks of grey on white: as large a file as a page of print.
        small = random.integers(0, 256, (height // 4, width // 4), dtype=np.uint8)
        drawings.append(encode_png(Image.fromarray(small).convert("RGB").resize((width, height))))
    empty = dict.fromkeys(tables.PAGE_SCHEMA.names)
    with (
        pa.OSFile(str(folder / tables.PAGES), "wb") as sink,
        pa.ipc.new_stream(sink, tables.PAGE_SCHEMA) as writer,
    ):
        for number in range(rows * (1 + negatives)):
            image = {"bytes": drawings[number % DRAWINGS], "path": None}
            page = {"page_id": f"p{number}", "split": "train", "image": image}
            size = {"width": width, "height": height}
            batch = pa.Table.from_pylist([empty | page | size], schema=tables.PAGE_SCHEMA)
            writer.write_table(batch)
    queries: list[dict[str, object]] = [
        {"query_id": f"q{n}", "text": f"What does page {n} say about growth?", "split": "train"}
        for n in range(rows)
    ]
    tables.write_table(queries, tables.QUERY_SCHEMA, folder / tables.QUERIES)
    judged: list[dict[str, object]] = [
        {"query_id": f"q{n}", "page_id": f"p{n}", "relevance": 1} for n in range(rows)
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
