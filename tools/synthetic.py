"""Synthetic pages and training rows of the real shape: enough to time a step, no quality."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image

from pagefinder.data import corpus as tables
from pagefinder.data.corpus import Corpus
from pagefinder.data.files import write_table
from pagefinder.data.pixels import budget_size, encode_png
from pagefinder.params import Pixels
from pagefinder.training.batches import row_columns

# An A4 page at 150 dpi, before it is brought into the pixel budget.
PAGE = (1240, 1754)
# Distinct drawings among synthetic pages: more would only take longer to draw.
DRAWINGS = 16


def synthetic_corpus(
    folder: Path, pixels: Pixels, rows: int, negatives: int, dev: int = 0
) -> Corpus:
    """Write a corpus of A4 pages inside the pixel budget, each used by one training row.

    Args:
        folder: To write it to.
        pixels: The budget.
        rows: Training rows, with a query and 1 + `negatives` pages each.
        negatives: Of each row.
        dev: Dev queries, with one page each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trained = rows * (1 + negatives)
    _write_pages(folder / tables.PAGES, pixels, ["train"] * trained + ["dev"] * dev)
    answers = [(number, "train", number) for number in range(rows)]
    answers += [(rows + number, "dev", trained + number) for number in range(dev)]
    table = pd.DataFrame(
        [
            (f"q{query}", f"What does page {query} say about growth?", split, f"p{page}")
            for query, split, page in answers
        ],
        columns=["query_id", "text", "split", "page_id"],
    ).assign(origin=None, relevance=1)
    write_table(table, tables.QUERY_SCHEMA, folder / tables.QUERIES)
    write_table(table, tables.QREL_SCHEMA, folder / tables.QRELS)
    write_table([], tables.NEAR_DUPLICATE_SCHEMA, folder / tables.NEAR_DUPLICATES)
    return Corpus(folder)


def _write_pages(path: Path, pixels: Pixels, splits: list[str]) -> None:
    """Write a page for each split of the list, p0, p1 ..., as large a file as a page of print."""
    random = np.random.default_rng(0)
    width, height = budget_size(*PAGE, pixels)
    drawings = []
    for _ in range(DRAWINGS):
        small = random.integers(0, 256, (height // 4, width // 4), dtype=np.uint8)
        drawings.append(encode_png(Image.fromarray(small).convert("RGB").resize((width, height))))
    page = dict.fromkeys(tables.PAGE_SCHEMA.names) | {"width": width, "height": height}
    with (
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_stream(sink, tables.PAGE_SCHEMA) as writer,
    ):
        for number, split in enumerate(splits):  # one by one, as pages take much memory
            image = {"bytes": drawings[number % DRAWINGS], "path": None}
            row = page | {"page_id": f"p{number}", "split": split, "image": image}
            writer.write_table(pa.Table.from_pylist([row], schema=tables.PAGE_SCHEMA))


def synthetic_rows(rows: int, negatives: int) -> pd.DataFrame:
    """Training rows over the synthetic corpus in which every page occurs once."""
    table = [
        [f"q{n}", f"p{n}", *(f"p{rows + n * negatives + i}" for i in range(negatives))]
        for n in range(rows)
    ]
    return pd.DataFrame(table, columns=row_columns(negatives))


def sampled_rows(corpus: Corpus, negatives: int, count: int) -> pd.DataFrame:
    """Training rows of the first queries of a real corpus, with random pages as negatives."""
    positives = corpus.positives("train")
    pages = corpus.pages.loc[corpus.pages["split"] == "train", "page_id"].to_numpy()
    random = np.random.default_rng(0)
    rows = [
        [query_id, next(iter(relevant)), *random.choice(pages, negatives)]
        for query_id, relevant in list(positives.items())[:count]
    ]
    return pd.DataFrame(rows, columns=row_columns(negatives))
