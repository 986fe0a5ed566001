"""Synthetic pages and training rows of the real shape: enough to time a step, no quality."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from pagefinder.data.corpus import Corpus, write_corpus
from pagefinder.data.pixels import budget_size, encode_png
from pagefinder.params import Pixels
from pagefinder.training.batches import row_columns

# Width and height of an A4 page at 150 dpi, before it is fitted to the pixel budget.
PAGE = (1240, 1754)
# Distinct drawings among synthetic pages: more would only take longer to draw.
DRAWINGS = 16
# As many words as a page of a manual has: a text model cuts it at its window.
TEXT = "What the page says of growth, of pumps and of their seals\n" * 40


def synthetic_corpus(
    folder: Path, pixels: Pixels, rows: int, negatives: int, dev: int = 0
) -> Corpus:
    """Write a corpus of A4 pages inside the pixel budget, each used by one training row.

    Args:
        folder: The corpus's folder.
        pixels: The pixel budget.
        rows: Number of training rows, with a query and 1 + `negatives` pages each.
        negatives: Number of negatives of each row.
        dev: Number of dev queries, with one page each.
    """
    trained = rows * (1 + negatives)
    answers = [(number, "train", number) for number in range(rows)]
    answers += [(rows + number, "dev", trained + number) for number in range(dev)]
    queries = [
        {
            "query_id": f"q{query}",
            "text": f"What does page {page} say about growth?",
            "split": split,
        }
        for query, split, page in answers
    ]
    qrels = [(f"q{query}", f"p{page}", 1) for query, _, page in answers]
    return write_corpus(folder, _pages(pixels, ["train"] * trained + ["dev"] * dev), queries, qrels)


def _pages(pixels: Pixels, splits: list[str]) -> Iterator[dict[str, object]]:
    """Yield a page p0, p1 ... in each of `splits`, its file as large as a printed page's."""
    random = np.random.default_rng(0)
    width, height = budget_size(*PAGE, pixels)
    drawings = []
    for _ in range(DRAWINGS):
        small = random.integers(0, 256, (height // 4, width // 4), dtype=np.uint8)
        drawings.append(encode_png(Image.fromarray(small).convert("RGB").resize((width, height))))
    for number, split in enumerate(splits):
        image = {"bytes": drawings[number % DRAWINGS], "path": None}
        page = {"page_id": f"p{number}", "split": split, "image": image, "text": TEXT}
        yield page | {"width": width, "height": height}


def synthetic_rows(rows: int, negatives: int) -> pd.DataFrame:
    """Training rows of the corpus that `synthetic_corpus` writes; each page occurs once."""
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


def sampled_pairs(corpus: Corpus, count: int, pairs_per_page: float) -> pd.DataFrame:
    """`count` pairs of train queries and pages as a reranker's candidates, and one dev query's two.

    Args:
        corpus: Of the rows that are trained on.
        count: Number of train pairs, of which every fourth is a positive.
        pairs_per_page: How often each page occurs.

    Returns:
        query_id, page_id, split, rank and label, as `train_reranker` takes them.
    """
    pages = corpus.pages.loc[corpus.pages["split"] == "train", "page_id"].to_numpy()
    queries = list(corpus.positives("train"))
    distinct = max(1, round(count / max(1.0, pairs_per_page)))
    rows = [
        [queries[n % len(queries)], pages[n % distinct % len(pages)], "train", 1, int(n % 4 == 0)]
        for n in range(count)
    ]
    table = pd.DataFrame(rows, columns=["query_id", "page_id", "split", "rank", "label"])
    return pd.concat([table, _dev_pairs(corpus)], ignore_index=True)


def _dev_pairs(corpus: Corpus) -> pd.DataFrame:
    """A dev query's page, and another dev page, as candidates."""
    query_id, relevant = next(iter(corpus.positives("dev").items()))
    pages = corpus.pages.loc[corpus.pages["split"] == "dev", "page_id"]
    other = next(page_id for page_id in pages if page_id not in relevant)
    rows = [[query_id, page_id, "dev", 1, 0] for page_id in (next(iter(relevant)), other)]
    return pd.DataFrame(rows, columns=["query_id", "page_id", "split", "rank", "label"])
