"""Fuse the runs of several systems, whose scores share no scale, into one run.

Each list is standardised query by query, and the weighted sum orders the pages. That is the linear
combination of Bruch, Gai and Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval" (ACM
TOIS 2023), of scores with mean 0 and deviation 1, as Montague and Aslam, "Relevance Score
Normalization for Metasearch" (CIKM 2001), standardise them. docs/experiments.md compares it with
reciprocal ranks.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from itertools import islice

from tqdm import tqdm

from pagefinder.retrieval.metrics import mean_metrics
from pagefinder.retrieval.runs import DEPTH, Qrels, Run

log = logging.getLogger(__name__)

Scores = Mapping[str, Mapping[str, float]]  # by query_id and page_id

STEPS = 10  # the weights that are tried are multiples of 1 / STEPS


def fuse(runs: Sequence[Run], weights: Sequence[float]) -> Run:
    """The run that orders the pages of several runs by the weighted sum of standardised scores.

    Of each run the first DEPTH pages of a query count. A page that a list does not have takes the
    lowest score of that list: it scores no more than the pages that are listed, and BM25 gives all
    pages without a word of the query the same score, whether listed or cut off.

    Sums are exact before the run rounds them to float32 (`math.fsum`). So the order of the runs
    makes and breaks no tie.

    Args:
        runs: Of any number of systems, for the same queries.
        weights: Of each run, at least 0. A run of weight 0 is left out, and its pages with it.

    Returns:
        Up to DEPTH pages for each query of the first run that has a weight.

    Raises:
        ValueError: a weight is negative or missing, or all are 0.
    """
    if len(weights) != len(runs) or min(weights) < 0 or not any(weights):
        raise ValueError(f"weights {weights} of {len(runs)} runs: give each one, none below 0")
    ordered = _weighted([_standardised_run(run) for run in runs], weights).as_dict()
    return run_of({query_id: dict(islice(s.items(), DEPTH)) for query_id, s in ordered.items()})


def _standardised_run(run: Run) -> Scores:
    """The standardised scores of each query's list."""
    return {query_id: standardised(scores) for query_id, scores in run.as_dict().items()}


def _weighted(lists: Sequence[Scores], weights: Sequence[float]) -> Run:
    """The run of the weighted sums of standardised lists, not cut to DEPTH."""
    weighted = [(weight, scores) for weight, scores in zip(weights, lists, strict=True) if weight]
    return run_of(
        {
            query_id: _sums([(weight, scores.get(query_id, {})) for weight, scores in weighted])
            for query_id in weighted[0][1]
        }
    )


def run_of(scores: Scores) -> Run:
    """The run of query_id -> {page_id: score}."""
    pages = [list(by_page) for by_page in scores.values()]
    return Run(list(scores), pages, [list(by_page.values()) for by_page in scores.values()])


def standardised(scores: Mapping[str, float]) -> dict[str, float]:
    """The first DEPTH scores of one query's list, with mean 0 and (population) deviation 1.

    Scores that are all equal become 0: such a list prefers no page.

    Args:
        scores: {page_id: score}, best first.
    """
    first = dict(islice(scores.items(), DEPTH))
    mean = math.fsum(first.values()) / max(1, len(first))
    centred = {page: score - mean for page, score in first.items()}
    variance = math.fsum(score**2 for score in centred.values()) / max(1, len(first))
    if len(set(first.values())) < 2 or not variance:
        return dict.fromkeys(first, 0.0)
    return {page: score / math.sqrt(variance) for page, score in centred.items()}


def _sums(lists: Sequence[tuple[float, Mapping[str, float]]]) -> dict[str, float]:
    """The weighted sum of each page's scores in one query's lists, (weight, {page_id: score})."""
    lowest = [min(scores.values(), default=0.0) for _, scores in lists]
    pages = dict.fromkeys(page for _, scores in lists for page in scores)
    weighted = [
        [weight * scores.get(page, low) for page in pages]
        for (weight, scores), low in zip(lists, lowest, strict=True)
    ]
    return dict(zip(pages, map(math.fsum, zip(*weighted, strict=True)), strict=True))


def choose_weights(runs: Mapping[str, Run], qrels: Qrels) -> dict[str, float]:
    """The weights, in tenths that sum to 1, whose fusion and its neighbours have the best NDCG@10.

    What is compared is the mean over the weights at most a tenth away, which order pages almost
    alike: on few queries a single weight may be the best by luck. It is compared to three digits,
    since another kind of processor moves the fourth. Of equally good weights those win that use the
    fewest runs, so that a run that adds nothing gets 0, such as BM25 where the pages have no text.
    Then those nearest to equal weights.

    Args:
        runs: By system, on the queries of dev: eval only measures what was chosen.
        qrels: Of dev. Without any, all weight is on the first run.
    """
    names = list(runs)
    if not qrels:
        return dict(zip(names, mixtures(len(names))[0], strict=True))
    lists = [_standardised_run(run) for run in runs.values()]
    ndcg = {
        weights: mean_metrics(_weighted(lists, weights), qrels)["ndcg@10"]
        for weights in tqdm(mixtures(len(names)), "weights", unit="mixture", disable=None)
    }

    def quality(weights: tuple[float, ...]) -> tuple[float, float, float]:
        from_equal = sum((weight - 1 / len(weights)) ** 2 for weight in weights)
        near = [ndcg[other] for other in ndcg if math.dist(weights, other) < 2 / STEPS]
        mean = round(math.fsum(near) / len(near), 3)
        return mean, -sum(map(bool, weights)), -round(from_equal, 9)

    best = max(ndcg, key=quality)
    chosen = dict(zip(names, best, strict=True))
    log.info("fusion weights %s: NDCG@10 on dev %.4f", chosen, ndcg[best])
    return chosen


def mixtures(parts: int, steps: int = STEPS) -> list[tuple[float, ...]]:
    """All weights of `parts` runs, in multiples of 1 / STEPS; the sum is steps / STEPS.

    Those with the most weight on the first run come first.
    """
    if parts == 1:
        return [(steps / STEPS,)]
    return [
        (first / STEPS, *others)
        for first in range(steps, -1, -1)
        for others in mixtures(parts - 1, steps - first)
    ]
