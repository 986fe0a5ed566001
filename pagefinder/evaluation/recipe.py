"""NDCG@10 as the reference recipe counts it, to lay beside its published figure."""

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np

from pagefinder.retrieval.runs import Qrels, Run
from pagefinder.retrieval.tasks import Task
from pagefinder.systems import BASE, TUNED


def recipe_metrics(runs: Mapping[str, Run], task: Task) -> dict[str, object]:
    """The numbers of metrics/recipe.json.

    The recipe searches every page that a row of the dataset names, the answer and the negatives, as
    often as rows name it. A repeat of the answer takes a place in the list and counts as wrong.
    Here identical pages are one.

    Args:
        runs: Of base and tuned, by name, at least 10 pages deep.
        task: Queries, pages and qrels.

    Returns:
        NDCG@10 of base and tuned, and the number of pages counted so. Nothing where no query brings
        negatives: such data is not of the recipe's form.
    """
    copies = page_copies(task)
    if not any(relevance <= 0 for judged in task.qrels.values() for relevance in judged.values()):
        return {}
    scores = {
        name: {"ndcg@10": recipe_ndcg(runs[name], task.qrels, copies)} for name in (BASE, TUNED)
    }
    return scores | {"pages": sum(copies.values())}


def page_copies(task: Task) -> Counter[str]:
    """How often the recipe's corpus holds each page: once for each query that names it.

    A page that no query names is in it once.
    """
    copies = Counter(page_id for judged in task.qrels.values() for page_id in judged)
    for page_id in task.page_ids[task.page_rows]:
        copies.setdefault(page_id, 1)
    return copies


def recipe_ndcg(run: Run, qrels: Qrels, copies: Mapping[str, int]) -> float:
    """Mean NDCG@10 over all pairs of a query and a page that answers it: one copy of it is right.

    Copies of a page have equal scores. The recipe's evaluator leaves their order to chance, so the
    mean over all orders is taken.

    Args:
        run: Pages and scores of each query. A page that it lacks counts as not found.
        qrels: Of all queries of the run.
        copies: How often the corpus holds each page.
    """
    gains = []
    for query_id, scores in run.as_dict().items():
        for page_id, relevance in qrels[query_id].items():
            if relevance <= 0:
                continue
            if page_id not in scores:
                gains.append(0.0)
                continue
            above = sum(copies[at] for at, score in scores.items() if score > scores[page_id])
            ranks = range(above + 1, above + copies[page_id] + 1)
            gains.append(
                float(np.mean([1 / math.log2(rank + 1) if rank <= 10 else 0.0 for rank in ranks]))
            )
    return float(np.mean(gains))
