"""When to say that no page answers a question: rules that dev chooses, and how often they err.

A question without an answer is made of one with an answer, by leaving its relevant pages out of
the search. Their neighbours stay, which makes it the hard case: often a page of the same document
is about the same thing. Where the whole document is left out, the question is about a document that
is not there, as a user's question often is. That case is measured and chooses nothing.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.stats

from pagefinder.evaluation.fusion import Weights
from pagefinder.retrieval.answers import AnswerRule
from pagefinder.retrieval.fusion import fuse, mixtures, run_of
from pagefinder.retrieval.runs import Run
from pagefinder.retrieval.tasks import Task
from pagefinder.systems import BM25

# The share of answered questions on dev of which a rule may say that no page answers them. A page
# that is there and denied costs more than one page too many: the best pages are shown anyway.
DENIED = 0.05
DIGITS = 4  # of weights and thresholds

# By query, the pages to leave out of its list.
LeftOut = Mapping[str, set[str]]
ANSWERED, WITHOUT_PAGE, WITHOUT_DOCUMENT = "answered", "without_page", "without_document"


def answer_metrics(
    runs: Mapping[str, Run], dev_runs: Mapping[str, Run], weights: Weights, task: Task, dev: Task
) -> dict[str, Any]:
    """The numbers of metrics/answers.json: by system, its rule and how often it is right.

    Args:
        runs: Of eval, by system: of each embedder and, where something is fused, of BM25.
        dev_runs: The same on dev.
        weights: By fused system those of its parts.
        task: Of eval.
        dev: Of dev, which chooses the rules. Without a query there is no rule.
    """
    if not dev.query_ids:
        return {}
    plain = {name: {name: 1.0} for name in dev_runs if name != BM25}
    metrics = {}
    for system, parts in (plain | weights).items():
        of_dev, of_eval = (
            first_scores_by_case({name: by_name[name] for name in parts}, parts, at)
            for by_name, at in ((dev_runs, dev), (runs, task))
        )
        metrics[system] = rule_metrics(list(parts), of_dev, of_eval)
    return metrics


def rule_metrics(
    names: list[str], dev: Mapping[str, np.ndarray], held_out: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """A rule chosen on dev as metrics: weights, threshold, and its shares on dev and on eval.

    Args:
        names: Of the scores.
        dev: By case, the scores of each query's best page, [queries, names].
        held_out: The same of eval, which only measures.
    """
    rule = choose_rule(names, dev[ANSWERED], dev[WITHOUT_PAGE])
    shares = {"dev": rule_shares(rule, names, dev), "eval": rule_shares(rule, names, held_out)}
    return {"weights": dict(rule.weights), "threshold": rule.threshold} | shares


def first_scores_by_case(
    runs: Mapping[str, Run], weights: Mapping[str, float], task: Task
) -> dict[str, np.ndarray]:
    """The scores of each query's best page in a run or in several fused, float64 [queries, runs].

    Returns:
        By case: as it is; its relevant pages left out; all pages of their documents left out.
    """
    pages = relevant_pages(task)
    cases = {ANSWERED: {}, WITHOUT_PAGE: pages, WITHOUT_DOCUMENT: document_pages(task, pages)}
    return {case: _first_scores(runs, weights, left_out) for case, left_out in cases.items()}


def relevant_pages(task: Task) -> dict[str, set[str]]:
    """The relevant pages of each query."""
    return {
        query_id: {page_id for page_id, relevance in pages.items() if relevance > 0}
        for query_id, pages in task.qrels.items()
    }


def document_pages(task: Task, pages: LeftOut) -> dict[str, set[str]]:
    """For each query, all pages of the documents that its `pages` are of, and these pages."""
    table = task.corpus.pages[["page_id", "document_id"]].dropna()
    members: dict[str, set[str]] = {
        str(document): set(group) for document, group in table.groupby("document_id")["page_id"]
    }
    document_of = dict(zip(table["page_id"], table["document_id"].astype(str), strict=True))
    return {
        query_id: own.union(*(members[document_of[page]] for page in own if page in document_of))
        for query_id, own in pages.items()
    }


def choose_rule(names: list[str], answered: np.ndarray, unanswered: np.ndarray) -> AnswerRule:
    """The rule that tells answered from unanswered queries best, and denies DENIED of the answered.

    Weights are tenths of scores brought to one deviation. Those win whose weighted scores order the
    most pairs of an answered and an unanswered query as they should (the area under the ROC curve,
    to three digits). Of equally good ones those with the fewest parts win, then the most equal.

    Args:
        names: Of the scores.
        answered: Scores of each query's best page, [queries, names].
        unanswered: The same where no page answers.
    """
    deviation = np.concatenate([answered, unanswered]).std(axis=0)
    scale = np.where(deviation > 0, deviation, 1)

    def quality(mixture: tuple[float, ...]) -> tuple[float, float, float]:
        weights = np.array(mixture) / scale
        area = _area(answered @ weights, unanswered @ weights)
        from_equal = sum((weight - 1 / len(names)) ** 2 for weight in mixture)
        return round(area, 3), -sum(map(bool, mixture)), -round(from_equal, 9)

    best = max(mixtures(len(names)), key=quality)
    weights = {
        name: round(float(weight / deviation), DIGITS) if len(names) > 1 else 1.0
        for name, weight, deviation in zip(names, best, scale, strict=True)
        if weight
    }
    totals = np.sort(_totals(AnswerRule(weights, 0.0), names, answered))
    lowest = totals[min(len(totals) - 1, math.floor(DENIED * len(totals)))]
    # Rounded down, so that rounding denies no further query.
    return AnswerRule(weights, math.floor(float(lowest) * 10**DIGITS) / 10**DIGITS)


def rule_shares(
    rule: AnswerRule, names: list[str], by_case: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """The share of queries that the rule denies in each case, and the area under the ROC curve.

    The area is the share of pairs, of an answered query and one without its relevant pages, that
    the rule's score orders as it should: 0.5 by chance.
    """
    totals = {case: _totals(rule, names, scores) for case, scores in by_case.items()}
    shares = {
        f"denied_{case}": float((values < rule.threshold).mean()) if len(values) else 0.0
        for case, values in totals.items()
    }
    return {"area": _area(totals[ANSWERED], totals[WITHOUT_PAGE])} | shares


def _first_scores(
    runs: Mapping[str, Run], weights: Mapping[str, float], left_out: LeftOut
) -> np.ndarray:
    """The scores of each query's best page, without the pages to leave out.

    A page that a list does not have gets the list's lowest score, as in a fusion. So does a query
    of which no page is left.
    """
    lists = {name: run.as_dict() for name, run in runs.items()}
    rest = {
        name: {
            query_id: {p: s for p, s in scores.items() if p not in left_out.get(query_id, ())}
            for query_id, scores in by_query.items()
        }
        for name, by_query in lists.items()
    }
    order = next(iter(rest.values()))
    if len(runs) > 1:
        order = fuse(
            [run_of(by_query) for by_query in rest.values()], [*weights.values()]
        ).as_dict()
    return np.array(
        [
            [
                by_query[query_id].get(page, min(by_query[query_id].values(), default=0.0))
                for by_query in lists.values()
            ]
            for query_id, pages in order.items()
            for page in [next(iter(pages), "")]
        ]
    ).reshape(-1, len(runs))


def _totals(rule: AnswerRule, names: list[str], scores: np.ndarray) -> np.ndarray:
    """The weighted sum of scores [queries, names]."""
    weights = np.array([rule.weights.get(name, 0.0) for name in names])
    totals: np.ndarray = scores @ weights
    return totals


def _area(answered: np.ndarray, unanswered: np.ndarray) -> float:
    """The share of pairs in which the answered query's score is higher; equal ones count half."""
    if not len(answered) or not len(unanswered):
        return 0.5
    pairs = len(answered) * len(unanswered)
    return float(scipy.stats.mannwhitneyu(answered, unanswered).statistic) / pairs
