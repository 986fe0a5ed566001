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
    """The run of the k best pages of each query of a task.

    Args:
        task: Queries, and pages to search.
        vectors: Of a model, for all queries and pages of the task's corpus.
        k: Pages per query.
        dimension: Dimension that the vectors are cut to; by default they are not cut.
        precision: Of the index.
        rescore: binary_rescored reorders this many times SHORTLIST pages.
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
