"""Training, encoding and reranking at full size on random weights: speed and memory of this card.

    python -m benchmarks.gpu [--size 2b] [--minutes 8]      on a machine with CUDA
    python -m benchmarks.gpu --size tiny --device cpu       the same code in a minute, for tests

The model has the architecture of Qwen3-VL-2B; speed and memory do not depend on the values of its
weights. It is opened, trained, and encodes and reranks through the code of the stages. The first
row is the public recipe (bfloat16 weights, cached loss, mini-batch 1); the share is that of the
bfloat16 matmul rate measured here, counting the forward pass and twice as much for the backward
pass, whatever is computed again.
"""

import argparse
import gc
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen3VLConfig

from nano import architecture
from pagefinder import models, params, planning, scoring, training
from pagefinder.corpus import Corpus
from pagefinder.errors import InputError
from pagefinder.params import Params

ROOT = Path(__file__).parents[1]
NEGATIVES = 1
SIZES = {
    # https://huggingface.co/Qwen/Qwen3-VL-2B-Instruct/blob/main/config.json
    "2b": {
        "text": {
            "vocab_size": 151_936, "hidden_size": 2048, "intermediate_size": 6144,
            "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
            "head_dim": 128, "mrope_section": [24, 20, 20],
        },
        "vision": {
            "depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16,
            "num_position_embeddings": 2304, "deepstack_visual_indexes": [5, 11, 17],
        },
        "batch": 64, "steps": 2, "pixels": [360_000, 1_000_000, 1_800_000], "pages": 128,
        "dims": [2048, 1536, 1024, 512, 256, 128, 64],
    },
    "tiny": {
        "text": {
            "vocab_size": 600, "hidden_size": 64, "intermediate_size": 128,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
            "head_dim": 32, "mrope_section": [8, 4, 4],
        },
        "vision": {
            "depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 2,
            "num_position_embeddings": 64, "deepstack_visual_indexes": [0],
        },
        "batch": 4, "steps": 1, "pixels": [8192, 16384], "pages": 4, "dims": [64, 32],
    },
}  # fmt: skip


def write_model(folder: Path, size: dict, device: str) -> None:
    """Write a checkpoint of the size with random weights."""
    texts = ["What does page 0 say about growth? yes no 123456789"] * 20
    tokenizer = architecture.train_tokenizer(texts, 320)
    config = architecture.build_config(tokenizer).to_dict()
    text = dict(size["text"])
    rope = config["text_config"]["rope_parameters"] | {"mrope_section": text.pop("mrope_section")}
    config["text_config"] |= text | {"rope_parameters": rope, "initializer_range": 0.02}
    config["vision_config"] |= size["vision"] | {"out_hidden_size": text["hidden_size"]}
    with torch.device(device):
        model = architecture.build_model(Qwen3VLConfig(**config)).to(torch.bfloat16)
    model.save_pretrained(folder)
    architecture.build_processor(tokenizer).save_pretrained(folder)


def settings(size: dict, device: str) -> Params:
    """The gpu profile with the random model in place of the Hub's."""
    content = params.read(ROOT / "params.yaml")
    gpu = content["profiles"]["gpu"]
    gpu["base"] |= {"model": "model", "revision": "", "pooling": "lasttoken"}
    gpu["reranker"] |= {"model": "model", "revision": ""}
    gpu["pixels"] |= {"min": 1024, "max": size["pixels"][0]}
    gpu["embedder"] |= {"batch": size["batch"], "dims": size["dims"]}
    if device == "cpu":
        gpu["compute"] |= {"device": "cpu", "precision": "fp32", "workers": 0}
    return params.parse(content | {"profile": "gpu"})


