"""Exact nearest pages by blocks: bounded memory, and the same answer at any block size."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pagefinder.data.corpus import Corpus
from pagefinder.errors import InputError

# Pages fetched beyond k, so that a tie or a rounding at the boundary is nearly always inside.
SPARE = 16
# A float32 sum of d products of unit vectors errs by less than LAMBDA * sqrt(d) * 2**-24: Higham
# and Mary, "A new approach to probabilistic rounding error analysis", SIAM J. Sci. Comput. 2019.
LAMBDA = 6
# Queries scored at once.
QUERY_BLOCK = 1024
# Bytes of float64 vectors that one step of the second pass holds: small enough for the allocator
# to use the same memory again.
RESCORE_BYTES = 2**23


@dataclass(frozen=True)
class Vectors:
    """Stored unit vectors, float32, rows in table order; pages may be memory-mapped."""

    queries: np.ndarray
    pages: np.ndarray


def open_vectors(folder: Path, corpus: Corpus) -> Vectors:
    """Open the vectors that an encode stage wrote, pages memory-mapped.

    Raises:
        InputError: they are not those of this corpus.
    """
    stage = f"encode_{folder.name}"
    if folder.parent.name == "compare":
        stage = f"encode_compare@{folder.name}"
    vectors = Vectors(np.load(folder / "queries.npy"), np.load(folder / "pages.npy", mmap_mode="r"))
    for name, found, wanted in (
        ("queries", len(vectors.queries), len(corpus.queries)),
        ("pages", len(vectors.pages), len(corpus.pages)),
    ):
        if found != wanted:
            raise InputError(
                f"{folder}/{name}.npy holds {found} vectors for {wanted} {name}: encode again with"
                f" `dvc repro -f -s {stage}`"
            )
    return vectors


def nearest(
    queries: np.ndarray,
    pages: np.ndarray,
    k: int,
    *,
    rows: np.ndarray | None = None,
    tie_break: np.ndarray | None = None,
    device: str = "cpu",
    block: int = 16384,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the k pages with the highest dot product for every query, exactly.

    A first pass multiplies blocks in float32 and keeps a few pages more than k; a second pass
    sums those few again in float64 and rounds to float32. Order, boundary and scores therefore
    depend neither on the block size nor on the device, which a matmul's own scores do.

    Args:
        queries: float32 [q, d].
        pages: float32 [n, d]; a memory map is read block by block, never whole.
        k: Pages wanted per query; above n all n come back.
        rows: Row numbers of `pages` to search among; all rows by default.
        tie_break: int [n]; of pages whose float32 scores are equal, the lower value comes first.
            By default the lower row.
        device: Where the first pass runs, as torch names it; "auto" is the GPU where there is one.
        block: Pages scored at once: their vectors and QUERY_BLOCK scores for each are held.

    Returns:
        Scores, float32 [q, min(k, n)], descending, and the row numbers in `pages`, int64.

    Raises:
        ValueError: where the widths differ or k is negative.
        InputError: a vector is not finite.
    """
    if queries.ndim != 2 or pages.ndim != 2 or queries.shape[1] != pages.shape[1]:
        raise ValueError(f"queries {queries.shape} and pages {pages.shape} are not of one width")
    if k < 0 or block < 1:
        raise ValueError(f"k is {k} and block {block}: at least 0 and 1")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = np.arange(len(pages)) if rows is None else np.asarray(rows, dtype=np.int64)
    k = min(k, len(rows))
    if not len(queries) or not k:
        return np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    wide = min(k + SPARE, len(rows))
    rough, places, longest = _rough(queries, pages, rows, wide, device, block)
    if not np.isfinite(rough).all():
        raise InputError(
            "a query or page vector holds NaN or infinity: if it is the tuned model's, its training"
            " diverged: lower embedder.learning_rate and run `dvc repro`; if it is the base's, run"
            " `dvc repro -f -s encode_base`, or take another base.model"
        )
    slack = LAMBDA * math.sqrt(pages.shape[1]) * 2**-24 * longest
    tie_break = np.arange(len(pages)) if tie_break is None else tie_break
    scores = np.empty((len(queries), k), np.float32)
    found = np.empty((len(queries), k), np.int64)
    # Every page left out scores at most rough[:, -1] + slack, every one of the k at least
    # rough[:, k - 1] - slack: with both slacks between them, and one for rounding, the k are here.
    settled = (rough[:, k - 1] - rough[:, -1] > 3 * slack) | (wide == len(rows))
    step = max(1, RESCORE_BYTES // (8 * wide * pages.shape[1]))
    ready = np.flatnonzero(settled)
    for part in (ready[start : start + step] for start in range(0, len(ready), step)):
        near = rows[places[part]]
        exact = _dot(queries[part][:, None], pages[near])
        order = np.lexsort((tie_break[near], -exact))[:, :k]
        scores[part] = np.take_along_axis(exact, order, axis=1)
        found[part] = np.take_along_axis(near, order, axis=1)
    for query in np.flatnonzero(~settled):
        # Rare: more than SPARE pages tie at the boundary, so this query looks at every page again.
        bound = float(rough[query, k - 1]) - 2 * slack
        near, exact = _above(queries[query], pages, rows, bound, block)
        order = np.lexsort((tie_break[near], -exact))[:k]
        scores[query], found[query] = exact[order], near[order]
    return scores, found


def pair_scores(
    queries: np.ndarray, pages: np.ndarray, query_rows: np.ndarray, page_rows: np.ndarray
) -> np.ndarray:
    """Scores of single pairs, float32 [pairs], equal to those that `nearest` gives them."""
    step = max(1, RESCORE_BYTES // (8 * queries.shape[1]))
    parts = [slice(start, start + step) for start in range(0, len(query_rows), step)]
    scores = [_dot(queries[query_rows[part]], pages[page_rows[part]]) for part in parts]
    return np.concatenate([np.empty(0, np.float32), *scores])


def trec_order(page_ids: Sequence[str]) -> np.ndarray:
    """The `tie_break` of trec_eval, which puts the lexicographically last of equal pages first."""
    place = np.empty(len(page_ids), np.int64)
    place[sorted(range(len(page_ids)), key=lambda row: page_ids[row], reverse=True)] = np.arange(
        len(page_ids)
    )
    return place


def _rough(
    queries: np.ndarray, pages: np.ndarray, rows: np.ndarray, k: int, device: str, block: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Top k by float32 matmul: scores, places in `rows`, and the product of the longest norms."""
    scores = torch.full((len(queries), k), -math.inf)
    places = torch.zeros((len(queries), k), dtype=torch.int64)
    asked = torch.from_numpy(np.array(queries, dtype=np.float32)).to(device)
    lefts = torch.split(asked, QUERY_BLOCK)
    long_query = max(float(torch.linalg.vector_norm(left, dim=1).max()) for left in lefts)
    long_page = 0.0
    for first, some in _blocks(pages, rows, block):
        right = torch.from_numpy(some).to(device)
        long_page = max(long_page, float(torch.linalg.vector_norm(right, dim=1).max()))
        for number, left in enumerate(lefts):
            part = slice(number * QUERY_BLOCK, (number + 1) * QUERY_BLOCK)
            best, where = torch.topk(left @ right.T, min(k, len(some)), dim=1)
            both = torch.cat([scores[part], best.cpu()], dim=1)
            index = torch.cat([places[part], where.cpu() + first], dim=1)
            scores[part], chosen = torch.topk(both, k, dim=1)
            places[part] = index.gather(1, chosen)
    return scores.numpy(), places.numpy(), long_query * long_page


def _blocks(pages: np.ndarray, rows: np.ndarray, block: int) -> Iterator[tuple[int, np.ndarray]]:
    """At most `block` of the wanted rows, with the place of the first in `rows`.

    The array is valid until the next one: all share one buffer.
    """
    buffer = np.empty((min(block, len(rows)), pages.shape[1]), np.float32)
    for first in range(0, len(rows), block):
        some = rows[first : first + block]
        if some[-1] - some[0] + 1 == len(some) and (np.diff(some) == 1).all():
            # One slice of a memory map is read in one go; picking rows is not.
            buffer[: len(some)] = pages[some[0] : some[-1] + 1]
        else:
            buffer[: len(some)] = pages[some]
        yield first, buffer[: len(some)]


def _above(
    query: np.ndarray, pages: np.ndarray, rows: np.ndarray, bound: float, block: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose exact score reaches the bound, and those scores."""
    near, exact = [], []
    for first, some in _blocks(pages, rows, min(block, 1024)):
        score = _dot(query[None], some)
        keep = score >= bound
        near.append(rows[first : first + len(some)][keep])
        exact.append(score[keep])
    return np.concatenate(near), np.concatenate(exact)


def _dot(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Dot products over the last axis, summed pair by pair in float64, as float32."""
    exact: np.ndarray = np.vecdot(left.astype(np.float64), right.astype(np.float64))
    return exact.astype(np.float32)
