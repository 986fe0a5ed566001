"""The reranker's checkpoint: tokenizer, chat template, sizes, and the folder `CrossEncoder` opens.

Three choices make matching a question with a page learnable for three million parameters:
the page stands before the question, so that every token of the question can look for itself on the
page; letters and digits come in pairs from the start of each word, so that every token has the same
length and what it stands next to is found at fixed distances; and text is lower-cased.
"""

import string
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)

from nano.architecture import (
    SPECIALS,
    build_config,
    build_processor,
    write_checkpoint,
    write_json,
)

SPACE = "\u0120"  # how byte-level BPE writes a blank
PIECES = r" ?[a-z]{1,2}| ?[0-9]{1,2}| ?[^a-z0-9 ]| +"
HEAD = "cross_encoder.modules.logit_score.LogitScore"
LOGITS = {"method": "forward", "method_output_name": "logits"}

# Roles are not named and nothing but the blank before the question is literal: each token costs.
TEMPLATE = """{%- macro render(content) -%}
{%- if content is string %}{{ content }}{% else %}{% for part in content %}\
{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>\
{% elif part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>\
{% elif 'text' in part %}{{ part.text }}{% endif %}{% endfor %}{% endif -%}
{%- endmacro -%}
{%- for message in messages if message.role == 'document' -%}
<|im_start|>{{ render(message.content) }}<|im_end|>
{%- endfor -%}
{%- for message in messages if message.role != 'document' -%}
<|im_start|> {{ render(message.content) | trim }}<|im_end|>
{%- endfor -%}
{%- if add_generation_prompt %}<|im_start|>{% endif -%}"""


def pair_tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level BPE whose only merges are pairs of letters and pairs of digits."""
    merges: list[tuple[str, str]] = []
    for symbols in (string.ascii_lowercase, string.digits):
        merges += [(SPACE, one) for one in symbols]
        merges += [(one, two) for one in symbols for two in symbols]
        merges += [(SPACE + one, two) for one in symbols for two in symbols]
    entries = SPECIALS + sorted(pre_tokenizers.ByteLevel.alphabet()) + ["".join(m) for m in merges]
    vocabulary = {entry: number for number, entry in enumerate(entries)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIALS[1:],
        model_max_length=2048,
        padding_side="left",
    )
    # The two answers are whole tokens, as in a large model's vocabulary.
    fast.add_tokens([AddedToken(word, single_word=True, normalized=True) for word in ("yes", "no")])
    return fast


def reranker_processor() -> Qwen3VLProcessor:
    """Return the processor: the embedder's images, this module's tokenizer and template."""
    return build_processor(pair_tokenizer(), TEMPLATE)


def reranker_config(tokenizer: PreTrainedTokenizerFast) -> Qwen3VLConfig:
    """Return nano's configuration with eight full attention heads and no deep visual features.

    A visual token covers two rows of four characters, so a piece of a word can start in eight
    places of it: one head for each.
    """
    config = build_config(tokenizer)
    text, vision = config.text_config, config.vision_config
    text.num_attention_heads = text.num_key_value_heads = 8
    text.num_hidden_layers, text.intermediate_size = 4, 352
    # A slow rotation leaves most dimensions of a head free of position: the match is by content.
    text.rope_parameters = {
        "rope_type": "default",
        "rope_theta": 1e4,
        "mrope_section": [6, 5, 5],
        "mrope_interleaved": True,
    }
    vision.depth, vision.hidden_size, vision.intermediate_size = 3, 128, 256
    vision.deepstack_visual_indexes = []
    return config


def write_reranker(
    folder: Path, model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor
) -> None:
    """Write a checkpoint that `CrossEncoder(folder)` opens: the logit of yes minus that of no."""
    write_checkpoint(folder, model, processor)
    token = processor.tokenizer.convert_tokens_to_ids
    places = {"base.modules.transformer.Transformer": "", HEAD: "1_LogitScore"}
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.{kind}"}
        for number, (kind, path) in enumerate(places.items())
    ]
    write_json(folder / "modules.json", modules)
    write_json(
        folder / "sentence_bert_config.json",
        {
            "transformer_task": "any-to-any",
            "modality_config": {
                "text": LOGITS,
                "image": LOGITS,
                "message": LOGITS | {"format": "structured"},
            },
            "module_output_name": "causal_logits",
            "processing_kwargs": {"chat_template": {"add_generation_prompt": True}},
        },
    )
    write_json(
        folder / "config_sentence_transformers.json",
        {
            "model_type": "CrossEncoder",
            "activation_fn": "torch.nn.modules.activation.Sigmoid",
            "prompts": {},
            "default_prompt_name": None,
        },
    )
    (folder / "1_LogitScore").mkdir(exist_ok=True)
    write_json(
        folder / "1_LogitScore" / "config.json",
        {
            "true_token_id": token("yes"),
            "false_token_id": token("no"),
            "module_input_name": "causal_logits",
        },
    )
