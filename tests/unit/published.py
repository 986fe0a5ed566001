"""Small random models in the layout of Qwen's published repositories for Sentence Transformers.

What differs from a folder that transformers 5 writes, and matters here:

- `preprocessor_config.json` holds the legacy keys `min_pixels` and `max_pixels` beside `size`, and
  they win over it.
- The embedder's chat template inserts a system message where none is given, and knows no roles
  `query` and `document`.
- The reranker's template of pairs is a named one, which its sentence_bert_config.json chooses, and
  its saved activation is Identity: plain scores are logits.
"""

import json
import random
from pathlib import Path

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Transformer
from sentence_transformers.cross_encoder.modules import LogitScore
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from tiny import WORDS

# The system message that the embedder's template inserts, and its saved default prompt.
DEFAULT_PROMPT = "Represent the user's input."
# What the published processors allow at most, in pixels of a page.
MAX_PIXELS = 1310720

RENDER = """\
{%- macro render(content) -%}
{%- if content is string -%}{{ content }}
{%- else -%}{%- for part in content -%}
{%- if part.type == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>
{%- elif part.type == 'video' -%}<|vision_start|><|video_pad|><|vision_end|>
{%- elif 'text' in part -%}{{ part.text }}{%- endif -%}
{%- endfor -%}{%- endif -%}
{%- endmacro -%}
"""
EMBEDDER_TEMPLATE = (
    RENDER
    + """\
{%- if messages[0].role != 'system' -%}
{{ "<|im_start|>system\\nRepresent the user's input.<|im_end|>\\n" }}
{%- endif -%}
{%- for message in messages -%}
{%- if message.role in ['system', 'user', 'assistant'] -%}
{{ '<|im_start|>' + message.role + '\\n' + render(message.content) + '<|im_end|>\\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""
)
PAIR_TEMPLATE = (
    RENDER
    + """\
{%- set parts = namespace(instruct='Retrieve candidates relevant to the query.') -%}
{%- for message in messages if message.role == 'system' -%}
{%- set parts.instruct = render(message.content) -%}
{%- endfor -%}
{{ '<|im_start|>system\\nJudge whether the Document meets the requirements. ' }}
{{- 'Answer "yes" or "no".<|im_end|>\\n<|im_start|>user\\n<Instruct>: ' + parts.instruct }}
{%- for message in messages if message.role == 'query' -%}
{{ '<Query>:' + render(message.content) }}
{%- endfor -%}
{%- for message in messages if message.role == 'document' -%}
{{ '\\n<Document>:' + render(message.content) }}
{%- endfor -%}
{{ '<|im_end|>\\n' }}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""
)


def write_published_embedder(folder: Path) -> Path:
    """A random embedder in the layout of Qwen3-VL-Embedding-2B; returns `folder`."""
    _write_checkpoint(folder)
    transformer = Transformer(str(folder), processor_kwargs={"chat_template": EMBEDDER_TEMPLATE})
    pooling = Pooling(transformer.get_embedding_dimension(), pooling_mode="lasttoken")
    model = SentenceTransformer(
        modules=[transformer, pooling, Normalize()],
        prompts={"default": DEFAULT_PROMPT},
        default_prompt_name="default",
        device="cpu",
    )
    return _save(model, folder, {"shortest_edge": 4096, "longest_edge": MAX_PIXELS}, 4096)


def write_published_reranker(folder: Path) -> Path:
    """A random reranker in the layout of Qwen3-VL-Reranker-2B; returns `folder`."""
    _write_checkpoint(folder, seed=1)
    chat = {"chat_template": "reranker", "add_generation_prompt": True}
    templates = {"default": EMBEDDER_TEMPLATE, "reranker": PAIR_TEMPLATE}
    transformer = Transformer(
        str(folder),
        transformer_task="any-to-any",
        processor_kwargs={"chat_template": templates},
        processing_kwargs={"chat_template": chat},
    )
    yes, no = (transformer.tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no"))
    model = CrossEncoder(
        modules=[transformer, LogitScore(true_token_id=yes, false_token_id=no)],
        activation_fn=torch.nn.Identity(),
        device="cpu",
    )
    return _save(model, folder, {"shortest_edge": 65536, "longest_edge": 16777216}, 4095)


def _write_checkpoint(folder: Path, seed: int = 0) -> None:
    """A checkpoint of the architecture with random bfloat16 weights, named as a published one."""
    from nano import architecture
    from nano.tokenizer import train_tokenizer

    rng = random.Random(0)
    texts = [" ".join(rng.choices([*WORDS, "yes", "no"], k=8)) for _ in range(100)]
    tokenizer = train_tokenizer([*texts, "yes no yes no"], 500)
    model = architecture.build_model(architecture.build_config(tokenizer), seed)
    architecture.write_checkpoint(folder, model, architecture.build_processor(tokenizer))


def _save(
    model: SentenceTransformer | CrossEncoder, folder: Path, size: dict[str, int], min_pixels: int
) -> Path:
    """Save a model over its folder, with the processor's settings as transformers 4 wrote them."""
    model.to(torch.bfloat16)
    model.save_pretrained(str(folder), create_model_card=False)
    written = folder / "processor_config.json"
    settings = json.loads(written.read_text())["image_processor"]
    written.unlink()
    legacy = {"min_pixels": min_pixels, "max_pixels": MAX_PIXELS}
    names = {
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "processor_class": "Qwen3VLProcessor",
    }
    text = json.dumps(settings | {"size": size} | legacy | names, indent=2)
    (folder / "preprocessor_config.json").write_text(text)
    return folder
