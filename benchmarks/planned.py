"""A whole run against its plan: time and disk as tools.plan predicts them, and as they were.

    python -m benchmarks.planned [--rows 160] [--pixels 60000]

Profile `gpu` on the CPU, in a clone of the last commit, with small random models in the layout of
the published ones and a dataset of the reference's shape: a query, its page and four negatives a
row, some pages repeated. The plan is made once the corpus is prepared. Real disk is what `data`,
`models`, `.work` and DVC's cache hold together, looked at twice a second.
"""

import argparse
import importlib
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks import roots
from benchmarks.watching import highest
from pagefinder import params_file
from pagefinder.runtime import disk
from tools import plan
from tools.summary import timings

WATCHED = ("data", "models", ".work", ".dvc/cache")
NEGATIVES = 4


def write_project(folder: Path, rows: int, pixels: int) -> None:
    """Clone the project into `folder`, with small models, a dataset and their params."""
    subprocess.run(["git", "clone", "-q", roots.ROOT, folder], check=True)
    sys.path.append(str(roots.ROOT / "tests/unit"))
    published = importlib.import_module("published")
    published.write_published_embedder(folder / "nano/small/embedder")
    published.write_published_reranker(folder / "nano/small/reranker")
    for name, count, first in (("train", rows, 0), ("eval", max(12, rows // 8), 10**6)):
        (folder / "set" / name).mkdir(parents=True)
        _triples(count, first).to_parquet(folder / "set" / name / "0.parquet")
    content = params_file.read(folder / "params.yaml")
    content |= {"profile": "gpu", "checkpoints": "nano/small"}
    content["evaluate"]["bootstrap"] = 100
    content["mine"]["range_max"] = 10
    gpu = content["profiles"]["gpu"]
    gpu["data"]["hub"] |= {"path": "set", "revision": ""}
    gpu["pixels"] |= {"min": 4096, "max": pixels}
    gpu["compute"] |= {"device": "cpu", "threads": 2, "workers": 1, "encode_batch": 16}
    gpu["base"] |= {"model": "nano/small/embedder", "revision": ""}
    gpu["embedder"] |= {"dims": [192, 96, 48], "batch": 16, "mini_batch": 0, "dev_pages": 100}
    depths = {"depths": [5, 10], "compared_depth": 10, "train_depth": 10}
    gpu["reranker"] |= {"model": "nano/small/reranker", "revision": "", "batch": 16} | depths
    gpu["reranker"] |= {"dev_queries": 12, "fusion_queries": 12, "evaluations": 2}
    roots.write_params(content, folder)


def _triples(count: int, first: int) -> pd.DataFrame:
    """Rows of the reference's columns; every eighth page is the one before it again."""

    def page(number: int) -> dict[str, bytes]:
        number -= number % 8 == 7
        random = np.random.default_rng(first + number)
        small = random.integers(0, 256, (88, 62), dtype=np.uint8)
        stream = io.BytesIO()
        Image.fromarray(small).convert("RGB").resize((248, 352)).save(stream, "PNG")
        return {"bytes": stream.getvalue()}

    columns = ["image", *(f"negative_{number}" for number in range(NEGATIVES))]
    rows = [
        {"query": f"What does page {row} of {first} say?"}
        | {name: page(row * len(columns) + place) for place, name in enumerate(columns)}
        for row in range(count)
    ]
    return pd.DataFrame(rows)


def repro(folder: Path, *stages: str) -> None:
    """Run stages by DVC, with this environment's Python."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(folder)}
    subprocess.run(["dvc", "repro", *stages], cwd=folder, env=environment, check=True)


def watched_bytes(folder: Path) -> int:
    """Bytes that the run's folders hold; 0 if a file goes while it is looked at."""
    try:
        return disk.folder_bytes(folder / name for name in WATCHED)
    except OSError:
        return 0


def seconds(folder: Path, stage: str) -> float:
    """Seconds of a stage's last run."""
    return float(timings(folder / ".work/timings" / f"{stage}.jsonl")[-1]["seconds"])


def main() -> None:
    """Print a line for each figure of the plan: planned, real, and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=160)
    parser.add_argument("--pixels", type=int, default=60_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "project"
        write_project(folder, options.rows, options.pixels)
        with highest(lambda: watched_bytes(folder), 0.5) as most:
            repro(folder, "prepare")
            planned = plan.predict(params_file.load(folder / "params.yaml"), folder, prepared=True)
            repro(folder)
        left = disk.folder_bytes(folder / name for name in WATCHED)
        outputs = sum(sum(need.outputs.values()) for need in planned.needs.values())
        reranking = planned.reranker_seconds or (0.0, 0.0)
        figures = [
            ("train_embedder s", planned.train_seconds, seconds(folder, "train_embedder")),
            ("encode_base s", planned.encode_seconds, seconds(folder, "encode_base")),
            ("encode_tuned s", planned.encode_seconds, seconds(folder, "encode_tuned")),
            ("train_reranker s", reranking[0], seconds(folder, "train_reranker")),
            ("evaluate_reranker s", reranking[1], seconds(folder, "evaluate_reranker")),
            ("disk at its peak MB", disk.together(planned.needs, True) / 1e6, most[0] / 1e6),
            ("disk in the end MB", 2 * outputs / 1e6, left / 1e6),
        ]
    print(f"{'':22}{'planned':>10}{'real':>10}{'real/planned':>14}")
    for name, predicted, real in figures:
        print(f"{name:22}{predicted:10.1f}{real:10.1f}{real / predicted:14.2f}")


if __name__ == "__main__":
    main()
