"""Seconds and peak memory of the stages that open no model, as the pages grow, and their exponents.

    python -m benchmarks.growth [--pages 1000 10000 100000] [--queries 1000] [--svg FILE]

Each number of pages gets a corpus without images, with vectors drawn around topics for base and
tuned, and as many queries. The stages then run one after the other, each in a process of its own,
and give the seconds and the peak that they write to .work/timings: imports do not count. Vectors
that are mapped from a file count as memory once they were read. Stages that open a model take its
time for each page: see `python -m tools.plan`.
"""

import argparse
import json
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from benchmarks import roots
from benchmarks.roots import ROOT
from pagefinder import params_file
from pagefinder.data.corpus import write_corpus
from pagefinder.layout import BASE_VECTORS, CORPUS, TUNED_VECTORS

STAGES = ("mine", "evaluate_embedder", "candidates")
TOPICS = 200
PAGES_PER_DOCUMENT = 20
# Of ten documents seven are trained on, one is dev and two are eval.
SPLITS = ("train",) * 7 + ("dev",) + ("eval",) * 2


def lay_out(folder: Path, pages: int, queries: int) -> None:
    """Write params, a corpus of `pages` pages and `queries` queries, and vectors of two models."""
    content = params_file.read(ROOT / "params.yaml") | {"compare": []}
    roots.write_params(content, folder)
    width = max(content["profiles"][content["profile"]]["embedder"]["dims"])
    random = np.random.default_rng(0)
    topic = random.integers(0, TOPICS, pages)
    answers = np.sort(random.choice(pages, queries, replace=False))
    split = [SPLITS[row // PAGES_PER_DOCUMENT % len(SPLITS)] for row in range(pages)]
    write_corpus(
        folder / CORPUS,
        (
            {
                "page_id": f"p{row}",
                "document_id": f"d{row // PAGES_PER_DOCUMENT}",
                "split": split[row],
                "text": f"words of page {row} on topic {topic[row]}",
            }
            for row in range(pages)
        ),
        (
            {"query_id": f"q{row}", "text": f"what says page {row}?", "split": split[row]}
            for row in answers
        ),
        ((f"q{row}", f"p{row}", 1) for row in answers),
    )
    for noise, path in ((1.0, BASE_VECTORS), (0.5, TUNED_VECTORS)):
        (folder / path).mkdir(parents=True)
        centres = random.standard_normal((TOPICS, width), dtype=np.float32)
        vectors = centres[topic] + random.standard_normal((pages, width), dtype=np.float32)
        near = vectors[answers] + noise * random.standard_normal((queries, width), dtype=np.float32)
        np.save(folder / path / "pages.npy", _unit(vectors))
        np.save(folder / path / "queries.npy", _unit(near))
        (folder / path / "about.json").write_text('{"parameters": 0}', encoding="utf-8")


def _unit(vectors: np.ndarray) -> np.ndarray:
    """The vectors at length one."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def measure(pages: int, queries: int) -> pd.DataFrame:
    """One row a stage: stage, pages, seconds, MiB."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        lay_out(folder, pages, queries)
        for stage in STAGES:
            roots.run_stage(stage, folder)
            lines = (folder / ".work/timings" / f"{stage}.jsonl").read_text().splitlines()
            timing = json.loads(lines[-1])
            rows.append([stage, pages, timing["seconds"], timing["peak_mib"]])
    return pd.DataFrame(rows, columns=["stage", "pages", "seconds", "MiB"])


def exponents(table: pd.DataFrame) -> pd.Series:
    """The exponent of seconds over pages by stage, between its two largest numbers of pages."""
    found = {}
    for stage, rows in table.groupby("stage", sort=False):
        largest = rows.nlargest(2, "pages")[["pages", "seconds"]].to_numpy()
        (many, long), (few, short) = largest
        found[stage] = np.log(long / short) / np.log(many / few)
    return pd.Series(found).round(2)


def plot(table: pd.DataFrame, path: Path) -> None:
    """Draw seconds and MiB over the pages, both axes logarithmic, a line a stage."""
    matplotlib.rcParams["svg.hashsalt"] = "growth"  # the same figures give the same file
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axes, column in zip(figure.subplots(1, 2), ("seconds", "MiB"), strict=True):
        for stage, rows in table.groupby("stage", sort=False):
            axes.loglog(rows["pages"], rows[column], marker="o", label=stage)
        axes.set(xlabel="pages", ylabel=column)
        axes.grid(visible=True, alpha=0.3)
    axes.set_ylim(bottom=100, top=10_000)
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Print the table as it grows, then the exponents."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pages", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--queries", type=int, default=1000, help="the same for all pages")
    parser.add_argument("--svg", type=Path, help="draw a log-log plot")
    options = parser.parse_args()
    tables = []
    for pages in options.pages:
        tables.append(measure(pages, min(options.queries, pages)))
        print(tables[-1].to_string(index=False, header=len(tables) == 1), flush=True)
    table = pd.concat(tables)
    if len(tables) > 1:
        print(exponents(table).to_string())
    if options.svg:
        plot(table, options.svg)


if __name__ == "__main__":
    main()
