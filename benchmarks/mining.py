"""Time and memory of mining against one plain torch matmul + topk of the same size.

    python -m benchmarks.mining [--queries 1500] [--pages 100000] [--width 2048] [--rounds 5]

Both run in one process, in turns, and the medians are compared: other work on the machine hits
both alike. Mining is the whole of it: memory-mapped vectors, search, every rule, choice. Memory is
the peak of what a fresh process allocates while it mines (Linux only); the mapped vectors are not
counted.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.costs import added_mib, seconds
from pagefinder import params_file
from pagefinder.data.corpus import Corpus, write_corpus
from pagefinder.mining.negatives import Mining, mine, required_negatives
from pagefinder.mining.pairs import qrel_rows
from pagefinder.mining.rules import resolve_rules
from pagefinder.retrieval.vectors import Vectors, open_vectors

ROOT = Path(__file__).parents[1]


def make(folder: Path, queries: int, pages: int, width: int) -> None:
    """Write a corpus without images and its vectors, pages scattered around topics."""
    random = np.random.default_rng(0)
    topics = random.standard_normal((200, width), dtype=np.float32)
    stored = np.lib.format.open_memmap(
        folder / "pages.npy", mode="w+", dtype=np.float32, shape=(pages, width)
    )
    for start in range(0, pages, 10_000):
        part = slice(start, min(start + 10_000, pages))
        count = part.stop - part.start
        near = topics[random.integers(0, len(topics), count)]
        stored[part] = unit(near + random.standard_normal((count, width), dtype=np.float32))
    relevant = random.choice(pages, queries, replace=False)
    noise = random.standard_normal((queries, width), dtype=np.float32) / np.sqrt(width)
    np.save(folder / "queries.npy", unit(stored[relevant] + noise).astype(np.float32))
    page_ids = [f"p{row:06}" for row in range(pages)]
    query_ids = [f"q{row:05}" for row in range(queries)]
    write_corpus(
        folder,
        ({"page_id": page_id, "split": "train"} for page_id in page_ids),
        ({"query_id": query_id, "text": "?", "split": "train"} for query_id in query_ids),
        ((query_id, page_ids[row], 1) for query_id, row in zip(query_ids, relevant, strict=True)),
    )


def unit(vectors: np.ndarray) -> np.ndarray:
    """The vectors at length one."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def mining_of(folder: Path) -> Callable[[], object]:
    """The mine stage's work under the project's own params."""
    corpus = Corpus(folder)
    rules = resolve_rules(params_file.load(ROOT / "params.yaml").mine, "hub")

    def run() -> object:
        vectors = open_vectors(folder, corpus)
        qrels = qrel_rows(corpus, "train")
        mining = Mining(corpus, rules, qrels, seed=1)
        return mine(mining, vectors, required_negatives(qrels, rules.negatives))

    return run


def plain(vectors: Vectors, k: int) -> Callable[[], object]:
    """What mining is measured against: one matmul, one topk, vectors in memory."""
    queries, pages = torch.from_numpy(vectors.queries), torch.from_numpy(vectors.pages)
    return lambda: torch.topk(queries @ pages.T, k, dim=1)


def measure(queries: int, pages: int, width: int, rounds: int) -> dict[str, object]:
    """Seconds of both (medians), their ratio, those of every round, extra memory in MiB."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make(folder, queries, pages, width)
        loaded = Vectors(np.load(folder / "queries.npy"), np.load(folder / "pages.npy"))
        rules = params_file.load(ROOT / "params.yaml").mine
        runs = {"plain": plain(loaded, rules.range_max + 1), "mining": mining_of(folder)}
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds):
            for name, work in runs.items():
                times[name].append(seconds(work))
        del loaded, runs
        child = subprocess.run(
            [sys.executable, "-m", "benchmarks.mining", "--memory", str(folder)],
            check=True,
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
    medians = {f"{name}_s": round(statistics.median(values), 2) for name, values in times.items()}
    ratio = statistics.median(times["mining"]) / statistics.median(times["plain"])
    return medians | {"ratio": round(ratio, 3), "rounds": times} | json.loads(child.stdout)


def main() -> None:
    """Print one JSON line: what `measure` gives."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=1500)
    parser.add_argument("--pages", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print(json.dumps({"extra_mib": added_mib(mining_of(options.memory))}))
        return
    print(json.dumps(measure(options.queries, options.pages, options.width, options.rounds)))


if __name__ == "__main__":
    main()
