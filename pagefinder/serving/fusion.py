"""Put the scores of embedder, BM25 and reranker together as a release says."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pagefinder.retrieval.bm25 import bm25_nearest, has_words
from pagefinder.retrieval.fusion import fuse, run_of
from pagefinder.retrieval.runs import DEPTH
from pagefinder.runtime import outputs
from pagefinder.serving.pages import Pages

LAST = 10**12 - 1  # above the place of any page, with twelve digits


def with_bm25(
    query: str, cosines: dict[int, float], texts: Sequence[str], weight: float
) -> dict[int, float]:
    """The scores of the embedder fused with those of BM25, which has `weight`, best first.

    Args:
        query: The question.
        cosines: Of the embedder's nearest pages, by their place in `texts`, best first.
        texts: Of all pages. Without a word in any of them the cosines are returned.
        weight: Of BM25, 0 to 1.
    """
    if not weight or not has_words(texts):
        return cosines
    scores, places = bm25_nearest([query], texts, DEPTH, np.arange(len(texts)))
    bm25 = dict(zip(places[0].tolist(), scores[0].tolist(), strict=True))
    return fuse_two(cosines, bm25, weight)


def fuse_two(
    first: Mapping[int, float], second: Mapping[int, float], weight: float
) -> dict[int, float]:
    """Two lists fused by `fuse`, best first; of equal pages the one in the lower place is first.

    Args:
        first: Scores by place of the page.
        second: The same.
        weight: Of the second list.
    """
    # `fuse` puts the name that sorts last first among equal ones.
    runs = [
        run_of({"": {f"{LAST - place:012}": score for place, score in scores.items()}})
        for scores in (first, second)
    ]
    fused = fuse(runs, [1 - weight, weight]).as_dict()[""]
    return {LAST - int(name): score for name, score in fused.items()}


def indexed_texts(pages: Pages, rows: Sequence[int], root: Path) -> list[str]:
    """The texts of the pages in `rows`; read from the disk where an earlier search left them.

    The file is named by the pages' state, so that changed pages are read anew.
    """
    key = hashlib.blake2b(repr((pages.state, list(rows))).encode(), digest_size=10).hexdigest()
    file = root / outputs.WORK / "index" / f"{key}-texts.json"
    if not file.is_file():
        texts = [pages.text(row) for row in tqdm(rows, "reading texts", unit="page", disable=None)]
        with outputs.output(file, root) as scratch:
            scratch.write_text(json.dumps(texts), encoding="utf-8")
    content: list[str] = json.loads(file.read_text(encoding="utf-8"))
    return content
