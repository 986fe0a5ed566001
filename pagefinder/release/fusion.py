"""fusion.json of a release: how the scores of embedder, BM25 and reranker are put together."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pagefinder.errors import InputError
from pagefinder.retrieval.runs import DEPTH
from pagefinder.systems import BM25, TUNED, TUNED_AT, WITH_BM25

FUSION = "fusion.json"
# What fusion.json says of the scores, for those who search by other means.
STANDARDISED = (
    "Of each list a question's first pages count. Their scores get mean 0 and deviation 1, a page "
    "that a list does not have gets its lowest, and the weighted sum orders the pages. BM25 is "
    "Lucene's, k1 1.5, b 0.75, over the lower-cased words of the pages' text. The reranker gives "
    "logits of the first stage's first pages."
)


@dataclass(frozen=True)
class Fusion:
    """How to search with a release.

    Attributes:
        bm25: Weight of BM25 against the embedder, 0 to 1; 0: the embedder alone.
        reranker: Weight of the reranker against these; 1: the reranker alone orders its pages.
        pages: To rerank.
    """

    bm25: float
    reranker: float
    pages: int

    @classmethod
    def read(cls, path: Path) -> "Fusion":
        """The settings of a fusion.json; NO_FUSION where there is no such file.

        Raises:
            InputError: the file is broken.
        """
        if not path.is_file():
            return NO_FUSION
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            bm25 = float(content["first_stage"][BM25])
            if "reranked" not in content:
                return replace(NO_FUSION, bm25=bm25)
            reranked = content["reranked"]
            return cls(bm25, float(reranked["reranker"]), int(reranked["pages"]))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} is damaged ({error}): run `dvc repro -f -s export`"
            ) from error


NO_FUSION = Fusion(bm25=0.0, reranker=1.0, pages=20)


def fusion_settings(
    fusion: Mapping[str, Any], reranker: Mapping[str, Any], dimension: int, pages: int
) -> dict[str, Any]:
    """The content of fusion.json.

    Args:
        fusion: Content of metrics/fusion.json; empty where pages have no text.
        reranker: Content of metrics/reranker.json; empty where there is no reranker.
        dimension: Of the released embedder: dev chose a weight for each.
        pages: To rerank.
    """
    at_dimension = fusion.get(f"{TUNED_AT}{dimension}{WITH_BM25}") or fusion.get(TUNED + WITH_BM25)
    bm25 = at_dimension["weights"][BM25] if at_dimension else 0.0
    settings: dict[str, Any] = {
        "scores": STANDARDISED,
        "first_pages": DEPTH,
        "first_stage": {"embedder": round(1 - bm25, 6), BM25: bm25},
    }
    if reranker:
        weight = reranker["fusion_weight"]
        parts = {"first_stage": round(1 - weight, 6), "reranker": weight}
        settings["reranked"] = {"pages": pages} | parts
    return settings
