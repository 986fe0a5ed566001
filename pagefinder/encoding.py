"""Encode a corpus once: pages and queries to unit vectors on disk, in table order."""

import logging
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer
from tqdm import tqdm

from pagefinder.corpus import Corpus
from pagefinder.models import Hardware, check_budget
from pagefinder.params import Pixels

log = logging.getLogger(__name__)

PAGES, QUERIES = "pages.npy", "queries.npy"

# Pages decoded at a time: enough to fill batches, few enough to keep memory flat.
CHUNK = 512


def encode_corpus(
    model: SentenceTransformer,
    corpus: Corpus,
    pixels: Pixels,
    hardware: Hardware,
    batch: int,
    folder: Path,
) -> None:
    """Write pages.npy and queries.npy, float32 [rows, dimension] of unit length, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = len(corpus.pages)
    check_budget(model, corpus.image(0), pixels)
    dimension = model.get_embedding_dimension()
    pages = np.lib.format.open_memmap(
        folder / PAGES, mode="w+", dtype=np.float32, shape=(rows, dimension)
    )
    with tqdm(total=rows, desc="pages", unit="page", disable=None) as progress:
        for start in range(0, rows, CHUNK):
            chunk = range(start, min(start + CHUNK, rows))
            pages[start : chunk.stop] = encode_pages(model, corpus, chunk, hardware, batch)
            progress.update(len(chunk))
    pages.flush()
    queries = encode_queries(model, corpus.queries["text"].tolist(), hardware, batch)
    np.save(folder / QUERIES, queries)
    log.info("encoded %d pages and %d queries to %d dimensions", rows, len(queries), dimension)


def encode_pages(
    model: SentenceTransformer,
    corpus: Corpus,
    rows: range | np.ndarray,
    hardware: Hardware,
    batch: int,
) -> np.ndarray:
    """Vectors of some pages, float32 [len(rows), dimension], with the model's page prompt."""
    with hardware.precision():
        vectors = model.encode_document(
            corpus.images(rows),
            batch_size=batch,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
    return np.asarray(vectors, dtype=np.float32)


def encode_queries(
    model: SentenceTransformer, texts: list[str], hardware: Hardware, batch: int
) -> np.ndarray:
    """Vectors of queries, float32 [len(texts), dimension], with the model's query prompt."""
    with hardware.precision():
        vectors = model.encode_query(
            texts, batch_size=batch, normalize_embeddings=True, show_progress_bar=False
        )
    return np.asarray(vectors, dtype=np.float32)
