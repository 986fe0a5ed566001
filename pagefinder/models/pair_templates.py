"""The chat template of a reranker: one that shows the model both the query and the page."""

import logging
from typing import Any

from sentence_transformers.base.modules import Transformer

from pagefinder.errors import InputError

log = logging.getLogger(__name__)

# Stands before a template that knows the roles system, user and assistant: it makes one message of
# the user of a pair, the query first, as Qwen3-VL-Reranker is asked. The model's own template then
# renders text and image in its own markup.
PAIR_AS_USER = """\
{%- set pair = namespace(content=[], others=[]) -%}
{%- for message in messages -%}
{%- if message.role in ['query', 'document'] -%}
{%- set label = '<Query>: ' if message.role == 'query' else '\\n<Document>: ' -%}
{%- set parts = message.content -%}
{%- if parts is string -%}{%- set parts = [{'type': 'text', 'text': parts}] -%}{%- endif -%}
{%- set pair.content = pair.content + [{'type': 'text', 'text': label}] + parts -%}
{%- else -%}{%- set pair.others = pair.others + [message] -%}{%- endif -%}
{%- endfor -%}
{%- if pair.content -%}
{%- set messages = pair.others + [{'role': 'user', 'content': pair.content}] -%}
{%- endif -%}
"""


def install_pair_template(transformer: Transformer, place: str) -> None:
    """Let a model's chat template show query and page, where it drops them as unknown roles.

    The template of an embedder such as Qwen3-VL-Embedding does: all pairs would look alike. The
    changed template is saved with the model. Models without chat messages are left alone.

    Args:
        transformer: A reranker's first module.
        place: The key and value of params.yaml that name the model, for messages.

    Raises:
        InputError: query or page are dropped all the same.
    """
    if "message" not in getattr(transformer, "modality_config", {}):
        return
    chosen = dict(transformer.processing_kwargs.get("chat_template", {}))
    chosen.pop("restore_suffix", None)  # Sentence Transformers' own; no template takes it
    dropped = transformer.input_formatter.pair_roles_failure(chosen)
    if dropped is None:
        return
    processor: Any = transformer.processor
    template = processor.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    if template and "chat_template" not in chosen:
        processor.chat_template = PAIR_AS_USER + template
        dropped = transformer.input_formatter.pair_roles_failure(chosen)
    if dropped is not None:
        raise InputError(
            f"{place} cannot read pairs, {dropped}: name a reranker, or give the model a "
            "chat_template.jinja that renders the roles query and document"
        )
    log.info("%s: its chat template knows no pairs; query and page go into one message", place)
