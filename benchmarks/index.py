"""What the index costs: the engine's search beside our own exact one, and adding a file.

    python -m benchmarks.index --root . [--pages 1000 100000 1000000] [--kinds sq pq hnsw]
    python -m benchmarks.index --root . --add FOLDER

The first takes the tuned vectors of the run in --root at the recommended dimension, its eval
questions and their right pages, and adds made pages: mixtures of two real ones, with noise. It
prints for each number of pages and way of searching recall@10 and NDCG@10 less those of the exact
search, bytes a page, seconds to build and questions a second, one question at a time.

The second indexes the PDFs of a folder but the smallest, adds that, then indexes all anew.
The seconds are those of the work in an open process, with its start and that of the models beside.
"""

import argparse
import json
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import HnswSq, IvfPq, IvfSq

from benchmarks.costs import seconds
from pagefinder.data.corpus import Corpus
from pagefinder.indexing import store, tidying
from pagefinder.layout import CORPUS, METRICS, RELEASE, TUNED_VECTORS
from pagefinder.retrieval.metrics import mean_metrics
from pagefinder.retrieval.nearest import nearest
from pagefinder.retrieval.runs import DEPTH, Run, qrels_of
from pagefinder.retrieval.vectors import cut

K = 10
BLOCK = 50_000
NOISE = 0.6  # length of the noise beside a mixture of length 1
KINDS = {
    "sq": IvfSq(distance_type="dot"),
    "pq": IvfPq(distance_type="dot"),
    "hnsw": HnswSq(distance_type="dot"),
}


def read_run(
    root: Path, pages: int, questions: int
) -> tuple[np.ndarray, np.ndarray, list[str], list[str], dict]:
    """Vectors of a run's eval questions and pages at the recommended dimension, ids and qrels.

    The pages that answer come first, and of the others as many as `pages` leaves room for.
    """
    corpus = Corpus(root / CORPUS)
    recommended = json.loads((root / METRICS / "dimensions.json").read_text())["recommended"]
    dimension = int(recommended["dimension"])
    vectors = np.load(root / TUNED_VECTORS / "pages.npy")
    queries = np.load(root / TUNED_VECTORS / "queries.npy")
    qrels = qrels_of(corpus, "eval")
    right = {page_id for judged in qrels.values() for page_id in judged}
    page_ids = corpus.pages["page_id"].tolist()
    rows = sorted(range(len(page_ids)), key=lambda row: page_ids[row] not in right)[:pages]
    query_ids = random.Random(0).sample(sorted(qrels), min(questions, len(qrels)))
    qrels = {query_id: qrels[query_id] for query_id in query_ids}
    query_rows = [corpus.query_row[query_id] for query_id in query_ids]
    names = [page_ids[row] for row in rows]
    return (
        cut(queries[query_rows], dimension),
        cut(vectors[rows], dimension),
        query_ids,
        names,
        qrels,
    )


def grown(real: np.ndarray, pages: int) -> Iterator[np.ndarray]:
    """The real vectors, and made ones up to a number of pages, block by block."""
    rng = np.random.default_rng(0)
    yield real
    for start in range(len(real), pages, BLOCK):
        count = min(BLOCK, pages - start)
        share = rng.random((count, 1), np.float32)
        first, second = real[rng.integers(0, len(real), (2, count))]
        noise = rng.standard_normal((count, real.shape[1]), np.float32)
        mixed = cut(share * first + (1 - share) * second, real.shape[1])
        yield cut(mixed + NOISE * cut(noise, real.shape[1]), real.shape[1])


