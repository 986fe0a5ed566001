"""Search stored vectors at any Matryoshka dimension and precision, without encoding again."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from pagefinder.data.corpus import Corpus
from pagefinder.errors import InputError
from pagefinder.retrieval.nearest import Vectors, nearest, trec_order
from pagefinder.retrieval.precisions import (
    BLOCK,
    Int8,
    View,
    cut,
    hamming_nearest,
    pack,
    pack_rows,
    unpack,
)
from pagefinder.retrieval.runs import Qrels, Run, qrels_of

SHORTLIST = 100  # binary_rescored looks again at `rescore` times this many pages


@dataclass(frozen=True)
class Task:
    """The questions of a split, the pages among which their answers are sought, and the answers."""

    corpus: Corpus
    query_ids: list[str]
    page_rows: np.ndarray
    qrels: Qrels

    @cached_property
    def query_rows(self) -> np.ndarray:
        """Rows of the questions in the query table."""
        return np.array([self.corpus.query_row[name] for name in self.query_ids], np.int64)

    @cached_property
    def page_ids(self) -> np.ndarray:
        """Ids of all pages, in table order."""
        return self.corpus.pages["page_id"].to_numpy(dtype=object)

    @cached_property
    def tie_break(self) -> np.ndarray:
        """int64 [all pages]: the page whose id sorts last comes first, as in trec_eval."""
        return trec_order(self.page_ids.tolist())

    def run(self, scores: np.ndarray, rows: np.ndarray) -> Run:
        """The run of scores and page rows, both [questions, k]."""
        return Run(self.query_ids, self.page_ids[rows], scores)


def task(corpus: Corpus, split: str, distractors: bool = False) -> Task:
    """The search task of a split: its questions with an answer, over its own pages.

    An answer that is no page of the split cannot be found, and counts as missed.

    Args:
        corpus: The corpus.
        split: dev or eval.
        distractors: Search among every page of the corpus instead.
    """
    qrels = qrels_of(corpus, split)
    rows = np.arange(len(corpus.pages)) if distractors else corpus.page_rows(split)
    return Task(corpus, list(qrels), rows, qrels)


def search(
    task: Task,
    vectors: Vectors,
    k: int,
    *,
    dimension: int | None = None,
    precision: str = "float32",
    rescore: int = 4,
    device: str = "cpu",
) -> Run:
    """The k best pages of every question of a task.

    Args:
        task: What to search.
        vectors: Of the model.
        k: Pages per question.
        dimension: Cut to; the full one by default.
        precision: One of PRECISIONS.
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
    if precision in ("float32", "int8"):
        decode: Callable[[np.ndarray], np.ndarray] = partial(cut, dimension=dimension)
        if precision == "int8":
            decode = _through_int8(vectors.pages, dimension, task.corpus.page_rows("train"))
        pages = View(vectors.pages, dimension, decode).as_array()
        found = nearest(
            queries, pages, k, rows=task.page_rows, tie_break=task.tie_break, device=device
        )
        return task.run(*found)
    codes = pack_rows(vectors.pages, dimension, task.page_rows)
    ties = task.tie_break[task.page_rows]
    wanted = k if precision == "binary" else rescore * SHORTLIST
    distances, places = hamming_nearest(pack(queries), codes, wanted, ties)
    if precision == "binary":
        return task.run(-distances.astype(np.float32), task.page_rows[places])
    signs = View(codes, dimension, partial(unpack, dimension=dimension))
    scores, places = rescored(queries, signs, places, k, ties)
    return task.run(scores, task.page_rows[places])


def _through_int8(
    pages: np.ndarray, dimension: int, train_rows: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """Cut vectors as their int8 codes give them back."""
    codec = Int8.measure(pages, dimension, train_rows)
    return lambda block: codec.decode(codec.encode(cut(block, dimension)))


def rescored(
    queries: np.ndarray, pages: View, rows: np.ndarray, k: int, tie_break: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Order each query's shortlist by dot product.

    Pages on any shortlist are decoded once, and summed in float64 like those of `nearest`: equal
    pages tie wherever they stand.

    Args:
        queries: float32 [q, d].
        pages: [n, d].
        rows: int64 [q, s], the shortlists.
        k: Pages wanted per query.
        tie_break: int64 [n]; at equal scores the lower comes first.

    Returns:
        Scores, float32 [q, min(k, s)], descending, and rows, int64.
    """
    listed, place = np.unique(rows, return_inverse=True)
    place = place.reshape(rows.shape)
    scores = np.empty(rows.shape, np.float32)
    for start in range(0, len(listed), BLOCK):
        block = pages[listed[start : start + BLOCK]].astype(np.float64)
        here = (place >= start) & (place < start + BLOCK)
        scores[here] = (queries.astype(np.float64) @ block.T)[
            here.nonzero()[0], place[here] - start
        ]
    order = np.lexsort((tie_break[rows], -scores))[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
