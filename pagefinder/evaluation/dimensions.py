"""Matryoshka dimensions and precisions: the score and cost of each."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from pagefinder.evaluation.recommending import UNCUT, Recommendation
from pagefinder.retrieval.metrics import CUT, mean_metrics
from pagefinder.retrieval.precisions import FLOAT32, PRECISIONS
from pagefinder.retrieval.tasks import Task
from pagefinder.retrieval.vector_search import search
from pagefinder.retrieval.vectors import Vectors
from pagefinder.systems import BASE, TUNED

log = logging.getLogger(__name__)


def score_grid(
    task: Task,
    models: Mapping[str, Vectors],
    dims: Mapping[str, Sequence[int]],
    rescore: int,
    device: str,
) -> pd.DataFrame:
    """The scores and the bytes per page of each model, at each of its dimensions and precision.

    Args:
        task: Queries, and pages to search.
        models: Vectors by the model's name.
        dims: Dimensions by the model's name; a model that is not named here is scored at its full
            dimension alone.
        rescore: See `search`.
        device: See `search`.

    Returns:
        dimension, model, precision, ndcg@10, recall@10, bytes_per_page; `pareto` is 1 where no
        other row of the same model has a higher ndcg@10 at as many bytes or less, else 0.
    """
    train = len(task.corpus.page_rows("train"))
    left_out = [p.name for p in PRECISIONS.values() if p.needs_train_pages and not train]
    if left_out:
        log.warning("no train pages to measure ranges on: left out %s", ", ".join(left_out))
    precisions = [p for p in PRECISIONS.values() if p.name not in left_out]
    ten_best = partial(search, task, k=CUT, rescore=rescore, device=device)
    rows = []
    for name, vectors in models.items():
        for dimension in dims.get(name, [vectors.pages.shape[1]]):
            for precision in precisions:
                run = ten_best(vectors, dimension=dimension, precision=precision)
                means = mean_metrics(run, task.qrels)
                row = {"dimension": dimension, "model": name, "precision": precision.name}
                row |= {metric: means[metric] for metric in ("ndcg@10", "recall@10")}
                rows.append(row | {"bytes_per_page": precision.bytes_per_page(dimension)})
    grid = pd.DataFrame(rows)
    return grid.assign(pareto=[int(_on_pareto_front(row, grid)) for _, row in grid.iterrows()])


def _on_pareto_front(row: pd.Series, grid: pd.DataFrame) -> bool:
    """Whether no row of the same model in `grid` scores higher at as many bytes or less."""
    affordable = grid["bytes_per_page"] <= row["bytes_per_page"]
    rivals = grid[affordable & (grid["model"] == row["model"])]
    return bool(row["ndcg@10"] >= rivals["ndcg@10"].max())


def dimension_metrics(grid: pd.DataFrame, choice: Recommendation) -> dict[str, Any]:
    """The numbers of metrics/dimensions.json.

    `dev` is what the recommended dimension was chosen by, `dev_precision` what the precision was;
    keys without a number are left out. `recommended.loss` is the share of the full dimension's
    NDCG@10 that the recommended one loses on eval, in float32. `recommended.bits` are those of the
    recommended precision, see RECOMMENDABLE. `beats_base.dimension` is the smallest dimension at
    which the tuned model scores above the base at full dimension; the key is left out if there is
    none.

    Args:
        grid: As `score_grid` returns it: model, precision, dimension, ndcg@10.
        choice: From `recommending.recommend`.
    """
    recommended = choice.dimension
    ndcg = grid.set_index(["model", "precision", "dimension"])["ndcg@10"].to_dict()
    tuned = grid[grid["model"] == TUNED]
    dims = sorted(tuned["dimension"].unique().tolist(), reverse=True)
    precisions = [PRECISIONS[name] for name in tuned["precision"].unique()]
    tuned_full, base_full = (ndcg[model, FLOAT32.name, dims[0]] for model in (TUNED, BASE))
    loss = 1 - ndcg[TUNED, FLOAT32.name, recommended] / tuned_full if tuned_full else 0.0
    metrics = {
        "dims": {
            d: {model: {"ndcg@10": ndcg[model, FLOAT32.name, d]} for model in (BASE, TUNED)}
            for d in dims
        },
        "precision": {
            p.name: {
                d: {"ndcg@10": ndcg[TUNED, p.name, d], "bytes_per_page": p.bytes_per_page(d)}
                for d in dims
            }
            for p in precisions
        },
        "dev": {d: row.dropna().to_dict() for d, row in choice.dimensions.iterrows()},
        "dev_precision": {
            name: row.dropna().to_dict() for name, row in choice.precisions.drop(UNCUT).iterrows()
        },
        "recommended": {"dimension": recommended, "loss": loss, "bits": choice.precision.bits},
    }
    better = [d for d in dims if ndcg[TUNED, FLOAT32.name, d] > base_full]
    return metrics | ({"beats_base": {"dimension": min(better)}} if better else {})


def claimed_dimensions(metrics: Mapping[str, Any]) -> list[int]:
    """The recommended dimension and the one that beats the base, ascending: they get intervals.

    `metrics` is what `dimension_metrics` returned.
    """
    names = ("recommended", "beats_base")
    return sorted({metrics[name]["dimension"] for name in names if name in metrics})
