"""What the index costs: the engine's search beside our own exact one, and adding a file.

    python -m benchmarks.index --root . [--pages 1000 100000 1000000] [--kinds sq pq hnsw]
    python -m benchmarks.index --root . --add 1000

The first takes the tuned vectors of the run in --root at the recommended dimension, its eval
questions and their right pages, and adds made pages: mixtures of two real ones, with noise. It
prints for each number of pages and way of searching recall@10 and NDCG@10 less those of the exact
search, bytes a page, seconds to build and questions a second, one question at a time.

The second makes PDFs of so many pages, indexes them, adds one PDF, then indexes all anew.
The seconds are those of the work in an open process, with its start and that of the models beside.

Rates and seconds need an idle machine, and making what is measured does not: --folder keeps what is
made, --prepare makes it and measures nothing, --questions 0 leaves out what is lost.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import lancedb
import matplotlib
import numpy as np
import pandas as pd
import pyarrow as pa
from lancedb.index import HnswSq, IvfPq, IvfSq
from matplotlib.figure import Figure

from benchmarks.costs import seconds
from benchmarks.engines import A4, FILE_PAGES, write_pdfs
from pagefinder.data.corpus import Corpus
from pagefinder.indexing import store, tidying
from pagefinder.layout import CORPUS, METRICS, RELEASE, TUNED_VECTORS
from pagefinder.retrieval.metrics import mean_metrics
from pagefinder.retrieval.nearest import nearest
from pagefinder.retrieval.runs import DEPTH, Run, qrels_of
from pagefinder.retrieval.vectors import cut
from pagefinder.runtime import outputs

Search = Callable[[np.ndarray, int], np.ndarray]  # of a question's vector, and of pages to find

K = 10
BLOCK = 50_000
NOISE = 0.6  # length of the noise beside a mixture of length 1
SPENT = 3.0  # seconds for which each way of searching is asked questions, and once at least
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


def make(pages: int, real: np.ndarray, kinds: list[str], folder: Path) -> None:
    """Write vectors of so many pages, and the engine's table of each kind, unless they are there.

    Bytes and seconds to build are in the file built.json of each table's folder.
    """
    path = folder / "pages.npy"
    if not path.is_file():
        held = np.lib.format.open_memmap(
            folder / "unfinished.npy", mode="w+", dtype=np.float32, shape=(pages, real.shape[1])
        )
        start = 0
        for block in grown(real, pages):
            held[start : start + len(block)] = block
            start += len(block)
        (folder / "unfinished.npy").rename(path)
    for kind in kinds:
        if not (folder / kind / "built.json").is_file():
            create = partial(_table(np.load(path), folder / kind).create_index, "vector")
            before, built = folder_bytes(folder / kind), 0.0
            if kind in KINDS:
                built = seconds(partial(create, config=KINDS[kind]))
            size = folder_bytes(folder / kind) - (before if kind in KINDS else 0)
            about = {"bytes_per_page": round(size / pages), "build_s": round(built, 1)}
            (folder / kind / "built.json").write_text(json.dumps(about))


def _table(vectors: np.ndarray, folder: Path) -> lancedb.table.Table:
    """A table of the engine with vectors and their row numbers."""
    dimension = vectors.shape[1]
    columns = pa.schema([("row", pa.int64()), ("vector", pa.list_(pa.float32(), dimension))])
    table = lancedb.connect(folder).create_table("pages", schema=columns, mode="overwrite")
    for first in range(0, len(vectors), BLOCK):
        flat = pa.array(vectors[first : first + BLOCK].ravel())
        block = pa.FixedSizeListArray.from_arrays(flat, dimension)
        row = pa.array(np.arange(first, first + len(block)))
        table.add(pa.table({"row": row, "vector": block}, schema=columns))
    return table


def searches(folder: Path, kinds: list[str]) -> Iterator[tuple[str, Search, dict[str, object]]]:
    """Each way of searching what `make` made: its name, itself, bytes and seconds to build."""
    vectors = np.load(folder / "pages.npy")
    about = {"bytes_per_page": 4 * vectors.shape[1]}
    yield "exact, ours", partial(_exact, vectors), about
    del vectors
    for kind in kinds:
        table = lancedb.connect(folder / kind).open_table("pages")
        search = partial(_ask, table, kind in KINDS)
        yield f"LanceDB, {kind}", search, json.loads((folder / kind / "built.json").read_text())


def _exact(vectors: np.ndarray, query: np.ndarray, k: int) -> np.ndarray:
    return nearest(query[None], vectors, k)[1][0]


def _ask(table: lancedb.table.Table, has_index: bool, query: np.ndarray, k: int) -> np.ndarray:
    asked = table.search(query, vector_column_name="vector").distance_type("dot").limit(k)
    if has_index:
        asked = asked.nprobes(tidying.PROBES).refine_factor(tidying.REFINE)
    return np.asarray(asked.select(["row", "_distance"]).to_arrow()["row"])


def measure(options: argparse.Namespace, pages: int, folder: Path) -> Iterator[dict[str, object]]:
    """The figures of each way of searching among a number of pages."""
    queries, real, query_ids, names, qrels = read_run(options.root, pages, options.questions or 200)
    kinds = ["flat", *options.kinds]
    make(pages, real, kinds, folder)
    if options.prepare:
        return
    page_ids = np.array([*names, *(f"made-{row:08}" for row in range(len(names), pages))])
    best, exact = None, 0.0
    for name, search, about in searches(folder, kinds):
        figures: dict[str, object] = {"pages": pages, "search": name} | about
        if options.questions:
            rows = np.stack([search(query, DEPTH) for query in queries])
            run = Run(query_ids, page_ids[rows], np.broadcast_to(-np.arange(DEPTH), rows.shape))
            ndcg = mean_metrics(run, qrels)["ndcg@10"]
            top = rows[:, :K]
            best, exact = (top, ndcg) if best is None else (best, exact)
            found = [len({*one} & {*other}) for one, other in zip(best, top, strict=True)]
            figures["recall@10_lost"] = round(1 - sum(found) / K / len(found), 4)
            figures["ndcg@10_lost"] = round(exact - ndcg, 4)
        yield figures | {"questions_per_s": round(rate(search, queries), 1)}


def rate(search: Search, queries: np.ndarray) -> float:
    """Questions a second, one after the other, behind one that warms up."""
    search(queries[0], K)
    spent, asked = 0.0, 0
    while not asked or (spent < SPENT and asked < len(queries)):
        spent += seconds(partial(search, queries[asked], K))
        asked += 1
    return asked / spent


def plot(lines: list[dict[str, object]], path: Path) -> None:
    """Draw questions a second and bytes over the pages, a line for each way of searching."""
    matplotlib.rcParams["svg.hashsalt"] = "index"  # the same figures give the same file
    table = pd.DataFrame(lines)
    table["MB"] = table["bytes_per_page"] * table["pages"] / 1e6
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axes, column in zip(figure.subplots(1, 2), ("questions_per_s", "MB"), strict=True):
        for name, rows in table.groupby("search", sort=False):
            axes.loglog(rows["pages"], rows[column], marker="o", label=name)
        axes.set(xlabel="pages", ylabel=column.replace("_per_s", " a second"))
        axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


def folder_bytes(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def adding(options: argparse.Namespace, scratch: Path) -> dict[str, object]:
    """Seconds to add a PDF to an index of so many pages, and to build it anew."""
    from pagefinder.indexing.encoder import Encoder
    from pagefinder.indexing.updating import bring_up_to_date

    folder, added = scratch / "pdfs", scratch / "one"
    for place, pages in ((folder, options.add), (added, FILE_PAGES)):
        if not place.is_dir():
            place.mkdir()
            write_pdfs(place, pages, A4)
    (new,) = added.glob("*.pdf")
    if not (folder / "new.pdf").is_file():  # else the run before measured
        new.write_bytes(new.read_bytes() + b"% another one\n")
    started = time.perf_counter()
    encoder = Encoder(options.root / RELEASE, ocr=False)
    opened = time.perf_counter() - started

    def index(place: str) -> float:
        return seconds(lambda: bring_up_to_date(folder, encoder, scratch, str(scratch / place)))

    (folder / "new.pdf").unlink(missing_ok=True)
    first = index("grown")
    if options.prepare:
        return {"first_s": round(first, 2)}
    before = store.open_table(str(scratch / "grown")).count_rows()
    (folder / "new.pdf").write_bytes(new.read_bytes())
    grown_s = index("grown")
    nothing = index("grown")
    pages = store.open_table(str(scratch / "grown")).count_rows()
    outputs.remove(scratch / "anew")
    return {
        "pages": before,
        "pages_added": pages - before,
        "models_s": round(opened, 2),
        "added_s": round(grown_s, 2),
        "nothing_new_s": round(nothing, 2),
        "anew_s": round(index("anew"), 2),
        "bytes_per_page": round(folder_bytes(scratch / "anew") / pages),
    }


def main() -> None:
    """Print one JSON line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--pages", type=int, nargs="+", default=[1000, 100_000, 1_000_000])
    parser.add_argument("--questions", type=int, default=200, help="that are asked, at most")
    parser.add_argument("--kinds", nargs="+", default=["sq"], choices=list(KINDS))
    parser.add_argument("--add", type=int, metavar="PAGES", help="a PDF to an index of so many")
    parser.add_argument("--folder", type=Path, help="keep what is made there")
    parser.add_argument("--prepare", action="store_true", help="make it, and measure nothing")
    parser.add_argument("--svg", type=Path, help="draw rates and bytes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        place = options.folder or Path(scratch)
        place.mkdir(parents=True, exist_ok=True)
        if options.add:
            print(json.dumps(adding(options, place)), flush=True)
            return
        lines = []
        for pages in options.pages:
            folder = place / str(pages)
            folder.mkdir(exist_ok=True)
            for line in measure(options, pages, folder):
                lines.append(line)
                print(json.dumps(line), flush=True)
        if options.svg:
            plot(lines, options.svg)


if __name__ == "__main__":
    main()
