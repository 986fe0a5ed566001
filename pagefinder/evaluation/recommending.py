"""Which dimension and precision to take: chosen on dev, by what each may cost, not by its score.

The score of a cut on a few dev documents is partly luck: the smallest dimension whose score is near
enough changes with the documents, and with the processor. So the choice looks at the upper end of
the loss's interval, and is told together with how often resampled dev documents would repeat it.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.stats

from pagefinder.evaluation.significance import Floats, batch_of, sums_by_document
from pagefinder.params import Evaluate
from pagefinder.retrieval.metrics import CUT, metrics_per_query
from pagefinder.retrieval.precisions import FLOAT32, PRECISIONS, Precision
from pagefinder.retrieval.runs import FEWEST_DOCUMENTS, documents_of
from pagefinder.retrieval.tasks import Task
from pagefinder.retrieval.vector_search import search
from pagefinder.retrieval.vectors import Vectors
from pagefinder.systems import RECOMMENDABLE

log = logging.getLogger(__name__)

CONFIDENCE = 0.95  # of the upper end of a loss, on one side
UNCUT = "uncut"  # the full dimension in float32, which losses are measured against


@dataclass(frozen=True)
class Recommendation:
    """What dev recommends for an index.

    Attributes:
        dimension: That vectors are cut to.
        precision: That the index keeps them in.
        dimensions: From `dev_losses`.
        precisions: From `precision_losses`.
    """

    dimension: int
    precision: Precision
    dimensions: pd.DataFrame
    precisions: pd.DataFrame


def recommend(
    task: Task, vectors: Vectors, dims: Sequence[int], knobs: Evaluate, seed: int, device: str
) -> Recommendation:
    """Choose a dimension in float32, and then a precision at it; see `dev_losses`."""
    losses = dev_losses(task, vectors, dims, knobs, seed, device)
    dimension = recommended_dimension(losses, knobs.tolerance)
    coarse = precision_losses(task, vectors, dimension, knobs, seed, device)
    precision = recommended_precision(coarse, knobs.tolerance)
    return Recommendation(dimension, precision, losses, coarse)


def dev_losses(
    task: Task, vectors: Vectors, dims: Sequence[int], knobs: Evaluate, seed: int, device: str
) -> pd.DataFrame:
    """What each dimension loses on dev, what it may lose, and how often it would be chosen.

    Args:
        task: That of dev: eval only reports what was chosen.
        vectors: Of the tuned model.
        dims: Dimensions to choose from, the full one included.
        knobs: `tolerance`, see `recommended_dimension`; `bootstrap`, the number of resampled sets.
        seed: Of the resamples.
        device: Of the search.

    Returns:
        The table of `document_losses`.
    """
    scores = {}
    for dimension in sorted(dims, reverse=True):
        run = search(task, vectors, CUT, dimension=dimension, device=device)
        scores[dimension] = metrics_per_query(run, task.qrels)["ndcg@10"]
    documents = documents_of(task.corpus, task.qrels)
    return document_losses(pd.DataFrame(scores), documents, knobs.tolerance, knobs.bootstrap, seed)


def precision_losses(
    task: Task, vectors: Vectors, dimension: int, knobs: Evaluate, seed: int, device: str
) -> pd.DataFrame:
    """What each precision loses on dev at a dimension, against float32 at full dimension.

    Args:
        task: See `dev_losses`, as for the rest.
        vectors: Of the tuned model.
        dimension: Of all precisions.
        knobs: `rescore` too, see `search`.
        seed: Of the resamples.
        device: Of the search.

    Returns:
        The table of `document_losses`: a row UNCUT, then one for each precision that may be
        recommended, by its name, the largest first. One that measures ranges on train pages is left
        out where there are none.
    """
    trained = len(task.corpus.page_rows("train"))
    runs = {UNCUT: search(task, vectors, CUT, device=device, dimension=vectors.pages.shape[1])}
    for precision in (PRECISIONS[name] for name in RECOMMENDABLE.values()):
        if trained or not precision.needs_train_pages:
            runs[precision.name] = search(
                task,
                vectors,
                CUT,
                dimension=dimension,
                precision=precision,
                rescore=knobs.rescore,
                device=device,
            )
    scores = {name: metrics_per_query(run, task.qrels)["ndcg@10"] for name, run in runs.items()}
    documents = documents_of(task.corpus, task.qrels)
    return document_losses(pd.DataFrame(scores), documents, knobs.tolerance, knobs.bootstrap, seed)


def document_losses(
    scores: pd.DataFrame, documents: Sequence[str], tolerance: float, resamples: int, seed: int
) -> pd.DataFrame:
    """What each dimension loses, from the scores of queries about some documents.

    Args:
        scores: NDCG@10 of each query (rows) at each dimension (columns, largest first).
        documents: The document of each query; the unit that is resampled.
        tolerance: See `recommended_dimension`.
        resamples: Number of resampled sets of documents.
        seed: Of the resamples.

    Returns:
        A row per dimension: `loss`, the share of the NDCG@10 at full dimension that is lost;
        `high`, the upper end of its one-sided 95% interval; `share`, that of the resampled sets for
        which the same rule chooses this dimension. high and share are NaN where documents are fewer
        than FEWEST_DOCUMENTS, all three where no query is answered.
    """
    # [dims, documents]
    sums = np.array([sums_by_document(scores[dimension], documents)[0] for dimension in scores])
    number = sums.shape[1]
    table = pd.DataFrame(index=scores.columns, columns=["loss", "high", "share"], dtype=float)
    if number == 0 or not sums[0].any():
        return table
    if number < FEWEST_DOCUMENTS:
        return table.assign(loss=1 - sums.sum(axis=1) / sums[0].sum())
    losses, highs = _losses(np.ones((1, number)), sums)
    counts = np.zeros(len(sums))
    rng = np.random.default_rng(seed)
    for start in range(0, resamples, batch_of(sums[0])):
        size = min(batch_of(sums[0]), resamples - start)
        weights = rng.multinomial(number, np.full(number, 1 / number), size).astype(np.float64)
        chosen = _chosen(_losses(weights, sums)[1], tolerance)
        counts += np.bincount(chosen, minlength=len(sums))
    return table.assign(loss=losses[0], high=highs[0], share=counts / resamples)


def recommended_dimension(losses: pd.DataFrame, tolerance: float) -> int:
    """The dimension to take: going down, the last before one that may lose more than `tolerance`.

    Testing from the largest to the smallest and stopping at the first failure keeps the confidence
    of a single test for the choice as a whole. Without an interval nothing shows that a cut is
    harmless: then the full dimension is recommended.

    Args:
        losses: From `dev_losses`.
        tolerance: Share of the NDCG@10 at full dimension that may be lost.
    """
    dims = losses.index
    if losses["high"].isna().all():
        log.warning(
            "dev has too few documents to show what a cut costs: all %d dimensions", dims[0]
        )
    return int(dims[_chosen(losses["high"].to_numpy()[np.newaxis], tolerance)[0]])


def recommended_precision(losses: pd.DataFrame, tolerance: float) -> Precision:
    """The precision to take: by the rule of `recommended_dimension`, going down in bytes.

    Args:
        losses: From `precision_losses`.
        tolerance: See `recommended_dimension`: what cut and precision may lose together.
    """
    name = losses.index[_chosen(losses["high"].to_numpy()[np.newaxis], tolerance)[0]]
    return FLOAT32 if name == UNCUT else PRECISIONS[name]


def _losses(weights: Floats, sums: Floats) -> tuple[Floats, Floats]:
    """The loss of each dimension and the upper end of its interval, for sets of documents.

    A loss is 1 less a ratio of sums over documents, and its standard error is that of a ratio
    estimator (Cochran, Sampling Techniques, 1977, chapter 6): from the sum of squares of what each
    document differs from the ratio. A percentile of resamples would need a seed, and would be too
    narrow for a dozen documents.

    Args:
        weights: [sets, documents] how often each resampled set holds each document.
        sums: [dims, documents] each document's sum of NDCG@10, the full dimension's first.

    Returns:
        Losses and upper ends, both [sets, dims].
    """
    documents = sums.shape[1]  # and so many are in each set
    totals = weights @ sums.T
    with np.errstate(divide="ignore", invalid="ignore"):  # a set that holds no answered query
        ratio = totals / totals[:, :1]
        # The sum over documents of (sum - ratio * sum at full dimension)², multiplied out.
        squares = weights @ (sums**2).T - 2 * ratio * (weights @ (sums * sums[0]).T)
        squares += ratio**2 * (weights @ sums[0] ** 2)[:, np.newaxis]
        error = np.sqrt(np.maximum(squares, 0) * documents / (documents - 1)) / totals[:, :1]
    highs = 1 - ratio + scipy.stats.t.ppf(CONFIDENCE, documents - 1) * error
    return 1 - ratio, highs.round(6)  # differences of equal sums are not quite 0


def _chosen(highs: Floats, tolerance: float) -> np.ndarray:
    """The position of each set's recommended dimension, [sets]; highs [sets, dims]."""
    passed = highs[:, 1:] <= tolerance
    return np.asarray(np.cumprod(passed, axis=1).sum(axis=1))
