"""The rows of `benchmarks.gpu`, in their order: what is trained, encoded and scored for each."""

import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers.models.qwen3_vl import modeling_qwen3_vl

from benchmarks import gpu_gradients, gpu_model, gpu_profile, gpu_scoring
from benchmarks.gpu_ground import NEGATIVES, Ground, Row, open_model
from benchmarks.gpu_model import forward_flops
from pagefinder.data.corpus import Corpus
from pagefinder.models import compiling
from pagefinder.models.device import choose_device
from pagefinder.models.saving import save_model
from pagefinder.training.arguments import TrainingRun, schedule
from pagefinder.training.embedder import embedder_trainer, train_embedder
from tools.measuring import measure_training
from tools.predicting import measure_costs, train_seconds
from tools.synthetic import synthetic_corpus, synthetic_rows


def free() -> None:
    """Let go of what the last row held: trainers refer to themselves in circles.

    Rotations that it compiled are for the whole process, and the next row's are plain again.
    """
    for name in compiling.FUNCTIONS:
        function = getattr(modeling_qwen3_vl, name)
        setattr(modeling_qwen3_vl, name, getattr(function, "plain", function))
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
    compute: dict[str, Any] | None = None,
    steps: int = 0,
    **knobs: Any,  # noqa: ANN401
) -> Iterator[Row]:
    """A training variant: knobs of the embedder changed, and what is no knob.

    `compute` holds changed params of that section.
    """
    model, device_settings = open_model(ground, **(compute or {}))
    flops = row_flops(model, ground.corpus)
    if dtype:
        model.to(dtype)
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
        "note": f"{device_settings.attention}{', compiled' * device_settings.compiled}",
    }


def other_attention(ground: Ground) -> Iterator[Row]:
    """Training on SDPA, where that is not what was chosen anyway."""
    if choose_device(ground.base.compute).attention == "sdpa":
        yield {"note": "left out: SDPA is what was chosen, flash-attn is not installed"}
    else:
        yield from train(ground, "SDPA", compute={"attention": "sdpa"}, **way_of_ours(ground))


def profiled(ground: Ground) -> Iterator[Row]:
    """Shares of a step's kernels by kind, in the way of the row `ours`."""
    model, device_settings = open_model(ground)
    base = ground.base
    way = {"mini_batch": base.embedder.batch // 2} | way_of_ours(ground)
    knobs = base.embedder.model_copy(update=way)
    run = TrainingRun(ground.corpus, base.compute, device_settings, 0, ground.root / "run")
    trainer = embedder_trainer(model, ground.rows, knobs, base.loss, run)
    kernels, took = gpu_profile.kernels_of_step(trainer, knobs.batch, device_settings)
    if ground.kernels:
        kernels.to_csv(ground.kernels, index=False)
    shares = kernels.groupby("kind")["seconds"].sum().sort_values(ascending=False) / took
    words = ", ".join(f"{kind} {share:.1%}" for kind, share in shares.items())
    yield {"note": f"{took:.2f} s a step: {words}, the rest waits"}


def way_of_ours(ground: Ground) -> dict[str, Any]:
    """Mini-batch and checkpointing of the row `ours`, so that they are not searched for again."""
    return ground.ways.get("ours", {"gradient_checkpointing": True})


def predicted(ground: Ground) -> Iterator[Row]:
    """A short training with dev and a checkpoint, predicted as `tools.plan` does, then done.

    It is not compiled: done in one process, the second training would find the first one's code.
    """
    base, size = ground.base, ground.size
    count, dev = size["batch"] * size["predicted_steps"], size["dev"]
    knobs = base.embedder.model_copy(update={"epochs": 1.0, "evaluations": 1, "dev_pages": dev})
    corpus = synthetic_corpus(ground.root / "short", base.pixels, count, NEGATIVES, dev)
    rows = synthetic_rows(count, NEGATIVES)
    started = time.perf_counter()
    model, device_settings = open_model(ground, compile=False)
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
    model, _ = open_model(ground, compile=False)
    run = replace(run, checkpoints=ground.root / "actual")
    train_embedder(model, negatives, knobs, base.loss, run)
    save_model(model, ground.root / "tuned")
    took = time.perf_counter() - started
    parts = ", ".join(f"{name} {seconds:.3g}" for name, seconds in costs._asdict().items())
    yield {"note": f"predicted {expected:.1f} s, took {took:.1f} s; seconds: {parts}"}


def gradients(ground: Ground) -> Iterator[Row]:
    """Correct first: ours against the plain loss, on the size with few layers."""
    root = ground.root / "shallow"
    device = choose_device(ground.base.compute).device
    gpu_model.write_model(root / "model", gpu_model.shallow(ground.size), device)
    for name, words in gpu_gradients.check(ground.base, root, ground.corpus, ground.rows).items():
        yield {"what": name, "note": words}


def jobs(ground: Ground) -> dict[str, Callable[[], Iterator[Row]]]:
    """Name and work of each row, the most telling first: what is late is left out."""
    recipe = {"mini_batch": 1, "gradient_checkpointing": False}
    spared = {"gradient_checkpointing": True}
    compiled = ground.base.compute.compile
    return {
        "gradients": lambda: gradients(ground),
        "train, recipe: bf16 weights": lambda: train(
            ground, "recipe", dtype=torch.bfloat16, compute={"compile": False}, steps=1, **recipe
        ),
        "train, ours": lambda: train(ground, "ours", **spared),
        f"train, ours, {'not ' * compiled}compiled": lambda: train(
            ground, "other", compute={"compile": not compiled}, **way_of_ours(ground)
        ),
        "step by kind of kernel": lambda: profiled(ground),
        "encode": lambda: gpu_scoring.encode(ground),
        "train, ours, no checkpointing": lambda: train(
            ground, "no checkpointing", gradient_checkpointing=False
        ),
        "rerank": lambda: gpu_scoring.rerank(ground),
        "train, ours, SDPA": lambda: other_attention(ground),
        "train, ours, LoRA rank 16": lambda: train(ground, "LoRA", lora_rank=16, **spared),
        "predicted": lambda: predicted(ground),
    }
