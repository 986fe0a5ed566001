"""Exact nearest pages by blocks: bounded memory, and the same answer at any block size."""

import math
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from pagefinder.errors import InputError

Decode = Callable[[np.ndarray], np.ndarray]
# Yields, for each block of queries, the highest scores and their places among page vectors [n, d],
# both [queries, k] and in any order: from the vectors and k.
Best = Callable[[np.ndarray, int], Iterator[tuple[np.ndarray, np.ndarray]]]

# Pages fetched beyond k, so that a tie or a rounding at the boundary is nearly always inside.
SPARE = 16
# A float32 sum of d products of unit vectors errs by less than LAMBDA * sqrt(d) * 2**-24: Higham
# and Mary, "A new approach to probabilistic rounding error analysis", SIAM J. Sci. Comput. 2019.
LAMBDA = 6
# Queries and pages scored at once: the vectors of the pages and all these scores are held, by numpy
# the place of each score as well.
NUMPY_QUERY_BLOCK, QUERY_BLOCK, PAGE_BLOCK = 128, 1024, 16384
# Scores of a search for which torch is worth its import, of more than a second: it selects the best
# of them in half of numpy's time, and on all cores.
TORCH_SCORES = 10**8
# Bytes of float64 vectors that one step of the second pass holds: small enough for the allocator
# to use the same memory again.
RESCORE_BYTES = 2**23


