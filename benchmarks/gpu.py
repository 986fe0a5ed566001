"""Training, encoding and reranking at full size on random weights: speed and memory of this card.

    python -m benchmarks.gpu [--minutes 8] [--only WORD] [--csv FILE]     on a machine with CUDA
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
import gc
import importlib.metadata
import importlib.util
import itertools
import logging
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pandas as pd
import torch
import transformers

from benchmarks import gpu_gradients, gpu_model
from benchmarks.gpu_model import SIZES, forward_flops
from pagefinder import models, planning, training
from pagefinder.corpus import Corpus
from pagefinder.params import Params

NEGATIVES = 1
# Seconds that a job may take: one that hangs must not take the others' time.
PATIENCE = 180
LONGER = {"predicted": 420}
# Width of each column; a last one holds notes.
COLUMNS = {
    "what": 45, "rows/s": 8, "pages/s": 8, "peak GiB": 9, "share": 7, "loading": 8,
    "mini-batch": 11, "min/10k": 8,
}  # fmt: skip
Row = dict[str, Any]


class OutOfTimeError(BaseException):
    """A row took too long; no `Exception`, so that no library takes it for an error of its own."""


@dataclass
class Ground:
    """What every row stands on."""

    base: Params
    root: Path
    corpus: Corpus
    rows: pd.DataFrame
    size: dict[str, Any]
    peak: float = 0.0  # FLOP/s
    mini_batches: dict[str, int] = field(default_factory=dict)  # found, by variant


def open_model(ground: Ground, attention: str = "") -> tuple[Any, models.Hardware]:
    """The embedder and the hardware, as a stage opens them."""
    base = ground.base
    compute = base.compute
    if attention:
        compute = compute.model_copy(update={"attention": attention})
    hardware = models.settle(compute)
    # Pages are stored inside their own budgets, and so the largest one fits them all.
    pixels = base.pixels.model_copy(update={"max": max(ground.size["pixels"])})
    return models.open_embedder(base.base, pixels, hardware, ground.root), hardware


def free() -> None:
    """Let go of what the last row held: trainers refer to themselves in circles."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def row_flops(model: Any, corpus: Corpus) -> float:  # noqa: ANN401
    """FLOPs of a forward pass over one training row."""
    config = model[0].model.config
    page = model.preprocess([corpus.image(0)], prompt=model.prompts["document"])
    query = model.preprocess([corpus.queries["text"][0]], prompt=model.prompts["query"])
    return forward_flops(config, page) * (1 + NEGATIVES) + forward_flops(config, query)


def train(
    ground: Ground,
    name: str,
    *,
    dtype: torch.dtype | None = None,
    compiled: bool = False,
    attention: str = "",
    steps: int = 0,
    **knobs: Any,  # noqa: ANN401
) -> Iterator[Row]:
    """A training variant: knobs of the embedder changed, and what is no knob."""
    model, hardware = open_model(ground, attention)
    flops = row_flops(model, ground.corpus)
    if dtype:
        model.to(dtype)
    if compiled:
        # Whole blocks break the graph at every list that attention asks the card for.
        for module in model[0].model.modules():
            if type(module).__name__.endswith(("MLP", "RMSNorm")):
                module.compile(dynamic=True)
    base = ground.base
    changed = base.embedder.model_copy(update=knobs)
    speed = planning.measure_training(
        model, ground.corpus, ground.rows, changed, base.loss, base.compute, hardware,
        steps or ground.size["steps"], ground.root / "run",
    )  # fmt: skip
    ground.mini_batches[name] = speed.mini_batch
    passes = 2 if changed.lora_rank else 3
    yield {
        "rows/s": speed.per_second,
        "pages/s": speed.per_second * (1 + NEGATIVES),
        "peak GiB": speed.peak_gib,
        "share": passes * flops * speed.per_second / ground.peak,
        "loading": speed.loading,
        "mini-batch": str(speed.mini_batch or "none"),
        "min/10k": 10_000 / speed.per_second / 60,
        "note": hardware.attention,
    }


def other_attention(ground: Ground) -> Iterator[Row]:
    """Training on SDPA, where that is not what was chosen anyway."""
    if models.settle(ground.base.compute).attention == "sdpa":
        yield {"note": "left out: SDPA is what was chosen, flash-attn is not installed"}
    else:
        yield from train(ground, "SDPA", attention="sdpa", mini_batch=known(ground))


