"""fusion.json of a release: how the scores of embedder, BM25 and reranker are put together."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any

from pagefinder.errors import InputError
from pagefinder.retrieval.answers import AnswerRule
from pagefinder.retrieval.runs import DEPTH
from pagefinder.systems import (
    BM25,
    EMBEDDER,
    FIRST_STAGE,
    RECOMMENDABLE,
    RERANKED,
    RERANKER,
    TUNED,
    TUNED_AT,
    WITH_BM25,
)

FUSION = "fusion.json"
# By way of searching, the scores that a rule may weigh.
SCORES = {EMBEDDER: (EMBEDDER,), FIRST_STAGE: (EMBEDDER, BM25), RERANKED: (RERANKER,)}
# What fusion.json says of the scores, for those who search by other means.
STANDARDISED = (
    "Of each list a question's first pages count. Their scores get mean 0 and deviation 1, a page "
    "that a list does not have gets its lowest, and the weighted sum orders the pages. BM25 is "
    "Lucene's, k1 1.5, b 0.75, over the lower-cased words of the pages' text. The reranker gives "
    "logits of the first stage's first pages."
)
INDEX = (
    "Vectors as the embedder gives them, cut and of unit length, and kept in this precision: the "
    "coarsest of which the development split shows, with 95% confidence over its documents, that "
    "cut and precision together cost no more of NDCG@10 than the release tolerates."
)
UNANSWERED = (
    "No page answers a question where the weighted sum of these scores of its best page is below "
    "the threshold. The scores are those before they are standardised: the embedder's cosine, "
    "BM25's score; of the reranker the highest logit of the pages that it reranked. The "
    "development split chose weights and thresholds, so that 5% of its answered questions are "
    "below at most."
)


@dataclass(frozen=True)
class Fusion:
    """How to search with a release.

    Attributes:
        bm25: Weight of BM25 against the embedder, 0 to 1; 0: the embedder alone.
        reranker: Weight of the reranker against these; 1: the reranker alone orders its pages.
        pages: To rerank.
        answers: By way of searching (EMBEDDER, FIRST_STAGE or RERANKED), when no page answers;
            a way of which nothing is known is missing.
    """

    bm25: float
    reranker: float
    pages: int
    answers: Mapping[str, AnswerRule] = field(default_factory=dict)

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
            bm25 = _weight(content["first_stage"][BM25])
            rules = content.get("answers", {}).get("rules", {})
            answers = {way: _rule(rules[way], SCORES[way]) for way in SCORES if way in rules}
            if RERANKED not in content:
                return replace(NO_FUSION, bm25=bm25, answers=answers)
            reranked = content[RERANKED]
            if not 1 <= int(reranked["pages"]):
                raise ValueError(f"{reranked['pages']} pages to rerank")
            return cls(bm25, _weight(reranked[RERANKER]), int(reranked["pages"]), answers)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise InputError(
                f"{path} is damaged ({error}): run `dvc repro -f -s export`"
            ) from error


def _weight(value: Any) -> float:  # noqa: ANN401  # JSON
    """A weight; a ValueError unless it is from 0 to 1."""
    if not 0 <= float(value) <= 1:
        raise ValueError(f"a weight of {value}, which is not from 0 to 1")
    return float(value)


def _rule(rule: Any, names: tuple[str, ...]) -> AnswerRule:  # noqa: ANN401  # JSON
    """A rule; a ValueError unless its weights are of the scores with these names."""
    weights = {str(name): float(weight) for name, weight in rule["weights"].items()}
    threshold = float(rule["threshold"])
    if not set(weights) <= set(names) or not all(map(isfinite, (*weights.values(), threshold))):
        raise ValueError(f"the rule {rule} is not of numbers for {' and '.join(names)}")
    return AnswerRule(weights, threshold)


NO_FUSION = Fusion(bm25=0.0, reranker=1.0, pages=20)


def fusion_settings(metrics: Mapping[str, Any], dimension: int, pages: int) -> dict[str, Any]:
    """The content of fusion.json.

    Args:
        metrics: Contents of the files in metrics/, by name: fusion, empty where pages have no text;
            reranker, empty where there is none; answers, empty where dev has no question.
        dimension: Of the released embedder: dev chose a weight for each.
        pages: To rerank.
    """
    fusion, reranker = metrics["fusion"], metrics["reranker"]
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
        settings[RERANKED] = {"pages": pages} | parts
    rules = _answer_rules(reranker, metrics["answers"], dimension)
    return settings | ({"answers": {"rule": UNANSWERED, "rules": rules}} if rules else {})


def index_settings(dimensions: Mapping[str, Any]) -> dict[str, Any]:
    """What fusion.json says of an index; `dimensions` is the content of metrics/dimensions.json."""
    dimension, bits = (dimensions["recommended"][key] for key in ("dimension", "bits"))
    name = RECOMMENDABLE[bits]
    size = dimensions["precision"][name][str(dimension)]["bytes_per_page"]
    return {
        "precision": name,
        "dimension": dimension,
        "bytes_per_page": size,
        "chosen": INDEX,
    }


def _answer_rules(
    reranker: Mapping[str, Any], answers: Mapping[str, Any], dimension: int
) -> dict[str, Any]:
    """By way of searching, its rule: the weights of the scores by name, and the threshold."""
    embedder = f"{TUNED_AT}{dimension}" if f"{TUNED_AT}{dimension}" in answers else TUNED
    measured = {
        EMBEDDER: answers.get(embedder),
        FIRST_STAGE: answers.get(embedder + WITH_BM25),
        RERANKED: reranker.get("answers"),
    }
    return {
        way: {
            "weights": {
                EMBEDDER if name == embedder else name: weight
                for name, weight in rule["weights"].items()
            },
            "threshold": rule["threshold"],
        }
        for way, rule in measured.items()
        if rule
    }
