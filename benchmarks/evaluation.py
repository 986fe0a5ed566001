"""What evaluating costs beside encoding: (encode + evaluate) / encode, in one run.

    python -m benchmarks.evaluation [--dims 192 144 96 72 48 24 12] [--rounds 1]

Runs encode_base, encode_tuned and evaluate_embedder as a pipeline would, one process each, on what
the last `dvc repro` left in data/corpus and models/embedder. Their outputs go to a scratch folder.
Evaluation scores every dimension at four precisions, for both models.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import roots
from benchmarks.roots import ROOT
from pagefinder import params_file

ENCODE = ("encode_base", "encode_tuned")


def lay_out(folder: Path, dims: list[int], root: Path = ROOT) -> None:
    """A root that shares the corpus and the models with `root`, and has its own params."""
    # Compared models have no vectors there.
    content = params_file.read(root / "params.yaml") | {"compare": []}
    content["profiles"][content["profile"]]["embedder"]["dims"] = dims
    shared = ("data/corpus", "models/embedder", content["checkpoints"])
    for name in shared:
        if not (root / name).exists():
            sys.exit(f"error: {name} is missing: run `make repro` first")
    roots.share(shared, root, folder)
    roots.write_params(content, folder)


def seconds(stage: str, folder: Path) -> float:
    """Wall time of a stage in a process of its own, its imports included."""
    started = time.perf_counter()
    roots.run_stage(stage, folder)
    return time.perf_counter() - started


def main() -> None:
    """Print one JSON line per round: seconds of each stage and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dims", type=int, nargs="+", default=[192, 144, 96, 72, 48, 24, 12])
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            lay_out(folder, options.dims)
            times = {name: seconds(name, folder) for name in (*ENCODE, "evaluate_embedder")}
        encode = sum(times[name] for name in ENCODE)
        ratio = (encode + times["evaluate_embedder"]) / encode
        row = {name: round(value, 1) for name, value in times.items()}
        print(json.dumps(row | {"ratio": round(ratio, 3)}), flush=True)


if __name__ == "__main__":
    main()
