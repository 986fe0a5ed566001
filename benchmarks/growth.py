"""Seconds and memory of every stage as pages or questions grow, and their exponents.

    OMP_NUM_THREADS=1 python -m benchmarks.growth [--pages 1000 10000 100000] [--queries 1000]
    OMP_NUM_THREADS=1 python -m benchmarks.growth --pages 10000 --queries 100 1000 10000

Each size gets a dataset of small pages with 2,000 characters of text, and as models a bag of word
vectors and a tiny reranker of text, which cost next to nothing. All stages of dvc.yaml but
`encode_compare` and `export` then run one after the other, each in a process of its own whose
imports do not count:

- seconds: of the processor, of all threads and processes, which hold beside other work.
- MiB: what the stage and the processes that it starts add at their peak, together. What is mapped
  from files does not count, and what several share is divided among them (Linux only).

What a real model takes for each page and pair is no part of it: see `python -m tools.plan`.
"""

import argparse
import importlib
import json
import logging
import multiprocessing
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

import stages
from benchmarks.costs import cost
from benchmarks.watching import highest
from pagefinder import params_file

# As encode_tuned, once for each model; and what copies models, however many pages there are.
LEFT_OUT = ("encode_compare", "export")
STAGES = tuple(name for name in stages.pipeline() if name not in LEFT_OUT)


def measure(pages: int, queries: int, scratch: Path) -> pd.DataFrame:
    """One row a stage: stage, pages, queries, seconds, MiB.

    Each is printed as soon as it is there. What a folder of `scratch` holds already is not measured
    again.
    """
    folder = (scratch / f"{pages}-{queries}").resolve()
    measured = folder / "measured.jsonl"
    if not measured.exists():
        in_a_fork(lay_out, folder, pages, queries)
        measured.touch()
    rows = [json.loads(line) for line in measured.read_text().splitlines()]
    for stage in STAGES[len(rows) :]:
        rows.append({"stage": stage, "pages": pages, "queries": queries})
        rows[-1] |= in_a_fork(run_here, stage, folder)
        print(*rows[-1].values(), flush=True)
        with measured.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
    return pd.DataFrame(rows)


def lay_out(folder: Path, pages: int, queries: int) -> None:
    """What `growth_data` writes; its imports are not those of the processes that stages start."""
    from benchmarks import growth_data

    growth_data.lay_out(folder, pages, queries)


def in_a_fork(work: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401
    """What `work` returns in a process of its own, which begins as this one is."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        return pool.submit(work, *arguments).result()


def run_here(stage: str, folder: Path) -> dict[str, float]:
    """Run a stage's main function in `folder`; processor seconds, and MiB that it added."""
    os.chdir(folder)
    module, *arguments = stages.command(stage)
    work = importlib.import_module(module).main
    settings = params_file.load(Path("params.yaml"))
    before = own_bytes(os.getpid())
    with highest(family_bytes, 0.05) as peak:
        took = cost(lambda: work(settings, Path(), *arguments))
    return {"seconds": round(took.processor, 2), "MiB": round((peak[0] - before) / 2**20)}


def family_bytes() -> int:
    """Bytes that this process and those below it hold, see `own_bytes`."""
    this = psutil.Process()
    return sum(own_bytes(process.pid) for process in [this, *this.children(recursive=True)])


def own_bytes(pid: int) -> int:
    """Bytes of a process's memory that is no file's; what several share is divided among them."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss_Anon")), 0)


def exponents(table: pd.DataFrame, over: str) -> pd.DataFrame:
    """By stage: exponents of seconds and MiB over a column, between its two largest values.

    Less than a hundredth of a second and a MiB count as these.
    """
    found = {}
    for stage, rows in table.groupby("stage", sort=False):
        many, few = (row for _, row in rows.nlargest(2, over).iterrows())
        found[stage] = {
            name: np.log(max(many[name], least) / max(few[name], least))
            / np.log(many[over] / few[over])
            for name, least in (("seconds", 0.01), ("MiB", 1))
        }
    return pd.DataFrame(found).T.round(2)


def plot(table: pd.DataFrame, path: Path) -> None:
    """Draw seconds and MiB over the pages, both axes logarithmic, a line a stage."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.hashsalt"] = "growth"  # the same figures give the same file
    figure = Figure(figsize=(10, 4), layout="constrained")
    both = figure.subplots(1, 2)
    for axes, column in zip(both, ("seconds", "MiB"), strict=True):
        for number, (stage, rows) in enumerate(table.groupby("stage", sort=False)):
            marker = "os"[number // 10]  # ten colours
            axes.loglog(rows["pages"], rows[column], marker=marker, markersize=4, label=stage)
        axes.set(xlabel="pages", ylabel=column)
        axes.grid(visible=True, alpha=0.3)
    sizes = np.array(sorted(table["pages"].unique()), float)
    both[0].loglog(sizes, sizes / sizes[0], "k:", label="as the pages")
    both[1].set_ylim(bottom=1)
    figure.legend(*both[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Print the rows as they come, the table, and the exponents."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pages", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--queries", type=int, nargs="+", default=[1000])
    parser.add_argument("--svg", type=Path, help="draw a log-log plot over the pages")
    parser.add_argument("--folder", type=Path, help="keep all there, and go on from what it holds")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    for stage in STAGES:  # a fork then begins with all that it imports
        importlib.import_module(stages.command(stage)[0])
    sizes = [(pages, queries) for pages in options.pages for queries in options.queries]
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        table = pd.concat([measure(pages, queries, folder) for pages, queries in sizes])
    print(table.to_string(index=False))
    for over in ("pages", "queries"):
        if table[over].nunique() == len(sizes) > 1:
            print(f"exponents over {over}\n{exponents(table, over).to_string()}")
    if options.svg:
        plot(table, options.svg)


if __name__ == "__main__":
    main()
