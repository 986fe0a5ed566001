"""Matryoshka dimensions and precisions: what each scores, what it costs, which to take."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pagefinder.retrieval.nearest import Vectors
from pagefinder.retrieval.precisions import PRECISIONS, bytes_per_page
from pagefinder.retrieval.runs import mean_metrics
from pagefinder.retrieval.vector_search import Task, search

log = logging.getLogger(__name__)

CUT = 10  # pages per question that the table of dimensions needs: its metrics look no deeper


def grid(
    task: Task,
    models: Mapping[str, Vectors],
    dims: Mapping[str, Sequence[int]],
    rescore: int,
    device: str,
) -> pd.DataFrame:
    """Quality and cost of every model at every dimension and precision.

    Args:
        task: What is searched.
        models: By name.
        dims: Of each model; one that is not named here is scored at its full dimension alone.
        rescore: See `search`.
        device: See `search`.

    Returns:
        dimension, model, precision, ndcg@10, recall@10, bytes_per_page; `pareto` is 1 where no
        cheaper or equally dear row of the same model scores higher, else 0.
    """
    train = len(task.corpus.page_rows("train"))
    precisions = [name for name in PRECISIONS if name != "int8" or train]
    if len(precisions) < len(PRECISIONS):
        log.warning("no train pages to measure int8 ranges on: int8 is left out")
    rows = []
    for name, model in models.items():
        for dimension in dims.get(name, [model.pages.shape[1]]):
            for precision in precisions:
                run = search(
                    task,
                    model,
                    CUT,
                    dimension=dimension,
                    precision=precision,
                    rescore=rescore,
                    device=device,
                )
                means = mean_metrics(run, task.qrels)
                rows.append(
                    {
                        "dimension": dimension,
                        "model": name,
                        "precision": precision,
                        "ndcg@10": means["ndcg@10"],
                        "recall@10": means["recall@10"],
                        "bytes_per_page": bytes_per_page(precision, dimension),
                    }
                )
    return _with_pareto(pd.DataFrame(rows))


def _with_pareto(table: pd.DataFrame) -> pd.DataFrame:
    fronts = []
    for _, row in table.iterrows():
        rivals = table[
            (table["model"] == row["model"]) & (table["bytes_per_page"] <= row["bytes_per_page"])
        ]
        fronts.append(int(row["ndcg@10"] >= rivals["ndcg@10"].max()))
    return table.assign(pareto=fronts)


def recommended(
    task: Task, tuned: Vectors, dims: Sequence[int], tolerance: float, device: str
) -> int:
    """The smallest dimension that loses at most `tolerance` of the full one's NDCG@10.

    Args:
        task: Of dev: eval only reports what was chosen. Without questions, the full dimension.
        tuned: Vectors of the tuned model.
        dims: To choose from, the full one included.
        tolerance: Share of NDCG@10.
        device: Of the search.
    """
    if not task.query_ids:
        log.warning("no dev query has an answer: the full dimension %d is recommended", max(dims))
        return max(dims)
    scores = {
        dimension: mean_metrics(
            search(task, tuned, CUT, dimension=dimension, device=device), task.qrels
        )["ndcg@10"]
        for dimension in dims
    }
    floor = scores[max(dims)] * (1 - tolerance)
    return min(dimension for dimension in dims if scores[dimension] >= floor)


def named(metrics: Mapping[str, Any]) -> list[int]:
    """The dimensions that `dimension_metrics` names: its claims about them need intervals."""
    names = ("recommended", "beats_base")
    return sorted({metrics[name]["dimension"] for name in names if name in metrics})


def dimension_metrics(table: pd.DataFrame, choice: int) -> dict[str, Any]:
    """The numbers of metrics/dimensions.json, from `grid`.

    `recommended.loss` is the share of the full dimension's NDCG@10 that the recommended one loses
    on eval; `beats_base.dimension`, absent where there is none, is the smallest at which the tuned
    model still beats the base at full size.
    """
    score = table.set_index(["model", "precision", "dimension"])["ndcg@10"].to_dict()
    dims = sorted(table["dimension"].unique().tolist(), reverse=True)
    precisions = [name for name in PRECISIONS if ("tuned", name, dims[0]) in score]
    full = score["tuned", "float32", dims[0]]
    best = score["base", "float32", dims[0]]
    ahead = [d for d in dims if score["tuned", "float32", d] > best]
    loss = 1 - score["tuned", "float32", choice] / full if full else 0.0
    return {
        "dims": {
            d: {model: {"ndcg@10": score[model, "float32", d]} for model in ("base", "tuned")}
            for d in dims
        },
        "precision": {
            name: {
                d: {"ndcg@10": score["tuned", name, d], "bytes_per_page": bytes_per_page(name, d)}
                for d in dims
            }
            for name in precisions
        },
        "recommended": {"dimension": choice, "loss": loss},
    } | ({"beats_base": {"dimension": min(ahead)}} if ahead else {})
