"""The model that `benchmarks.gpu` measures: its sizes, its weights, its params and its FLOPs."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3VLConfig

from nano import architecture
from nano.tokenizer import train_tokenizer
from pagefinder import params_file
from pagefinder.params import Params

ROOT = Path(__file__).parents[1]
# 2b: https://huggingface.co/Qwen/Qwen3-VL-2B-Instruct/blob/main/config.json; tiny: for tests.
# "shallow" holds the few layers on which gradients are compared.
SIZES: dict[str, dict[str, Any]] = json.loads((ROOT / "benchmarks/gpu_sizes.json").read_text())


def write_model(folder: Path, size: dict[str, Any], device: str) -> None:
    """Write a checkpoint of the size with random weights, in bfloat16."""
    texts = ["What does page 0 say about growth? yes no 123456789"] * 20
    tokenizer = train_tokenizer(texts, 320)
    config = architecture.build_config(tokenizer).to_dict()
    text = dict(size["text"])
    rope = config["text_config"]["rope_parameters"] | {"mrope_section": text.pop("mrope_section")}
    config["text_config"] |= text | {"rope_parameters": rope, "initializer_range": 0.02}
    config["vision_config"] |= size["vision"] | {"out_hidden_size": text["hidden_size"]}
    with torch.device(device):
        model = architecture.build_model(Qwen3VLConfig(**config)).to(torch.bfloat16)
    model.save_pretrained(folder)
    architecture.build_processor(tokenizer).save_pretrained(folder)


def shallow(size: dict[str, Any]) -> dict[str, Any]:
    """The size with the few layers on which gradients are compared."""
    return size | {part: size[part] | size["shallow"][part] for part in ("text", "vision")}


def settings(size: dict[str, Any], device: str) -> Params:
    """The gpu profile with the random model in place of the Hub's."""
    content = params_file.read(ROOT / "params.yaml")
    gpu = content["profiles"]["gpu"]
    gpu["base"] |= {"model": "model", "revision": "", "pooling": "lasttoken"}
    gpu["reranker"] |= {"model": "model", "revision": ""}
    gpu["pixels"] |= {"min": 1024, "max": size["pixels"][0]}
    gpu["embedder"] |= {"batch": size["batch"], "dims": size["dims"]}
    if device == "cpu":
        gpu["compute"] |= {"device": "cpu", "precision": "fp32", "scoring": "fp32", "workers": 0}
        gpu["compute"]["compile"] = False
        gpu["embedder"] |= {"mini_batch": 0}
    return params_file.parse(content | {"profile": "gpu"})


def forward_flops(config: Any, features: dict[str, Any], *, causal: bool = True) -> float:  # noqa: ANN401
    """FLOPs of one forward pass of an embedder over a batch: two for each product in a matmul.

    Padding is no work, and of causal attention only the half that is needed is counted.

    Args:
        config: Of a Qwen3-VL.
        features: What the model's `preprocess` gives.
        causal: False for a kernel that multiplies the masked half too.
    """
    done = 0.0
    text, vision = config.text_config, config.vision_config
    width = text.hidden_size
    query = text.num_attention_heads * text.head_dim
    value = text.num_key_value_heads * text.head_dim
    layer = width * (2 * query + 2 * value) + 3 * width * text.intermediate_size
    for tokens in features["attention_mask"].sum(1).tolist():
        attention = 2 * tokens * query * (0.5 if causal else 1)
        done += 2 * tokens * text.num_hidden_layers * (layer + attention)
    patch = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    block = 4 * vision.hidden_size**2 + 2 * vision.hidden_size * vision.intermediate_size
    merge = vision.spatial_merge_size**2
    merged = merge * vision.hidden_size
    merger = merged * (merged + vision.out_hidden_size) / merge
    mergers = 1 + len(vision.deepstack_visual_indexes)
    for grid in features.get("image_grid_thw", []):
        patches = int(grid.prod())
        tower = vision.depth * (block + 2 * patches * vision.hidden_size)
        done += 2 * patches * (patch * vision.hidden_size + tower + mergers * merger)
    return done


def matmul_rate(width: int, device: str) -> float:
    """Bfloat16 matmul rate in FLOP/s, the best of five rounds (float32 on a CPU)."""
    dtype = torch.bfloat16 if device != "cpu" else torch.float32
    one, other = (torch.randn(width, width, device=device, dtype=dtype) for _ in range(2))
    rounds = []
    for _ in range(6):  # the first one brings the clock up
        start = time.perf_counter()
        for _ in range(20):
            one @ other
        if device != "cpu":
            torch.cuda.synchronize()
        rounds.append((time.perf_counter() - start) / 20)
    return float(2 * width**3 / min(rounds[1:]))
