"""Put the scores of embedder, BM25 and reranker together as a release says."""

from collections.abc import Mapping, Sequence
from itertools import islice

from pagefinder.release.fusion import Fusion
from pagefinder.retrieval.fusion import fuse, run_of
from pagefinder.retrieval.runs import DEPTH
from pagefinder.systems import BM25, EMBEDDER, FIRST_STAGE, RERANKED, RERANKER

LAST = 10**20 - 1  # above the key of any page, with twenty digits


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
        best: The key of the first page, before any reranking.
        cosines: Of the embedder's nearest pages, by key.
        bm25: The scores of BM25, by key, also where all are 0; {} where only the embedder searched.
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


def with_zeros(bm25: Mapping[int, float], cosines: Mapping[int, float]) -> dict[int, float]:
    """The BM25 scores of DEPTH pages, as the evaluation has them, best first.

    A search engine lists only pages with a word of the question. The others have score 0: weights
    and rules were chosen on lists that hold such pages too.

    Args:
        bm25: Scores by key, best first.
        cosines: Of the embedder's nearest pages, of which those come first that `bm25` lacks.
    """
    others = islice((key for key in cosines if key not in bm25), max(0, DEPTH - len(bm25)))
    return dict(bm25) | dict.fromkeys(others, 0.0)


def fuse_two(
    first: Mapping[int, float], second: Mapping[int, float], weight: float
) -> dict[int, float]:
    """Two lists fused by `fuse`, best first; of equal pages the one with the lower key is first.

    Args:
        first: Scores by the key of the page.
        second: The same.
        weight: Of the second list.
    """
    # `fuse` puts the name that sorts last first among equal ones.
    runs = [
        run_of({"": {f"{LAST - key:020}": score for key, score in scores.items()}})
        for scores in (first, second)
    ]
    fused = fuse(runs, [1 - weight, weight]).as_dict()[""]
    return {LAST - int(name): score for name, score in fused.items()}
