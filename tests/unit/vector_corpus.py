"""A small corpus without pixels, and vectors of two made-up models, for the tests of evaluation."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from pagefinder.data import corpus

TOPICS = ("profit", "staff", "energy", "travel")
SPLITS = {"train": 60, "dev": 24, "eval": 40}


def write(folder: Path, *, text: bool = True, documents: bool = True, rng_seed: int = 0) -> None:
    """124 pages in documents of four, one or two questions a page, some with several answers."""
    rng = np.random.default_rng(rng_seed)
    pages, queries, qrels = [], [], []
    for split, number in SPLITS.items():
        for i in range(number):
            page_id = f"{rng.integers(16**8):08x}"
            word = f"{TOPICS[i % 4]} of {split}{i // 4}"
            pages.append(
                {
                    "page_id": page_id,
                    "document_id": f"{split}-{i // 4}" if documents else None,
                    "page_number": i % 4 + 1,
                    "split": split,
                    "kind": "chart" if i % 3 else "table",
                    "image": {"bytes": b"", "path": None},
                    "width": 1,
                    "height": 1,
                    "pixel_hash": "0" * 16,
                    "text": f"The {word} was {i}." if text else None,
                }
            )
            queries.append(
                {
                    "query_id": f"q-{page_id}",
                    "text": f"What was the {word}?",
                    "split": split,
                    "origin": "hand" if i % 2 else "template",
                }
            )
            qrels.append((f"q-{page_id}", page_id, 2))
            if i % 5 == 4:
                near, far = pages[-2]["page_id"], pages[-3]["page_id"]
                qrels.append((f"q-{page_id}", near, 1))
                qrels.append((f"q-{page_id}", far, 0))
    order = rng.permutation(len(pages))  # splits interleave, as in a real table
    corpus.write_corpus(folder, [pages[i] for i in order], queries, qrels)


def encode(corpus_folder: Path, folder: Path, noise: float, width: int = 32) -> None:
    """Vectors of a model whose query vectors are those of the relevant page, plus `noise`."""
    opened = corpus.Corpus(corpus_folder)
    rng = np.random.default_rng(7)
    pages = _unit(rng.standard_normal((len(opened.pages), width)))
    page_rows = pd.Series(opened.pages.index, index=opened.pages["page_id"])
    rows = page_rows[opened.queries["query_id"].str.removeprefix("q-")].to_numpy()
    queries = _unit(pages[rows] + noise * _unit(rng.standard_normal((len(rows), width))))
    folder.mkdir(parents=True)
    np.save(folder / "pages.npy", pages.astype(np.float32))
    np.save(folder / "queries.npy", queries.astype(np.float32))
    about = {"parameters": 1000 * width + int(10 * noise)}
    (folder / "about.json").write_text(json.dumps(about))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
