"""Search stored vectors at any Matryoshka dimension and precision, without encoding again."""

import numpy as np

from pagefinder.errors import InputError
from pagefinder.retrieval.precisions import FLOAT32, Precision, Search
from pagefinder.retrieval.runs import Run
from pagefinder.retrieval.tasks import Task
from pagefinder.retrieval.vectors import Vectors, cut

SHORTLIST = 100  # binary_rescored looks again at `rescore` times this many pages


def search(
    task: Task,
    vectors: Vectors,
    k: int,
    *,
    dimension: int | None = None,
    precision: Precision = FLOAT32,
    rescore: int = 4,
    device: str = "cpu",
) -> Run:
    """The k best pages of every query of a task.

    Args:
        task: Queries, and pages to search.
        vectors: Of the model.
        k: Pages per query.
        dimension: To cut to; the full one by default.
        precision: Of the index.
        rescore: binary_rescored orders this many times SHORTLIST pages again.
        device: Of the float search, as torch names it.

    Raises:
        InputError: the vectors are shorter than `dimension`, or int8 finds no train pages.
    """
    width = vectors.pages.shape[1]
    dimension = dimension or width
    if dimension > width:
        raise InputError(
            f"embedder.dims names {dimension}, but the vectors have {width} dimensions: "
            "name smaller ones"
        )
    queries = cut(np.asarray(vectors.queries[task.query_rows]), dimension)
    return precision.search(Search(task, queries, vectors.pages, k, rescore * SHORTLIST, device))
