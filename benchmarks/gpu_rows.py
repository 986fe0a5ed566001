"""The rows of `benchmarks.gpu`, in their order: what is trained, encoded and scored for each."""

import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks import gpu_gradients, gpu_model
from benchmarks.gpu_model import forward_flops
from pagefinder.data.corpus import Corpus
from pagefinder.models.device import DeviceSettings, choose_device
from pagefinder.models.opening import open_embedder, open_reranker
from pagefinder.models.saving import save_model
from pagefinder.models.visual_tokens import check_budget
from pagefinder.params import Params
from pagefinder.training.arguments import TrainingRun, schedule
from pagefinder.training.embedder import train_embedder
from tools.measuring import measure_encoding, measure_scoring, measure_training
from tools.predicting import measure_costs, train_seconds
from tools.synthetic import synthetic_corpus, synthetic_rows

NEGATIVES = 1
Row = dict[str, Any]


@dataclass
class Ground:
    """What all rows share; `peak` is the card's matmul rate in FLOP/s."""

    base: Params
    root: Path
    corpus: Corpus
    rows: pd.DataFrame
    size: dict[str, Any]
    peak: float = 0.0
    ways: dict[str, dict[str, Any]] = field(default_factory=dict)  # knobs by name of the row


def open_model(ground: Ground, attention: str = "") -> tuple[Any, DeviceSettings]:
    """The embedder and the hardware, as a stage opens them."""
    base = ground.base
    compute = base.compute
    if attention:
        compute = compute.model_copy(update={"attention": attention})
    device_settings = choose_device(compute)
    # Pages are stored inside their own budgets, and so the largest one fits them all.
    pixels = base.pixels.model_copy(update={"max": max(ground.size["pixels"])})
    return open_embedder(base.base, pixels, device_settings, ground.root), device_settings


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
    model, device_settings = open_model(ground, attention)
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
    run = TrainingRun(ground.corpus, base.compute, device_settings, 0, ground.root / "run")
    speed = measure_training(
        model, ground.rows, changed, base.loss, run, steps or ground.size["steps"]
    )
    ground.ways[name] = {
        "mini_batch": speed.mini_batch,
        "gradient_checkpointing": speed.checkpointing,
    }
    passes = 2 if changed.lora_rank else 3
    yield {
        "rows/s": speed.per_second,
        "pages/s": speed.per_second * (1 + NEGATIVES),
        "peak GiB": speed.peak_gib,
        "share": passes * flops * speed.per_second / ground.peak,
        "loading": speed.loading,
        "mini-batch": str(speed.mini_batch or "none"),
        "min/10k": 10_000 / speed.per_second / 60,
        "note": device_settings.attention,
    }


def other_attention(ground: Ground) -> Iterator[Row]:
    """Training on SDPA, where that is not what was chosen anyway."""
    if choose_device(ground.base.compute).attention == "sdpa":
        yield {"note": "left out: SDPA is what was chosen, flash-attn is not installed"}
    else:
        yield from train(ground, "SDPA", attention="sdpa", **way_of_ours(ground))


def way_of_ours(ground: Ground) -> dict[str, Any]:
    """Mini-batch and checkpointing of the row `ours`, so that they are not searched for again."""
    return ground.ways.get("ours", {"gradient_checkpointing": True})


def encode(ground: Ground) -> Iterator[Row]:
    """One row per pixel budget."""
    model, _ = open_model(ground)
    device_settings = choose_device(ground.base.compute, scoring=True)
    first, batch = ground.size["pixels"][0], ground.base.compute.encode_batch
    for pixels in ground.size["pixels"]:
        # As many pixels in a batch, and in all, whatever the budget.
        pages = ground.size["pages"] * first // pixels
        at_once = min(batch * first // pixels, pages // 2)
        budget = ground.base.pixels.model_copy(update={"max": pixels})
        corpus = synthetic_corpus(ground.root / f"c{pixels}", budget, pages, 0)
        tokens = check_budget(model, corpus.image(0), budget)
        page = model.preprocess([corpus.image(0)], prompt=model.prompts["document"])
        flops = forward_flops(model[0].model.config, page)
        speed = measure_encoding(model, corpus, device_settings, at_once, pages)
        yield {
            "what": f"encode, {pixels:,} pixels",
            "pages/s": speed.per_second,
            "peak GiB": speed.peak_gib,
            "share": flops * speed.per_second / ground.peak,
            "loading": speed.loading,
            "note": f"{tokens} tokens a page, {at_once} at once, {device_settings.attention}",
        }


def rerank(ground: Ground) -> Iterator[Row]:
    """Pairs a second, each with a page of its own."""
    base = ground.base
    device_settings = choose_device(base.compute, scoring=True)
    model = open_reranker(base.reranker, base.pixels, device_settings, ground.root)
    count = len(ground.corpus.queries)
    pairs = pd.DataFrame(
        {"query_id": [f"q{n}" for n in range(count)], "page_id": [f"p{n}" for n in range(count)]}
    )
    pair = (ground.corpus.queries["text"][0], ground.corpus.image(0))
    features = model.preprocess([pair], prompt=base.reranker.instruction)
    flops = forward_flops(model[0].model.config, features)
    batch = min(base.compute.encode_batch, count // 2)
    speed = measure_scoring(model, ground.corpus, pairs, device_settings, batch)
    yield {
        "rows/s": speed.per_second,
        "pages/s": speed.per_second,
        "peak GiB": speed.peak_gib,
        "share": flops * speed.per_second / ground.peak,
        "loading": speed.loading,
        "note": f"{batch} at once, {device_settings.attention}",
    }


def predicted(ground: Ground) -> Iterator[Row]:
    """A short training with dev and a checkpoint, predicted as `tools.plan` does, then done."""
    base, size = ground.base, ground.size
    count, dev = size["batch"] * size["predicted_steps"], size["dev"]
    knobs = base.embedder.model_copy(update={"epochs": 1.0, "evaluations": 1, "dev_pages": dev})
    corpus = synthetic_corpus(ground.root / "short", base.pixels, count, NEGATIVES, dev)
    rows = synthetic_rows(count, NEGATIVES)
    started = time.perf_counter()
    model, device_settings = open_model(ground)
    opening = time.perf_counter() - started
    with tempfile.TemporaryDirectory(dir=ground.root) as scratch:
        run = TrainingRun(corpus, base.compute, device_settings, 0, Path(scratch))
        speed = measure_training(model, rows, knobs, base.loss, run, 3, save=True)
    costs = measure_costs(model, run, opening, speed, size["batch"])
    expected = train_seconds(costs, schedule(knobs, count), dev, dev)
    del model
    free()
    negatives = rows.rename(columns={"negative_0_id": "page_id"})
    started = time.perf_counter()
    model, _ = open_model(ground)
    run = replace(run, checkpoints=ground.root / "actual")
    train_embedder(model, negatives, knobs, base.loss, run)
    save_model(model, ground.root / "tuned")
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
            ground, "compiled", compiled=True, **way_of_ours(ground)
        ),
        "predicted": lambda: predicted(ground),
    }