def variants(device: str) -> Iterator[tuple[str, dict, dict]]:
    """Name, changed knobs of the embedder, and what else differs: dtype, compiled, attention."""
    largest = "auto" if device != "cpu" else 0
    plain, spared = {"gradient_checkpointing": False}, {"gradient_checkpointing": True}
    yield "recipe: bf16 weights, mini-batch 1", plain | {"mini_batch": 1}, {"dtype": torch.bfloat16}
    yield "ours", spared | {"mini_batch": largest}, {}
    yield "ours, no checkpointing", plain | {"mini_batch": largest}, {}
    yield "ours, SDPA", spared | {"mini_batch": largest}, {"attention": "sdpa"}
    yield "ours, LoRA rank 16", spared | {"mini_batch": largest, "lora_rank": 16}, {}
    yield "ours, compiled", spared | {"mini_batch": largest}, {"compiled": True}


def open_model(base: Params, root: Path, attention: str = "") -> tuple:
    """The embedder and the hardware, as a stage opens them."""
    compute = base.compute
    if attention:
        compute = compute.model_copy(update={"attention": attention})
    hardware = models.settle(compute)
    return models.open_embedder(base.base, base.pixels, hardware, root), hardware


def matmul_rate(device: str) -> float:
    """Bfloat16 matmul rate in FLOP/s, the best of several (float32 on a CPU)."""
    width, dtype = (8192, torch.bfloat16) if device != "cpu" else (512, torch.float32)
    one, other = (torch.randn(width, width, device=device, dtype=dtype) for _ in range(2))
    return 2 * width**3 / min(seconds(lambda: one @ other, device) for _ in range(10))


def seconds(work: Callable[[], object], device: str) -> float:
    """Wall time of `work` with everything it put on the card."""
    start = time.perf_counter()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def forward_flops(model: object, hardware: models.Hardware, inputs: list) -> float:
    """FLOPs of one forward pass over some pages or texts."""
    features = model.preprocess(inputs)
    features = {
        key: value.to(hardware.device) if isinstance(value, torch.Tensor) else value
        for key, value in features.items()
    }
    with FlopCounterMode(display=False) as counter, torch.no_grad(), hardware.precision():
        model(features)
    return float(counter.get_total_flops())


def gradient_error(base: Params, root: Path, corpus: Corpus, rows: pd.DataFrame) -> float:
    """Largest difference of the cached from the plain loss's gradients, relative, in float32."""
    exact = base.compute.model_copy(update={"precision": "fp32"})
    hardware = models.settle(exact)
    found = []
    for mini_batch in (0, 1):
        model = models.open_embedder(base.base, base.pixels, hardware, root)
        knobs = base.embedder.model_copy(update={"mini_batch": mini_batch, "batch": 2})
        trainer = training.embedder_trainer(
            model, corpus, rows, knobs, base.loss, exact, hardware, 0, root / "run", None
        )
        inputs = trainer.data_collator([trainer.train_dataset[i] for i in range(2)])
        model.train()
        loss = trainer.compute_loss(model, trainer._prepare_inputs(inputs))
        loss.backward()
        found.append([p.grad for p in model.parameters() if p.grad is not None])
        del trainer, model
    pairs = list(zip(*found, strict=True))
    scale = max(float(one.abs().max()) for one, _ in pairs)
    return max(float((one - other).abs().max()) for one, other in pairs) / scale


def train_rows(
    base: Params, root: Path, corpus: Corpus, rows: pd.DataFrame, size: dict, peak: float,
    late: Callable[[], bool],
) -> Iterator[dict]:  # fmt: skip
    """One row per training variant."""
    for name, knobs, other in variants(base.compute.device):
        if late():
            yield {"what": name, "note": "left out: out of time"}
            continue
        # A trainer refers to itself in circles, and so keeps the last variant's memory.
        gc.collect()
        try:
            model, hardware = open_model(base, root, other.get("attention", ""))
            flops = forward_flops(model, hardware, [corpus.image(0)]) * (1 + NEGATIVES)
            flops += forward_flops(model, hardware, [corpus.queries["text"][0]])
            if "dtype" in other:
                model.to(other["dtype"])
            if "compiled" in other:
                model[0].model.compile(dynamic=True)
            changed = base.embedder.model_copy(update=knobs)
            speed = planning.measure_training(
                model, corpus, rows, changed, base.loss, base.compute, hardware, size["steps"],
                root / "run",
            )  # fmt: skip
            yield {
                "what": f"train, {name}",
                "rows/s": round(speed.per_second, 2),
                "pages/s": round(speed.per_second * (1 + NEGATIVES), 1),
                "peak GiB": round(speed.peak_gib, 1),
                "share": round(3 * flops * speed.per_second / peak, 3),
                "loading": round(speed.loading, 2),
            }
            del model
        except (RuntimeError, InputError) as error:
            yield {"what": f"train, {name}", "note": " ".join(str(error).split())[:80]}