def nearest(
    queries: np.ndarray,
    pages: np.ndarray,
    k: int,
    *,
    rows: np.ndarray | None = None,
    tie_break: np.ndarray | None = None,
    decode: Decode = np.asarray,
    device: str = "cpu",
) -> tuple[np.ndarray, np.ndarray]:
    """Find the k pages with the highest dot product for every query, exactly.

    A first pass multiplies blocks in float32 and keeps a few pages more than k. A second pass sums
    the products of these pages again in float64 and rounds to float32. So order, boundary and
    scores depend neither on the block size nor on the device, unlike the scores of a matmul.

    Args:
        queries: float32 [q, d].
        pages: [n, ...] stored pages; a memory map is read block by block, never whole.
        k: Pages per query; above n all n come back.
        rows: Row numbers of `pages` to search among; all rows by default.
        tie_break: int [n]; of pages whose float32 scores are equal, the lower value comes first.
            By default the lower row.
        decode: Turns stored pages into vectors, float32 [..., d]. By default pages are vectors.
        device: Where the first pass runs, as torch names it; "auto" is the GPU where there is one.

    Returns:
        Scores, float32 [q, min(k, n)], descending, and the row numbers in `pages`, int64.

    Raises:
        ValueError: where the widths differ or k is negative.
        InputError: a vector is not finite.
    """
    width = decode(pages[:1]).shape[1:]
    if queries.ndim != 2 or queries.shape[1:] != width:
        raise ValueError(f"queries {queries.shape} and pages {width} are not of one width")
    if k < 0:
        raise ValueError(f"k is {k}: at least 0")
    rows = np.arange(len(pages)) if rows is None else np.asarray(rows, dtype=np.int64)
    tie_break = np.arange(len(pages)) if tie_break is None else tie_break
    k = min(k, len(rows))
    scores = np.empty((len(queries), k), np.float32)
    nearest_rows = np.empty((len(queries), k), np.int64)
    if not scores.size:
        return scores, nearest_rows
    shortlist = min(k + SPARE, len(rows))
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is named, in one line
        rough, places, error = _first_pass(queries, pages, rows, shortlist, decode, device)
    # A page that the first pass left out scores at most rough[:, -1] + error, and each of the k
    # best at least rough[:, k - 1] - error. Where these are apart, by one error more for the
    # rounding, the k best are among the pages that the first pass kept.
    complete = (rough[:, k - 1] - rough[:, -1] > 3 * error) | (shortlist == len(rows))
    step = max(1, RESCORE_BYTES // (8 * shortlist * queries.shape[1]))
    ready = np.flatnonzero(complete)
    for part in (ready[start : start + step] for start in range(0, len(ready), step)):
        candidates = rows[places[part]]
        exact = _dot(queries[part][:, None], decode(pages[candidates]))
        scores[part], nearest_rows[part] = best_rows(exact, candidates, k, tie_break)
    for query in np.flatnonzero(~complete):
        # Rare: more than SPARE pages tie at the boundary, so this query looks at every page again.
        bound = float(rough[query, k - 1]) - 2 * error
        exact, candidates = _above(queries[query], pages, rows, bound, decode)
        scores[query], nearest_rows[query] = best_rows(exact, candidates, k, tie_break)
    return scores, nearest_rows


def best_rows(
    scores: np.ndarray, rows: np.ndarray, k: int, tie_break: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The k highest of the scores [..., n], best first, and their rows.

    Of equal scores the one whose row has the lower `tie_break` comes first. No score is NaN.
    """
    if scores.ndim == 1 and 0 < k < len(scores):  # k are sorted, however many are equal
        lowest = -np.partition(-scores, k - 1)[k - 1]
        above, equal = np.flatnonzero(scores > lowest), np.flatnonzero(scores == lowest)
        missing = k - len(above)
        first = np.argpartition(tie_break[rows[equal]], missing - 1)[:missing]
        chosen = np.concatenate([above, equal[first]])
        scores, rows = scores[chosen], rows[chosen]
    order = np.lexsort((tie_break[rows], -scores))[..., :k]
    return np.take_along_axis(scores, order, axis=-1), np.take_along_axis(rows, order, axis=-1)


def pair_scores(
    queries: np.ndarray, pages: np.ndarray, query_rows: np.ndarray, page_rows: np.ndarray
) -> np.ndarray:
    """Dot products of pairs of a query row and a page row, float32 [pairs].

    The numbers are equal to the scores of `nearest`.
    """
    step = max(1, RESCORE_BYTES // (8 * queries.shape[1]))
    parts = [slice(start, start + step) for start in range(0, len(query_rows), step)]
    scores = [_dot(queries[query_rows[part]], pages[page_rows[part]]) for part in parts]
    return np.concatenate([np.empty(0, np.float32), *scores])


def trec_order(page_ids: Sequence[str]) -> np.ndarray:
    """The `tie_break` of trec_eval, which puts the lexicographically last of equal pages first."""
    order = sorted(range(len(page_ids)), key=lambda row: page_ids[row], reverse=True)
    tie_break = np.empty(len(page_ids), np.int64)
    tie_break[order] = np.arange(len(page_ids))
    return tie_break


def _first_pass(
    queries: np.ndarray, pages: np.ndarray, rows: np.ndarray, k: int, decode: Decode, device: str
) -> tuple[np.ndarray, np.ndarray, float]:
    """The k pages of highest score by float32 matmul.

    Returns:
        Scores [q, k], descending; places in `rows` [q, k]; the bound on the error of a score.
    """
    queries = np.array(queries, np.float32)
    by_torch = _torch_pays(device, len(queries) * len(rows))
    best_of_block = _by_torch(queries, device) if by_torch else _by_numpy(queries)
    scores = np.full((len(queries), k), -math.inf, np.float32)
    places = np.zeros((len(queries), k), np.int64)
    query_norm, page_norm = _longest(queries), 0.0
    for first, vectors in _blocks(pages, rows, PAGE_BLOCK, decode):
        page_norm = float(np.maximum(page_norm, _longest(vectors)))  # which keeps NaN
        start = 0
        for block_scores, where in best_of_block(vectors, min(k, len(vectors))):
            part = slice(start, start + len(block_scores))
            both = np.concatenate([scores[part], block_scores], axis=1)
            both_places = np.concatenate([places[part], where + first], axis=1)
            scores[part], places[part] = _highest(both, both_places, k)
            start = part.stop
    if not (math.isfinite(query_norm * page_norm) and np.isfinite(scores).all()):
        raise InputError(
            "a query or page vector holds NaN or infinity: if it is the tuned model's, its training"
            " diverged: lower embedder.learning_rate and run `dvc repro`; if it is the base's, run"
            " `dvc repro -f -s encode_base`, or take another base.model"
        )
    error = LAMBDA * math.sqrt(queries.shape[1]) * 2**-24 * query_norm * page_norm
    order = np.argsort(-scores, axis=1)
    return (
        np.take_along_axis(scores, order, axis=1),
        np.take_along_axis(places, order, axis=1),
        error,
    )


def _torch_pays(device: str, scores: int) -> bool:
    """Whether torch makes a search of so many scores on a device faster, with its import."""
    return device != "cpu" or "torch" in sys.modules or scores > TORCH_SCORES


def _highest(scores: np.ndarray, places: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k highest of scores [q, n] in any order, and their places."""
    # From the other end it takes ten times as long where many pages are equal.
    chosen = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    return np.take_along_axis(scores, chosen, axis=1), np.take_along_axis(places, chosen, axis=1)


def _by_numpy(queries: np.ndarray) -> Best:
    """The best pages of a block, on the CPU."""

    def best(vectors: np.ndarray, k: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        places = np.arange(len(vectors))
        for start in range(0, len(queries), NUMPY_QUERY_BLOCK):
            scores = queries[start : start + NUMPY_QUERY_BLOCK] @ vectors.T
            yield _highest(scores, np.broadcast_to(places, scores.shape), k)

    return best


def _by_torch(queries: np.ndarray, device: str) -> Best:
    """The best pages of a block, on a device; the queries stay there."""
    import torch  # only here, see `_torch_pays`

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    query_blocks = torch.split(torch.from_numpy(queries).to(device), QUERY_BLOCK)

    def best(vectors: np.ndarray, k: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        page_block = torch.from_numpy(vectors).to(device)
        for query_block in query_blocks:
            scores, places = torch.topk(query_block @ page_block.T, k, dim=1)
            yield scores.cpu().numpy(), places.cpu().numpy()

    return best


def _longest(vectors: np.ndarray) -> float:
    """The largest norm of vectors [n, d]."""
    return math.sqrt(float(np.vecdot(vectors, vectors).max()))


def _blocks(
    pages: np.ndarray, rows: np.ndarray, block: int, decode: Decode
) -> Iterator[tuple[int, np.ndarray]]:
    """The vectors of `rows`, at most `block` at a time: the place of the first in `rows`, vectors.

    An array of vectors is valid until the next one: all share one buffer.
    """
    buffer = None
    for first in range(0, len(rows), block):
        part = rows[first : first + block]
        # One slice of a memory map is read in one go; picking rows is not.
        contiguous = part[-1] - part[0] + 1 == len(part) and (np.diff(part) == 1).all()
        vectors = decode(pages[part[0] : part[-1] + 1] if contiguous else pages[part])
        buffer = np.empty(vectors.shape, np.float32) if buffer is None else buffer
        buffer[: len(part)] = vectors
        yield first, buffer[: len(part)]


def _above(
    query: np.ndarray, pages: np.ndarray, rows: np.ndarray, bound: float, decode: Decode
) -> tuple[np.ndarray, np.ndarray]:
    """The exact scores of one query that reach `bound`, and the rows of their pages."""
    scores, near = [], []
    for first, vectors in _blocks(pages, rows, min(PAGE_BLOCK, 1024), decode):
        block_scores = _dot(query[None], vectors)
        inside = block_scores >= bound
        scores.append(block_scores[inside])
        near.append(rows[first : first + len(vectors)][inside])
    return np.concatenate(scores), np.concatenate(near)


def _dot(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Dot products over the last axis, summed pair by pair in float64, as float32."""
    exact: np.ndarray = np.vecdot(left.astype(np.float64), right.astype(np.float64))
    return exact.astype(np.float32)
