"""Seconds per search at each dimension and precision, against one plain float32 matmul and topk.

    python -m benchmarks.search [--pages 1000 100000] [--dims 2048 512 128] [--queries 32]
    python -m benchmarks.search --memory --pages 50000 200000

Every index is built first and held in memory, except float32 beyond --held GiB, which is mapped
from disk; only searching is timed. The reference is `torch.topk(queries @ pages.T, 10)` at the
largest dimension; all are run in turns and medians are compared, so other work on the machine hits
all alike.

With --memory, each number of pages is searched at the first dimension and every precision straight
from mapped vectors, in a fresh process whose own memory is limited to 4 GiB (Linux only); the
figures are the MiB by which the search raised it.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch

from benchmarks.costs import added_mib, seconds
from pagefinder.retrieval.hamming import hamming_nearest, pack, pack_rows, rescored
from pagefinder.retrieval.nearest import nearest
from pagefinder.retrieval.precisions import PRECISIONS, ScalarCodec
from pagefinder.retrieval.tasks import Task
from pagefinder.retrieval.vector_search import SHORTLIST, search
from pagefinder.retrieval.vectors import Vectors, cut, cut_blocks

K = 10
RESCORE = 4
LIMIT = 4 * 2**30


def make(folder: Path, queries: int, pages: int, width: int) -> None:
    """Random unit vectors, written block by block."""
    rng = np.random.default_rng(0)
    stored = np.lib.format.open_memmap(
        folder / "pages.npy", mode="w+", dtype=np.float32, shape=(pages, width)
    )
    for start in range(0, pages, 10_000):
        count = min(10_000, pages - start)
        stored[start : start + count] = cut(rng.standard_normal((count, width), np.float32), width)
    np.save(folder / "queries.npy", cut(rng.standard_normal((queries, width), np.float32), width))


def searches(folder: Path, dims: list[int], held: float) -> dict[str, Callable[[], object]]:
    """Name -> one search of all queries, its index already built."""
    pages = np.load(folder / "pages.npy", mmap_mode="c")  # torch takes no read-only array
    queries = np.load(folder / "queries.npy")
    rows, ties = np.arange(len(pages)), np.arange(len(pages))
    pages = np.array(pages) if pages.nbytes <= held * 2**30 else pages
    calls: dict[str, Callable[[], object]] = {"reference": partial(plain, queries, pages)}
    for d in dims:
        short = cut(queries, d)
        floats, decode = pages, partial(cut, dimension=d)
        if 4 * d * len(pages) <= held * 2**30:
            floats, decode = np.concatenate([*cut_blocks(pages, d, rows)]), np.asarray
        codec = ScalarCodec.measure(pages, d, rows[:10_000], bits=8)
        codes = np.concatenate([codec.encode(block) for block in cut_blocks(pages, d, rows)])
        packed, bits = pack(short), pack_rows(pages, d, rows)
        calls[f"{d} float32"] = partial(nearest, short, floats, K, decode=decode)
        calls[f"{d} int8"] = partial(nearest, short, codes, K, decode=codec.decode)
        calls[f"{d} binary"] = partial(hamming_nearest, packed, bits, K, ties)
        calls[f"{d} binary_rescored"] = partial(search_twice, short, packed, bits, ties)
    return calls


def search_twice(
    queries: np.ndarray, packed: np.ndarray, bits: np.ndarray, ties: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The search of binary_rescored in an index that is there."""
    _, rows = hamming_nearest(packed, bits, RESCORE * SHORTLIST, ties)
    return rescored(queries, bits, rows, K, ties)


def plain(queries: np.ndarray, pages: np.ndarray, step: int = 100_000) -> torch.Tensor:
    """What everything is measured against: matmul and topk, by large steps."""
    left = torch.from_numpy(queries)
    parts = [pages[start : start + step] for start in range(0, len(pages), step)]
    scores = [torch.topk(left @ torch.from_numpy(np.asarray(p)).T, K).values for p in parts]
    return torch.topk(torch.cat(scores, dim=1), K).values


def speed(folder: Path, dims: list[int], held: float, rounds: int) -> dict[str, object]:
    """Median seconds of every search, and how many times faster than the reference it is."""
    calls = searches(folder, dims, held)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, work in calls.items():
            times[name].append(seconds(work))
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        name: {
            "seconds": round(value, 4),
            "faster": round(medians["reference"] / value, 2),
            "bytes_per_page": 4 * max(dims)
            if name == "reference"
            else PRECISIONS[name.split()[1]].bytes_per_page(int(name.split()[0])),
        }
        for name, value in medians.items()
    }


def memory(folder: Path, dimension: int) -> dict[str, int]:
    """MiB by which each precision's search raises this process's own memory, under the limit."""
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    pages = np.load(folder / "pages.npy", mmap_mode="r")
    vectors = Vectors(np.load(folder / "queries.npy"), pages)
    query_ids = [f"q{i}" for i in range(len(vectors.queries))]
    corpus = SimpleNamespace(
        pages=pd.DataFrame({"page_id": [f"p{i:07d}" for i in range(len(pages))]}),
        query_row={query_id: row for row, query_id in enumerate(query_ids)},
        page_rows=lambda split: np.arange(len(pages)),
    )
    task = Task(corpus, np.arange(len(pages)), dict.fromkeys(query_ids, {}))
    return {
        name: added_mib(partial(search, task, vectors, K, dimension=dimension, precision=precision))
        for name, precision in PRECISIONS.items()
    }


def main() -> None:
    """Print one JSON line per number of pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pages", type=int, nargs="+", default=[1000, 100_000])
    parser.add_argument("--dims", type=int, nargs="+", default=[2048, 512, 128])
    parser.add_argument("--queries", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--held", type=float, default=4.0, help="GiB of float32 held in memory")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(memory(options.child, options.dims[0])))
        return
    for pages in options.pages:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            make(folder, options.queries, pages, max(options.dims))
            if options.memory:
                command = [sys.executable, "-m", "benchmarks.search", "--child", scratch]
                command += ["--dims", str(options.dims[0])]
                started = time.perf_counter()
                child = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                result: dict[str, object] = {"extra_mib": json.loads(child.stdout)}
                result["seconds"] = round(time.perf_counter() - started, 1)
            else:
                result = speed(folder, options.dims, options.held, options.rounds)
        print(json.dumps({"pages": pages, "queries": options.queries} | result), flush=True)


if __name__ == "__main__":
    main()
