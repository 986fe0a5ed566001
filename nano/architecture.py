"""The architecture of `nano`: a Qwen3-VL of about three million parameters.

It has the same classes, chat format, image patches and pooling as Qwen3-VL-Embedding-2B, so that
the bundled default runs the very code path of the large model.
"""

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
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
SPECIALS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>",
    "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip

# Short on purpose: at 48 visual tokens a page, every token of a prompt is a measurable cost.
PROMPTS = {
    "query": "Find the page for this question.",
    "document": "Represent this page.",
    "image": "Represent this page.",
}

# No system message unless a prompt asks for one: a constant default only dilutes a narrow model.
# The blank before a text gives its first word the tokens that it has inside a sentence.
CHAT_TEMPLATE = """{%- macro render(content) -%}
{%- if content is string %} {{ content }}{% else %}{% for part in content %}\
{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>\
{% elif part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>\
{% elif 'text' in part %} {{ part.text }}{% endif %}{% endfor %}{% endif -%}
{%- endmacro -%}
{%- for message in messages -%}
<|im_start|>{{ 'user' if message.role in ['query', 'document'] else message.role }}
{% if message.role == 'query' %}<Query>: \
{% elif message.role == 'document' %}<Document>: {% endif %}\
{{ render(message.content) }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif -%}"""


def train_tokenizer(texts: Iterable[str], vocabulary: int = 1536) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE of `vocabulary` entries: lower-cased, every digit on its own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIALS[1:],
        model_max_length=2048,
        padding_side="right",
    )


def build_processor(
    tokenizer: PreTrainedTokenizerFast, chat_template: str = CHAT_TEMPLATE
) -> Qwen3VLProcessor:
    """Return a processor whose pixel budget is one 256 by 192 page (48 visual tokens)."""
    settings = {
        "patch_size": PATCH,
        "merge_size": MERGE,
        "temporal_patch_size": 2,
        "size": {"shortest_edge": 32 * 32, "longest_edge": PAGE_PIXELS},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    parts = {"image_processor": Qwen2VLImageProcessorPil(**settings), "tokenizer": tokenizer}
    if "video_processor" in Qwen3VLProcessor.get_attributes():
        # Where torchvision is installed the processor insists on one, although nano sees no video.
        parts["video_processor"] = transformers.Qwen3VLVideoProcessor(**settings)
    return Qwen3VLProcessor(**parts, chat_template=chat_template)


def build_config(tokenizer: PreTrainedTokenizerFast) -> Qwen3VLConfig:
    """Return the configuration: text width 192 (the embedding dimension), vision width 128.

    `initializer_range` is 0.08, not 0.02: at 0.02 a model this narrow puts almost the same vector
    on every input and contrastive gradients vanish.
    """
    token = tokenizer.convert_tokens_to_ids
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 192,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 6,
        "num_key_value_heads": 6,
        "head_dim": 32,
        "max_position_embeddings": 2048,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
        "initializer_range": 0.08,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e4,
            "mrope_section": [8, 4, 4],
            "mrope_interleaved": True,
        },
    }
    vision = {
        "depth": 2,
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_heads": 4,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 2,
        "out_hidden_size": 192,
        "num_position_embeddings": 256,
        "deepstack_visual_indexes": [],
        "initializer_range": 0.08,
    }
    return Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )


def build_model(config: Qwen3VLConfig, seed: int = 0) -> Qwen3VLForConditionalGeneration:
    """Return a model with random fp32 weights that depend on `seed` alone."""
    torch.manual_seed(seed)
    return Qwen3VLForConditionalGeneration(config)


def write_checkpoint(
    folder: Path, model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor
) -> None:
    """Write bf16 weights, config and processor to `folder`, through a temporary neighbour.

    The video processor's configuration is written too, although nano never sees a video: without it
    the checkpoint would not open where torchvision is installed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    halved = Qwen3VLForConditionalGeneration(model.config).to(torch.bfloat16)
    halved.load_state_dict(model.state_dict())
    halved.save_pretrained(scratch)
    processor.save_pretrained(scratch)
    video = {
        "video_processor_type": "Qwen3VLVideoProcessor",
        "patch_size": PATCH,
        "merge_size": MERGE,
        "temporal_patch_size": 2,
        "size": {"shortest_edge": 32 * 32, "longest_edge": PAGE_PIXELS},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "do_sample_frames": False,
    }
    write_json(scratch / "video_preprocessor_config.json", video)
    replace_folder(scratch, folder)


def replace_folder(source: Path, target: Path) -> None:
    """Put the files of `source` in place of those of `target` and remove `source`."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        path.replace(target / path.name)
    source.rmdir()


def write_json(path: Path, content: object) -> None:
    """Write indented JSON with a final newline."""
    path.write_text(json.dumps(content, indent=2) + "\n")


def write_embedder(
    folder: Path, model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor
) -> None:
    """Write what `SentenceTransformer(folder)` opens: last token, unit length, prompts."""
    write_checkpoint(folder, model, processor)
    names = ["Transformer", "Pooling", "Normalize"]
    modules = [
        {
            "idx": number,
            "name": str(number),
            "path": f"{number}_{name}" if number else "",
            "type": f"sentence_transformers.{kind}.{name}",
        }
        for number, (name, kind) in enumerate(
            zip(names, ["base.modules.transformer", "sentence_transformer.modules.pooling",
                        "sentence_transformer.modules.normalize"], strict=True)
        )
    ]  # fmt: skip
    write_json(folder / "modules.json", modules)
    # Without it Sentence Transformers takes the folder for one of its earlier, text-only models.
    forward = {"method": "forward", "method_output_name": "last_hidden_state"}
    sight = {
        "transformer_task": "feature-extraction",
        "modality_config": {
            "text": forward,
            "image": forward,
            "message": forward | {"format": "structured"},
        },
        "module_output_name": "token_embeddings",
    }
    write_json(folder / "sentence_bert_config.json", sight)
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "2_Normalize").mkdir(exist_ok=True)
    width = model.config.text_config.hidden_size
    write_json(
        folder / "1_Pooling" / "config.json",
        {"embedding_dimension": width, "pooling_mode": "lasttoken", "include_prompt": True},
    )
    settings = {"prompts": PROMPTS, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    write_json(folder / "config_sentence_transformers.json", settings)
