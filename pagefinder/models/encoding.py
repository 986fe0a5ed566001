"""Encode a corpus once: pages and queries to unit vectors on disk, in table order."""

import functools
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from tqdm import tqdm

from pagefinder.data.corpus import Corpus
from pagefinder.models import prefetching
from pagefinder.models.device import DeviceSettings
from pagefinder.runtime import processes, scratch
from pagefinder.runtime.outputs import output

log = logging.getLogger(__name__)

PAGES, QUERIES, ABOUT = "pages.npy", "queries.npy", "about.json"

# Rows encoded at a time: enough to fill batches, few enough to keep memory flat and to lose little
# when interrupted.
CHUNK = {PAGES: 512, QUERIES: 8192}


def encode_corpus(
    model: SentenceTransformer,
    corpus: Corpus,
    device_settings: DeviceSettings,
    batch: int,
    chunks: Path,
) -> None:
    """Encode pages and queries chunk by chunk into files of the folder `chunks`.

    A chunk whose file exists is not encoded again, so an interrupted run loses one chunk at most.
    The borders of chunks are fixed, so that a resumed run writes the same bits. Of n processes each
    encodes one chunk in n, and all wait for the last one.
    """
    chunks.mkdir(parents=True, exist_ok=True)
    texts = corpus.queries["text"].tolist()
    for kind, rows in ((PAGES, len(corpus.pages)), (QUERIES, len(texts))):
        missing = _missing_chunks(chunks, kind, rows)
        parts = list(missing.values())
        encoded = (
            encode_parts(model, corpus, parts, device_settings, batch)
            if kind == PAGES
            else (
                encode_queries(model, texts[part.start : part.stop], device_settings, batch)
                for part in parts
            )
        )
        progress = tqdm(missing, desc=kind, unit="chunk", disable=None)
        for file, vectors in zip(progress, encoded, strict=True):
            unfinished = chunks / f"part-{processes.rank()}.npy"
            np.save(unfinished, vectors)
            unfinished.replace(file)
    processes.wait()


def _missing_chunks(chunks: Path, kind: str, rows: int) -> dict[Path, range]:
    """The chunks that this process still has to encode: rows of the table by the chunk's file."""
    share = list(enumerate(_chunks(kind, rows)))[processes.rank() :: processes.count()]
    files = {_chunk_file(chunks, kind, number): chunk for number, chunk in share}
    missing = {file: chunk for file, chunk in files.items() if not file.exists()}
    if len(missing) < len(files):
        log.info("%s: %d of %d chunks are there", kind, len(files) - len(missing), len(files))
    return missing


def merge(chunks: Path, corpus: Corpus, folder: Path) -> None:
    """Join all chunks in `folder`: pages.npy and queries.npy, float32 [rows, dimension]."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, rows in ((PAGES, len(corpus.pages)), (QUERIES, len(corpus.queries))):
        dimension = np.load(_chunk_file(chunks, kind, 0), mmap_mode="r").shape[1]
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, dimension)}
        # Written and not mapped: a process that writes to a mapped file on a full disk is killed.
        with (folder / kind).open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for number, _ in enumerate(_chunks(kind, rows)):
                file.write(np.load(_chunk_file(chunks, kind, number)).astype("<f4").tobytes())
        log.info("%s: %d vectors of %d dimensions", kind, rows, dimension)


def _chunks(kind: str, rows: int) -> list[range]:
    """The row numbers of each chunk, for a table of `rows` rows."""
    return [range(start, min(start + CHUNK[kind], rows)) for start in range(0, rows, CHUNK[kind])]


def _chunk_file(chunks: Path, kind: str, number: int) -> Path:
    return chunks / f"{number:06}-{kind}"


def write_vectors(
    model: SentenceTransformer, corpus: Corpus, chunks: Path, target: Path, root: Path
) -> None:
    """Join the vectors that `encode_corpus` wrote to `chunks` in `target`, and remove the chunks.

    about.json holds the model's number of parameters, for the table of models in the report.
    """
    if not processes.is_first():
        return
    with output(target, root) as folder:
        merge(chunks, corpus, folder)
        about = {"parameters": sum(p.numel() for p in model.parameters())}
        (folder / ABOUT).write_text(json.dumps(about) + "\n", encoding="utf-8")
    scratch.discard(chunks)


def encode_pages(
    model: SentenceTransformer,
    corpus: Corpus,
    rows: range | np.ndarray,
    device_settings: DeviceSettings,
    batch: int,
) -> np.ndarray:
    """Vectors of the pages in `rows`, float32 [len(rows), dimension], with the page prompt."""
    if device_settings.loader_processes:
        (vectors,) = _encode_ahead(model, corpus, [rows], device_settings, batch)
        return vectors
    with device_settings.precision():
        vectors = model.encode_document(
            corpus.page_inputs(rows),
            batch_size=batch,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
    return np.asarray(vectors, dtype=np.float32)


def encode_parts(
    model: SentenceTransformer,
    corpus: Corpus,
    parts: Sequence[range | np.ndarray],
    device_settings: DeviceSettings,
    batch: int,
) -> Iterator[np.ndarray]:
    """Yield the vectors of each part, as `encode_pages` returns them.

    Loader processes go on to the next part while one is encoded.
    """
    if device_settings.loader_processes:
        return _encode_ahead(model, corpus, parts, device_settings, batch)
    return (encode_pages(model, corpus, part, device_settings, batch) for part in parts)


def _encode_ahead(
    model: SentenceTransformer,
    corpus: Corpus,
    parts: Sequence[range | np.ndarray],
    device_settings: DeviceSettings,
    batch: int,
) -> Iterator[np.ndarray]:
    """Yield the vectors of each part, while loader processes prepare the next batches.

    The vectors are those of `encode_document`, float32 [len(part), dimension].
    """
    batches = [[part[at : at + batch] for at in range(0, len(part), batch)] for part in parts]
    prepared = prefetching.prepared(
        [rows for part in batches for rows in part],
        functools.partial(preprocess_pages, model, corpus),
        device_settings,
    )
    model.eval()
    for part in batches:
        vectors = []
        for _ in part:
            with torch.inference_mode(), device_settings.precision():
                embeddings = model(next(prepared), task="document")["sentence_embedding"]
                vectors.append(torch.nn.functional.normalize(embeddings).float().cpu().numpy())
        yield np.concatenate(vectors)


def preprocess_pages(
    model: SentenceTransformer, corpus: Corpus, rows: range | np.ndarray
) -> dict[str, Any]:
    """The model's inputs for the pages in `rows` and the page prompt, by name."""
    features: dict[str, Any] = model.preprocess(
        corpus.page_inputs(rows), prompt=model.prompts["document"], task="document"
    )
    return features


def encode_queries(
    model: SentenceTransformer, texts: list[str], device_settings: DeviceSettings, batch: int
) -> np.ndarray:
    """Vectors of queries, float32 [len(texts), dimension], with the query prompt."""
    with device_settings.precision():
        vectors = model.encode_query(
            texts, batch_size=batch, normalize_embeddings=True, show_progress_bar=False
        )
    return np.asarray(vectors, dtype=np.float32)
