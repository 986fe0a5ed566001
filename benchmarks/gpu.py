"""Training, encoding and reranking at full size on random weights: speed and memory of this card.

    python -m benchmarks.gpu [--minutes 8] [--only NAMES] [--csv FILE]     on a machine with CUDA
    python -m benchmarks.gpu --size tiny --device cpu                     in a minute, for tests

The model has the architecture of Qwen3-VL-2B; speed and memory do not depend on the values of its
weights. It is opened, trained, and encodes and reranks through the code of the stages. First its
gradients are held against those of the plain loss, then the public recipe is measured (bfloat16
weights, cached loss, mini-batch 1), then ours. A row is printed as soon as it is there; one that
fails says why and the next begins.

share: FLOPs that the model needs, forward once and backward twice that (for LoRA once, as frozen
weights have no gradient), by those of the card's bfloat16 matmul in the same time. loading: seconds
in which the loader processes prepare a step by those in which the device computes it.
"""

import os

# Before torch and the Hub's client are loaded: nothing is fetched, and blocks of the card's memory
# may grow, so that the largest mini-batch is not decided by fragments.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")

import argparse
import contextlib
import datetime
import importlib.metadata
import importlib.util
import itertools
import logging
import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pandas as pd
import torch
import transformers

from benchmarks import gpu_ground, gpu_model, gpu_rows
from benchmarks.gpu_ground import Row
from benchmarks.gpu_model import SIZES
from tools.synthetic import synthetic_corpus, synthetic_rows

# Seconds that a job may take: one that hangs must not take the others' time.
PATIENCE = 180
LONGER = {"predicted": 420}
# Width of each column; a last one holds notes.
COLUMNS = {
    "what": 45, "rows/s": 8, "pages/s": 8, "peak GiB": 9, "share": 7, "loading": 8,
    "mini-batch": 11, "min/10k": 8,
}  # fmt: skip


class OutOfTimeError(BaseException):
    """A row took too long; no `Exception`, so that no library takes it for an error of its own."""


@contextlib.contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Raise OutOfTimeError in the main thread after so many seconds."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise OutOfTimeError("took too long")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def attempt(name: str, work: Callable[[], Iterator[Row]], seconds: float) -> Iterator[Row]:
    """The rows of a job; one that fails or takes too long ends in a row that says so."""
    gpu_rows.free()
    if seconds <= 0:
        yield {"what": name, "note": "left out: out of time"}
        return
    rows = work()
    deadline = time.monotonic() + min(seconds, LONGER.get(name, PATIENCE))
    while True:
        try:
            with limit(deadline - time.monotonic()):
                row = next(rows)
        except StopIteration:
            return
        except (Exception, OutOfTimeError) as error:
            reason = " ".join(str(error).split())[:160]
            row, rows = {"note": f"failed: {type(error).__name__}: {reason}"}, iter(())
        yield {"what": name} | row


def line(row: Row) -> str:
    """A row as it is printed: columns, then the note."""
    cells = []
    for name, width in COLUMNS.items():
        value = row.get(name, "")
        text = f"{value:.3g}" if isinstance(value, float) else str(value)
        cells.append(text.ljust(width) if name == "what" else text.rjust(width))
    return f"{''.join(cells)}  {row.get('note', '')}".rstrip()


def measure(
    size_name: str,
    device: str,
    minutes: float,
    only: str = "",
    csv: Path | None = None,
    kernels: Path | None = None,
) -> pd.DataFrame:
    """Every row of the table, printed and written as it is made.

    Args:
        size_name: One of SIZES.
        device: cuda or cpu.
        minutes: After which no row goes on.
        only: Regular expression for the names of the rows to measure; empty: all.
        csv: File that rows are added to.
        kernels: File for the kernels of one training step.
    """
    ends = time.monotonic() + 60 * minutes
    size = SIZES[size_name]
    base = gpu_model.settings(size, device)
    table = []
    print(line({name: name for name in COLUMNS}), flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        gpu_model.write_model(root / "model", size, device)
        count = size["batch"] * (size["steps"] + 1)
        corpus = synthetic_corpus(root / "corpus", base.pixels, count, gpu_ground.NEGATIVES)
        rows = synthetic_rows(count, gpu_ground.NEGATIVES)
        ground = gpu_ground.Ground(base, root, corpus, rows, size, kernels=kernels)
        ground.peak = gpu_model.matmul_rate(size["product"], device)
        first = {"what": "bf16 matmul", "note": f"{ground.peak / 1e12:.3g} TFLOP/s"}
        jobs = {name: work for name, work in gpu_rows.jobs(ground).items() if re.search(only, name)}
        parts = (attempt(name, work, ends - time.monotonic()) for name, work in jobs.items())
        for row in itertools.chain([first], itertools.chain.from_iterable(parts)):
            print(line(row), flush=True)
            table.append(row)
            if csv:
                one_row = pd.DataFrame([row], columns=[*COLUMNS, "note"])
                one_row.to_csv(csv, mode="a", header=not csv.exists(), index=False)
    return pd.DataFrame(table, columns=[*COLUMNS, "note"])


def versions(device: str) -> str:
    """Card, versions and date, on one line."""
    card = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    names = ["torch", "transformers", "sentence-transformers", "accelerate"]
    words = [f"{name} {importlib.metadata.version(name)}" for name in names]
    for name, module in (("flash-attn", "flash_attn"), ("torchvision", "torchvision")):
        installed = importlib.util.find_spec(module) is not None
        words.append(f"{name} {importlib.metadata.version(name)}" if installed else f"no {name}")
    today = datetime.datetime.now(datetime.UTC).date()
    return f"{card}, {', '.join(words)}, {os.cpu_count()} cores, {today}"


def main() -> None:
    """Print the table, with the card, the versions and the date."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="2b")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--only", default="", help="regular expression for the names of rows")
    parser.add_argument("--csv", type=Path, help="file that rows are added to")
    parser.add_argument("--kernels", type=Path, help="file for the kernels of one training step")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    device = "cuda" if arguments.device == "auto" and torch.cuda.is_available() else "cpu"
    if arguments.size == "2b" and device == "cpu":
        parser.error("size 2b needs CUDA: try --size tiny --device cpu")
    print(versions(device), flush=True)
    measure(
        arguments.size,
        device,
        arguments.minutes,
        arguments.only,
        arguments.csv,
        arguments.kernels,
    )


if __name__ == "__main__":
    main()