def known(ground: Ground) -> int | str:
    """The mini-batch that was found for ours, so that it is not searched for again."""
    return ground.mini_batches.get("ours", ground.base.embedder.mini_batch)


def encode(ground: Ground) -> Iterator[Row]:
    """One row per pixel budget."""
    model, _ = open_model(ground)
    hardware = models.settle(ground.base.compute, scoring=True)
    pages = ground.size["pages"]
    for pixels in ground.size["pixels"]:
        budget = ground.base.pixels.model_copy(update={"max": pixels})
        corpus = planning.synthetic_corpus(ground.root / f"c{pixels}", budget, pages, 0)
        tokens = models.check_budget(model, corpus.image(0), budget)
        page = model.preprocess([corpus.image(0)], prompt=model.prompts["document"])
        flops = forward_flops(model[0].model.config, page)
        batch = min(ground.base.compute.encode_batch, pages)
        speed = planning.measure_encoding(model, corpus, hardware, batch, pages)
        yield {
            "what": f"encode, {pixels:,} pixels",
            "pages/s": speed.per_second,
            "peak GiB": speed.peak_gib,
            "share": flops * speed.per_second / ground.peak,
            "note": f"{tokens} visual tokens a page, {hardware.attention}",
        }


def rerank(ground: Ground) -> Iterator[Row]:
    """Pairs a second, each with a page of its own."""
    base = ground.base
    hardware = models.settle(base.compute, scoring=True)
    model = models.open_reranker(base.reranker, base.pixels, hardware, ground.root)
    count = min(ground.size["pages"], len(ground.corpus.queries))
    pairs = pd.DataFrame(
        {"query_id": [f"q{n}" for n in range(count)], "page_id": [f"p{n}" for n in range(count)]}
    )
    pair = (ground.corpus.queries["text"][0], ground.corpus.image(0))
    features = model.preprocess([pair], prompt=base.reranker.instruction)
    flops = forward_flops(model[0].model.config, features)
    batch = base.compute.encode_batch
    speed = planning.measure_scoring(model, ground.corpus, pairs, hardware, batch)
    yield {
        "rows/s": speed.per_second,
        "pages/s": speed.per_second,
        "peak GiB": speed.peak_gib,
        "share": flops * speed.per_second / ground.peak,
        "note": hardware.attention,
    }


def predicted(ground: Ground) -> Iterator[Row]:
    """A short training with dev and a checkpoint, predicted as `stages.plan` does, then done."""
    base, size = ground.base, ground.size
    rows, dev = size["batch"] * size["predicted_steps"], size["dev"]
    knobs = base.embedder.model_copy(update={"epochs": 1.0, "evaluations": 1, "dev_pages": dev})
    corpus = planning.synthetic_corpus(ground.root / "short", base.pixels, rows, NEGATIVES, dev)
    started = time.perf_counter()
    model, hardware = open_model(ground)
    opening = time.perf_counter() - started
    shared = (base.loss, base.compute, hardware)
    with tempfile.TemporaryDirectory(dir=ground.root) as scratch:
        speed = planning.measure_training(
            model, corpus, planning.synthetic_rows(rows, NEGATIVES), knobs, *shared, 3,
            Path(scratch), save=True,
        )  # fmt: skip
    costs = planning.measure_costs(
        model, corpus, hardware, base.compute.encode_batch, opening, speed, size["batch"]
    )
    expected = planning.train_seconds(costs, *planning.schedule(knobs, rows), dev, dev)
    del model
    free()
    negatives = planning.synthetic_rows(rows, NEGATIVES).rename(
        columns={"negative_0_id": "page_id"}
    )
    started = time.perf_counter()
    model, _ = open_model(ground)
    training.train_embedder(model, corpus, negatives, knobs, *shared, 0, ground.root / "actual")
    models.save(model, ground.root / "tuned")
    took = time.perf_counter() - started
    parts = ", ".join(f"{name} {seconds:.3g}" for name, seconds in costs._asdict().items())
    yield {"note": f"predicted {expected:.1f} s, took {took:.1f} s; seconds: {parts}"}


def gradients(ground: Ground) -> Iterator[Row]:
    """Correct first: ours against the plain loss, on the size with few layers."""
    root = ground.root / "shallow"
    gpu_model.write_model(
        root / "model", gpu_model.shallow(ground.size), ground.base.compute.device
    )
    for name, words in gpu_gradients.check(ground.base, root, ground.corpus, ground.rows).items():
        yield {"what": name, "note": words}


