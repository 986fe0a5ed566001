"""Stored vectors: opened, and cut to a Matryoshka dimension."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from pagefinder.data.corpus import Corpus
from pagefinder.errors import InputError

BLOCK = 4096  # pages cut at a time


@dataclass(frozen=True)
class Vectors:
    """Stored unit vectors, float32, rows in table order; pages may be memory-mapped."""

    queries: np.ndarray
    pages: np.ndarray


def open_vectors(folder: Path, corpus: Corpus) -> Vectors:
    """Open the vectors that an encode stage wrote, pages memory-mapped.

    Raises:
        InputError: their numbers differ from the corpus' numbers of queries and pages.
    """
    vectors = Vectors(np.load(folder / "queries.npy"), np.load(folder / "pages.npy", mmap_mode="r"))
    for name, stored, rows in (
        ("queries", vectors.queries, corpus.queries),
        ("pages", vectors.pages, corpus.pages),
    ):
        if len(stored) != len(rows):
            raise InputError(
                f"{folder}/{name}.npy holds {len(stored)} vectors for {len(rows)} {name}: encode "
                f"again with `dvc repro -f -s STAGE`, the stage of dvc.yaml that writes {folder}"
            )
    return vectors


def cut(vectors: np.ndarray, dimension: int) -> np.ndarray:
    """The first `dimension` numbers of each vector [..., width], at unit length again, float32."""
    short = np.asarray(vectors[..., :dimension], np.float32)
    length = np.linalg.norm(short, axis=-1, keepdims=True)
    return cast(np.ndarray, short / np.maximum(length, np.float32(1e-12)))


def cut_blocks(pages: np.ndarray, dimension: int, rows: np.ndarray) -> Iterator[np.ndarray]:
    """The vectors of the pages in `rows`, cut, float32 [at most BLOCK, dimension] at a time."""
    for start in range(0, len(rows), BLOCK):
        yield cut(np.asarray(pages[rows[start : start + BLOCK]]), dimension)