def measure(options: argparse.Namespace, pages: int, folder: Path) -> Iterator[dict[str, object]]:
    """The figures of each way of searching among a number of pages."""
    queries, real, query_ids, names, qrels = read_run(options.root, pages, options.questions)
    mapped = folder / "pages.npy"
    held = np.lib.format.open_memmap(
        mapped, mode="w+", dtype=np.float32, shape=(pages, real.shape[1])
    )
    start = 0
    for block in grown(real, pages):
        held[start : start + len(block)] = block
        start += len(block)
    page_ids = np.array([*names, *(f"made-{row:08}" for row in range(len(names), pages))])

    def figures(name: str, search: Callable[[np.ndarray, int], np.ndarray]) -> dict[str, object]:
        rows = np.stack([search(query, DEPTH) for query in queries])
        run = Run(query_ids, page_ids[rows], np.broadcast_to(-np.arange(DEPTH), rows.shape))
        few = queries[: max(10, min(len(queries), 10_000_000 // pages))]
        spent = seconds(lambda: [search(query, K) for query in few])
        return {
            "pages": pages,
            "search": name,
            "top": rows[:, :K],
            "ndcg@10": mean_metrics(run, qrels)["ndcg@10"],
            "questions_per_s": round(len(few) / spent, 1),
        }

    vectors = np.array(held)
    exact = figures("exact, ours", lambda query, k: nearest(query[None], vectors, k)[1][0])
    best = exact.pop("top")
    yield exact | {"bytes_per_page": 4 * real.shape[1]}
    database = lancedb.connect(folder / "index")
    columns = pa.schema([("row", pa.int64()), ("vector", pa.list_(pa.float32(), real.shape[1]))])
    table = database.create_table("pages", schema=columns)
    for first in range(0, pages, BLOCK):
        flat = pa.array(vectors[first : first + BLOCK].ravel())
        block = pa.FixedSizeListArray.from_arrays(flat, real.shape[1])
        row = pa.array(np.arange(first, first + len(block)))
        table.add(pa.table({"row": row, "vector": block}, schema=columns))
    for kind in ["flat", *options.kinds]:
        before, built = folder_bytes(folder / "index"), 0.0
        if kind != "flat":
            built = seconds(lambda kind=kind: table.create_index("vector", config=KINDS[kind]))

        def search(query: np.ndarray, k: int) -> np.ndarray:
            asked = table.search(query, vector_column_name="vector").distance_type("dot").limit(k)
            if kind != "flat":  # noqa: B023  # called within this round
                asked = asked.nprobes(tidying.PROBES).refine_factor(tidying.REFINE)
            return np.asarray(asked.select(["row", "_distance"]).to_arrow()["row"])

        result = figures(f"LanceDB, {kind}", search)
        top = result.pop("top")
        found = [len({*one} & {*other}) for one, other in zip(best, top, strict=True)]
        lost = exact["ndcg@10"] - result["ndcg@10"]
        size = folder_bytes(folder / "index")
        yield result | {
            "recall@10_lost": round(1 - sum(found) / K / len(found), 4),
            "ndcg@10_lost": round(lost, 4),
            "bytes_per_page": round((size if kind == "flat" else size - before) / pages),
            "build_s": round(built, 1),
        }


def folder_bytes(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def adding(root: Path, folder: Path, scratch: Path) -> dict[str, object]:
    """Seconds to add the smallest PDF of a folder to the others' index, and to build it anew."""
    from pagefinder.indexing.encoder import Encoder
    from pagefinder.indexing.updating import bring_up_to_date

    files = sorted(folder.glob("*.pdf"), key=lambda path: -path.stat().st_size)
    copies = scratch / "pdfs"
    copies.mkdir()
    for path in files[:-1]:
        shutil.copy(path, copies)
    started = time.perf_counter()
    encoder = Encoder(root / RELEASE, ocr=False)
    opened = time.perf_counter() - started

    def index(place: str) -> float:
        return seconds(lambda: bring_up_to_date(copies, encoder, scratch, str(scratch / place)))

    first = index("grown")
    before = store.open_table(str(scratch / "grown")).count_rows()
    shutil.copy(files[-1], copies)
    added = index("grown")
    nothing = index("grown")
    pages = store.open_table(str(scratch / "grown")).count_rows()
    return {
        "pages": before,
        "pages_added": pages - before,
        "models_s": round(opened, 2),
        "first_s": round(first, 2),
        "added_s": round(added, 2),
        "nothing_new_s": round(nothing, 2),
        "anew_s": round(index("anew"), 2),
        "bytes_per_page": round(folder_bytes(scratch / "grown") / pages),
    }


def main() -> None:
    """Print one JSON line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--pages", type=int, nargs="+", default=[1000, 100_000, 1_000_000])
    parser.add_argument("--questions", type=int, default=200, help="that are asked, at most")
    parser.add_argument("--kinds", nargs="+", default=["sq"], choices=list(KINDS))
    parser.add_argument("--add", type=Path, metavar="FOLDER", help="of PDFs, at least two")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if options.add:
            print(json.dumps(adding(options.root, options.add, Path(scratch))), flush=True)
            return
        for pages in options.pages:
            folder = Path(scratch) / str(pages)
            folder.mkdir()
            for line in measure(options, pages, folder):
                print(json.dumps(line), flush=True)
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
