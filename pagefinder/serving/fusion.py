"""Put the scores of embedder, BM25 and reranker together as a release says."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pagefinder.release.fusion import Fusion
from pagefinder.retrieval.bm25 import bm25_nearest, has_words
from pagefinder.retrieval.fusion import fuse, run_of
from pagefinder.retrieval.runs import DEPTH
from pagefinder.runtime import outputs
from pagefinder.serving.pages import Pages
from pagefinder.systems import BM25, EMBEDDER, FIRST_STAGE, RERANKED, RERANKER

LAST = 10**12 - 1  # above the place of any page, with twelve digits


def bm25_scores(query: str, texts: Sequence[str]) -> dict[int, float]:
    """The BM25 scores of the first DEPTH texts, by place, best first; {} if no text has a word."""
    if not has_words(texts):
        return {}
    scores, places = bm25_nearest([query], texts, DEPTH, np.arange(len(texts)))
    return dict(zip(places[0].tolist(), scores[0].tolist(), strict=True))


def is_answered(
    settings: Fusion,
    best: int,
    cosines: Mapping[int, float],
    bm25: Mapping[int, float],
    logits: Sequence[float] = (),
) -> bool:
    """Whether any page answers a question, by the rule of the way in which it was searched.

    True where the release has no rule for it.

    Args:
        settings: Of the release.
        best: The place of the first page, before any reranking.
        cosines: Of the embedder's nearest pages, by place.
        bm25: The scores of BM25, by place; {} where only the embedder searched.
        logits: The reranker's, where it reranked.
    """
    rules = settings.answers
    if len(logits) and RERANKED in rules:
        return rules[RERANKED].is_answered({RERANKER: max(logits)})
    if bm25 and FIRST_STAGE in rules:
        scores = {
            name: of_pages.get(best, min(of_pages.values()))
            for name, of_pages in ((EMBEDDER, cosines), (BM25, bm25))
        }
        return rules[FIRST_STAGE].is_answered(scores)
    if EMBEDDER in rules:
        return rules[EMBEDDER].is_answered({EMBEDDER: max(cosines.values())})
    return True


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
