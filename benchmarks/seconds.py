"""Where the seconds of a run go, by stage and part.

    python -m benchmarks.seconds [--parts STAGE ...]

Without arguments it reads the records of the last `make repro` (.work/timings), and gives for each
stage the seconds before its process began (DVC: hashes, cache, dvc.lock; and the end of the process
before), those of its imports, and those of its work. A run of single stages by `dvc repro` counts
from the last `make repro` too.

With `--parts` it runs the named stages again, each in a process and a folder of its own, over what
the last run left, and says which part of the work took how long. A part's seconds are without those
of parts inside it, but dev scores are whole. What loader processes do meanwhile is not in it: the
stage's process only waits for them.
"""

import argparse
import contextlib
import functools
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

import stages
from benchmarks import roots
from pagefinder import params_file
from pagefinder.runtime.outputs import WORK
from tools.summary import timings

ROOT = Path(__file__).parents[1]
OTHER, IMPORTS, DEV = "other", "imports", "dev scores"
# The functions whose seconds make a part: module, then a name in it.
PARTS = {
    "opening models": (
        ("pagefinder.models.opening", "open_embedder"),
        ("pagefinder.models.opening", "open_reranker"),
    ),
    "decoding pages": (("pagefinder.data.corpus", "Corpus.image"),),
    "preprocessing": (("sentence_transformers.base.modules", "Transformer.preprocess"),),
    "waiting for batches": (
        ("torch.utils.data.dataloader", "_BaseDataLoaderIter.__next__"),
        ("torch.utils.data.dataloader", "_MultiProcessingDataLoaderIter.__init__"),
    ),
    "forward": (
        ("sentence_transformers.base.modules", "Transformer.forward"),
        ("pagefinder.models.vision_outputs", "VisionOutputs._look"),
    ),
    "backward": (("torch", "Tensor.backward"),),
    "optimiser": (("torch.optim", "AdamW.step"),),
    DEV: (
        (
            "sentence_transformers.sentence_transformer.evaluation",
            "InformationRetrievalEvaluator.__call__",
        ),
        ("pagefinder.training.dev", "DevReranking.__call__"),
    ),
    "checkpoints": (
        ("pagefinder.training.trainers", "EmbedderTrainer._save_checkpoint"),
        ("pagefinder.training.trainers", "RerankerTrainer._save_checkpoint"),
        ("pagefinder.training.trainers", "_Checkpoints._determine_best_metric"),
    ),
    "writing": (
        ("pagefinder.training.results", "write_results"),
        ("pagefinder.models.encoding", "write_vectors"),
        ("pagefinder.retrieval.runs", "write_runs"),
    ),
}


def recorded(root: Path) -> pd.DataFrame:
    """A row for each stage of the last run in `root`: seconds before it, of its imports, of itself.

    Stages are in the order in which they ran; those that were cached are missing.
    """
    start = (root / WORK / "started").stat().st_mtime
    files = sorted((root / WORK / "timings").glob("*.jsonl"))
    runs = [run for file in files for run in timings(file) if run["started"] >= start - 0.1]
    rows, end = [], start
    for run in sorted(runs, key=lambda run: run["started"]):
        imports = run.get(IMPORTS, 0.0)
        before = run["started"] - imports - end
        rows.append([run["stage"], round(before, 1), imports, run["seconds"]])
        end = run["started"] + run["seconds"]
    table = pd.DataFrame(rows, columns=["stage", "before", IMPORTS, "work"])
    table.loc[len(table)] = ["total", *table.iloc[:, 1:].sum().round(1)]
    return table


class Clock:
    """Seconds by part, each without those of the parts inside it."""

    def __init__(self) -> None:
        """Nothing is measured yet; what belongs to no part is OTHER."""
        self.seconds: Counter[str] = Counter()
        self._stack, self._since = [OTHER], time.perf_counter()

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Give the seconds of the block to a part; all of those within DEV go to DEV."""
        self._count()
        self._stack.append(DEV if DEV in self._stack else name)
        try:
            yield
        finally:
            self._count()
            self._stack.pop()

    def _count(self) -> None:
        now = time.perf_counter()
        self.seconds[self._stack[-1]] += now - self._since
        self._since = now

    def wrap(self, name: str, module: str, path: str) -> None:
        """Have calls of a function count for the part `name`."""
        owner, function = owner_of(module, path)
        original: Callable[..., Any] = getattr(owner, function)

        @functools.wraps(original)
        def timed(*arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401
            with self.part(name):
                return original(*arguments, **keywords)

        setattr(owner, function, timed)


def owner_of(module: str, path: str) -> tuple[Any, str]:
    """The module or class that holds a function, and the function's name in it."""
    *owners, function = path.split(".")
    return functools.reduce(getattr, owners, importlib.import_module(module)), function


def inside(stage: str) -> dict[str, float]:
    """Run a stage in this process and folder; its seconds by part."""
    module, *names = stages.command(stage)
    clock = Clock()
    with clock.part(IMPORTS):
        for part, functions in PARTS.items():
            for function in functions:
                clock.wrap(part, *function)
        main = importlib.import_module(module).main
    main(params_file.load(Path("params.yaml")), Path(), *names)
    with clock.part(OTHER):
        return dict(clock.seconds)


def parts(stage: str, root: Path) -> dict[str, float]:
    """Run a stage of this code over the data of `root`, in a process of its own."""
    checkpoints = params_file.load(root / "params.yaml").checkpoints
    listed = [checkpoints, *stages.pipeline()[stage]["deps"]]
    data = [name for name in listed if (root / name).exists() and not name.endswith(".py")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        roots.share(["params.yaml", *data], root, folder)
        subprocess.run(
            [sys.executable, "-m", "benchmarks.seconds", "--inside", stage, "parts.json"],
            check=True,
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "GOMP_SPINCOUNT": "10000"},
        )
        seconds: dict[str, float] = json.loads((folder / "parts.json").read_text())
    return seconds


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(), help="folder of the run")
    parser.add_argument("--parts", nargs="+", metavar="STAGE", help="stages to run again")
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        stage, file = options.inside
        Path(file).write_text(json.dumps(inside(stage)))
    elif options.parts:
        by_stage = {stage: parts(stage, options.root) for stage in options.parts}
        table = pd.DataFrame(by_stage).reindex([IMPORTS, *PARTS, OTHER]).dropna(how="all")
        table.loc["total"] = table.sum()
        print(table.round(1).fillna("").to_string())
    else:
        print(recorded(options.root).to_string(index=False))


if __name__ == "__main__":
    main()