def encode_rows(base: Params, root: Path, size: dict, peak: float) -> Iterator[dict]:
    """One row per pixel budget."""
    for pixels in size["pixels"]:
        budget = base.pixels.model_copy(update={"max": pixels})
        corpus = planning.synthetic_corpus(root / f"c{pixels}", budget, size["pages"], 0)
        model, hardware = open_model(base.model_copy(update={"pixels": budget}), root)
        tokens = models.check_budget(model, corpus.image(0), budget)
        flops = forward_flops(model, hardware, [corpus.image(0)])
        batch = min(base.compute.encode_batch, size["pages"])
        speed = planning.measure_encoding(model, corpus, hardware, batch, size["pages"])
        yield {
            "what": f"encode, {pixels:,} pixels, {tokens} tokens",
            "pages/s": round(speed.per_second, 1),
            "peak GiB": round(speed.peak_gib, 1),
            "share": round(flops * speed.per_second / peak, 3),
        }


def rerank_row(base: Params, root: Path, corpus: Corpus, size: dict) -> dict:
    """Pairs a second."""
    hardware = models.settle(base.compute)
    model = models.open_reranker(base.reranker, base.pixels, hardware, root)
    count = min(size["pages"], len(corpus.queries))
    pairs = pd.DataFrame(
        {"query_id": [f"q{n}" for n in range(count)], "page_id": [f"p{n}" for n in range(count)]}
    )
    batch = base.compute.encode_batch
    scoring.score_pairs(model, corpus, pairs[:batch], hardware, batch)
    took = seconds(
        lambda: scoring.score_pairs(model, corpus, pairs, hardware, batch), base.compute.device
    )
    return {"what": "rerank, pairs", "rows/s": round(count / took, 1)}


def measure(size_name: str, device: str, minutes: float) -> pd.DataFrame:
    """Every row of the table."""
    started = time.monotonic()
    size = SIZES[size_name]
    base = settings(size, device)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        write_model(root / "model", size, device)
        count = size["batch"] * (size["steps"] + 1)
        corpus = planning.synthetic_corpus(root / "corpus", base.pixels, count, NEGATIVES)
        rows = planning.synthetic_rows(count, NEGATIVES)
        peak = matmul_rate(device)
        table = [{"what": "bf16 matmul, TFLOP/s", "rows/s": round(peak / 1e12, 2)}]
        table += encode_rows(base, root, size, peak)
        table.append(rerank_row(base, root, corpus, size))
        # The last two minutes are the reserve of a variant that has begun.
        late = lambda: time.monotonic() - started > 60 * (minutes - 2)  # noqa: E731
        table += train_rows(base, root, corpus, rows, size, peak, late)
        if size_name == "tiny":
            error = gradient_error(base, root, corpus, rows)
            table.append({"what": "gradients, cached against plain, fp32", "note": f"{error:.1e}"})
    return pd.DataFrame(table)


def main() -> None:
    """Print the table, with the card and the versions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="2b")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto")
    parser.add_argument("--minutes", type=float, default=8)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    device = "cuda" if arguments.device == "auto" and torch.cuda.is_available() else "cpu"
    if arguments.size == "2b" and device == "cpu":
        parser.error("size 2b needs CUDA: try --size tiny --device cpu")
    card = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    print(f"{card}, torch {torch.__version__}")
    table = measure(arguments.size, device, arguments.minutes).astype(object)
    print(table.fillna("").to_string(index=False))


if __name__ == "__main__":
    main()
