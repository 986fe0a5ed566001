"""The architecture of `nano`: a Qwen3-VL of about three million parameters.

It has the same classes, chat format, image patches and pooling as Qwen3-VL-Embedding-2B, so that
the bundled default runs the very code path of the large model.
"""

import copy
import json
import shutil
import tempfile
from pathlib import Path

import torch
import transformers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

import pagefinder  # noqa: F401  (lets the processor open where torchvision is missing)

PATCH, MERGE = 16, 2
PAGE_PIXELS = 256 * 192
WIDTH = 192  # of the language model, and so the embedding dimension

# The files of both checkpoints that training does not change, and their configurations.
STATIC = Path(__file__).with_name("static")


def page_settings() -> dict[str, object]:
    """Return the image processor's settings.

    They allow as many pixels as one page of 256 by 192 has, which makes 48 tokens.
    """
    return {
        "patch_size": PATCH,
        "merge_size": MERGE,
        "temporal_patch_size": 2,
        # Areas in pixels, despite the names of the keys.
        "size": {"shortest_edge": 32 * 32, "longest_edge": PAGE_PIXELS},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }


def build_processor(tokenizer: PreTrainedTokenizerFast, name: str = "embedder") -> Qwen3VLProcessor:
    """Return the processor of the "embedder" or the "reranker", with its chat template.

    The embedder's template has no system message unless a prompt asks for one: a constant default
    only dilutes a narrow model. The blank before a text gives its first word the tokens that it has
    inside a sentence. The reranker's template names no roles, as each token costs.
    """
    template = (STATIC / name / "chat_template.jinja").read_text()
    settings = page_settings()
    parts = {"image_processor": Qwen2VLImageProcessorPil(**settings), "tokenizer": tokenizer}
    if "video_processor" in Qwen3VLProcessor.get_attributes():
        # Where torchvision is installed the processor insists on one, although nano sees no video.
        parts["video_processor"] = transformers.Qwen3VLVideoProcessor(**settings)
    return Qwen3VLProcessor(**parts, chat_template=template)


def build_config(tokenizer: PreTrainedTokenizerFast, name: str = "embedder") -> Qwen3VLConfig:
    """Return the configuration of the "embedder" or the "reranker", sized for `tokenizer`.

    `initializer_range` is 0.08, not 0.02: at 0.02 a model this narrow puts almost the same vector
    on every input and contrastive gradients vanish. The reranker has eight attention heads, since a
    visual token covers two rows of four characters and a piece of a word can start in each of them.
    A slow rotation leaves most dimensions of its heads free of position: the match is by content.
    """
    sizes = json.loads((STATIC / name / "config.json").read_text())
    sizes["text_config"]["vocab_size"] = len(tokenizer)
    sizes["vision_config"] |= {"patch_size": PATCH, "spatial_merge_size": MERGE}
    return Qwen3VLConfig(**sizes)


def build_model(config: Qwen3VLConfig, seed: int = 0) -> Qwen3VLForConditionalGeneration:
    """Return a model with random fp32 weights that depend on `seed` alone."""
    torch.manual_seed(seed)
    return Qwen3VLForConditionalGeneration(config)


def write_checkpoint(
    folder: Path,
    model: Qwen3VLForConditionalGeneration,
    processor: Qwen3VLProcessor,
    name: str = "",
) -> None:
    """Write a checkpoint as `folder`, replacing it: bf16 weights, configuration, processor.

    With the static files of `name`, "embedder" or "reranker", `SentenceTransformer(folder)` or
    `CrossEncoder(folder)` opens it. The video processor's configuration is written too, although
    nano never sees a video: without it nothing would open where torchvision is installed.
    """
    video = {"video_processor_type": "Qwen3VLVideoProcessor", **page_settings()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as place:
        scratch = Path(place) / folder.name
        if name:
            shutil.copytree(STATIC / name, scratch)
        copy.deepcopy(model).to(torch.bfloat16).save_pretrained(scratch)
        processor.save_pretrained(scratch)
        text = json.dumps(video | {"do_sample_frames": False}, indent=2) + "\n"
        (scratch / "video_preprocessor_config.json").write_text(text)
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)
