"""Say what a whole training will take, from what was measured of its parts."""

import math
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image
from sentence_transformers import SentenceTransformer

from pagefinder.data import corpus as tables
from pagefinder.data.corpus import Corpus
from pagefinder.data.files import write_table
from pagefinder.data.pixels import budget_size, encode_png
from pagefinder.models import encoding
from pagefinder.models.device import DeviceSettings
from pagefinder.params import Pixels, Training
from tools.measuring import Speed

# An A4 page at 150 dpi, before it is brought into the pixel budget.
PAGE = (1240, 1754)
# Distinct drawings among synthetic pages: more would only take longer to draw.
DRAWINGS = 16


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
    model: SentenceTransformer,
    corpus: Corpus,
    device_settings: DeviceSettings,
    batch: int,
    opening: float,
    trained: Speed,
    rows: int,
) -> Costs:
    """Time what a training stage does besides its steps.

    Args:
        model: That was trained.
        corpus: Whose first pages and queries stand for those of dev.
        device_settings: Of training: dev is encoded as training computes.
        batch: Pages encoded at once.
        opening: Seconds that opening the model took.
        trained: What measure_training found, with a checkpoint.
        rows: That each of its steps took.
    """
    pages = np.arange(min(2 * batch, len(corpus.pages)))
    texts = corpus.queries["text"].tolist()[: 2 * batch]
    start = time.perf_counter()
    corpus.images(pages)  # the evaluator holds those of dev, decoded, from the start
    decoded = time.perf_counter()
    encoding.encode_pages(model, corpus, pages, device_settings, batch)
    encoded = time.perf_counter()
    encoding.encode_queries(model, texts, device_settings, batch)
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
    write_table(queries, tables.QUERY_SCHEMA, folder / tables.QUERIES)
    judged: list[dict[str, object]] = [
        {"query_id": f"q{n}", "page_id": f"p{page}", "relevance": 1} for n, _, page in answers
    ]
    write_table(judged, tables.QREL_SCHEMA, folder / tables.QRELS)
    write_table([], tables.NEAR_DUPLICATE_SCHEMA, folder / tables.NEAR_DUPLICATES)
    return Corpus(folder)


def synthetic_rows(rows: int, negatives: int) -> pd.DataFrame:
    """Rows over the synthetic corpus in which every page occurs once."""
    names = ["query_id", "image_id", *(f"negative_{i}_id" for i in range(negatives))]
    table = [
        [f"q{n}", f"p{n}", *(f"p{rows + n * negatives + i}" for i in range(negatives))]
        for n in range(rows)
    ]
    return pd.DataFrame(table, columns=names)