def jobs(ground: Ground) -> dict[str, Callable[[], Iterator[Row]]]:
    """Name and work of each row, the most telling first: what is late is left out."""
    recipe = {"mini_batch": 1, "gradient_checkpointing": False}
    spared = {"gradient_checkpointing": True}
    return {
        "gradients": lambda: gradients(ground),
        "train, recipe: bf16 weights": lambda: train(
            ground, "recipe", dtype=torch.bfloat16, steps=1, **recipe
        ),
        "train, ours": lambda: train(ground, "ours", **spared),
        "encode": lambda: encode(ground),
        "train, ours, no checkpointing": lambda: train(
            ground, "no checkpointing", gradient_checkpointing=False
        ),
        "rerank, pairs": lambda: rerank(ground),
        "train, ours, SDPA": lambda: other_attention(ground),
        "train, ours, LoRA rank 16": lambda: train(ground, "LoRA", lora_rank=16, **spared),
        "train, ours, MLPs and norms compiled": lambda: train(
            ground, "compiled", compiled=True, mini_batch=known(ground), **spared
        ),
        "predicted": lambda: predicted(ground),
    }


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
    free()
    if seconds <= 0:
        yield {"what": name, "note": "left out: out of time"}
        return
    made = work()
    deadline = time.monotonic() + min(seconds, LONGER.get(name, PATIENCE))
    while True:
        try:
            with limit(deadline - time.monotonic()):
                row = next(made)
        except StopIteration:
            return
        except (Exception, OutOfTimeError) as error:
            said = " ".join(str(error).split())[:160]
            row, made = {"note": f"failed: {type(error).__name__}: {said}"}, iter(())
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
    size_name: str, device: str, minutes: float, only: str = "", csv: Path | None = None
) -> pd.DataFrame:
    """Every row of the table, printed and written as it is made.

    Args:
        size_name: One of SIZES.
        device: cuda or cpu.
        minutes: After which no row goes on.
        only: Word in the names of the rows that are wanted; empty: all.
        csv: File that rows are added to.
    """
    ends = time.monotonic() + 60 * minutes
    size = SIZES[size_name]
    base = gpu_model.settings(size, device)
    found = []
    print(line({name: name for name in COLUMNS}), flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        gpu_model.write_model(root / "model", size, device)
        count = size["batch"] * (size["steps"] + 1)
        corpus = planning.synthetic_corpus(root / "corpus", base.pixels, count, NEGATIVES)
        ground = Ground(base, root, corpus, planning.synthetic_rows(count, NEGATIVES), size)
        ground.peak = gpu_model.matmul_rate(size["product"], device)
        first = {"what": "bf16 matmul", "note": f"{ground.peak / 1e12:.3g} TFLOP/s"}
        wanted = {name: work for name, work in jobs(ground).items() if only in name}
        made = (attempt(name, work, ends - time.monotonic()) for name, work in wanted.items())
        for row in itertools.chain([first], itertools.chain.from_iterable(made)):
            print(line(row), flush=True)
            found.append(row)
            if csv:
                whole = pd.DataFrame([row], columns=[*COLUMNS, "note"])
                whole.to_csv(csv, mode="a", header=not csv.exists(), index=False)
    return pd.DataFrame(found, columns=[*COLUMNS, "note"])


def versions(device: str) -> str:
    """Card, versions and date, on one line."""
    card = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    names = ["torch", "transformers", "sentence-transformers", "accelerate"]
    said = [f"{name} {importlib.metadata.version(name)}" for name in names]
    for name, module in (("flash-attn", "flash_attn"), ("torchvision", "torchvision")):
        there = importlib.util.find_spec(module) is not None
        said.append(f"{name} {importlib.metadata.version(name)}" if there else f"no {name}")
    today = datetime.datetime.now(datetime.UTC).date()
    return f"{card}, {', '.join(said)}, {os.cpu_count()} cores, {today}"


def main() -> None:
    """Print the table, with the card, the versions and the date."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="2b")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--only", default="", help="word in the names of the rows that are wanted")
    parser.add_argument("--csv", type=Path, help="file that rows are added to")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    device = "cuda" if arguments.device == "auto" and torch.cuda.is_available() else "cpu"
    if arguments.size == "2b" and device == "cpu":
        parser.error("size 2b needs CUDA: try --size tiny --device cpu")
    print(versions(device), flush=True)
    measure(arguments.size, device, arguments.minutes, arguments.only, arguments.csv)


if __name__ == "__main__":
    main()
