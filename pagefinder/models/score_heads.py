"""The last modules of a reranker, which make its score: a LogitScore or a dense layer."""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.cross_encoder.modules import LogitScore
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

from pagefinder.errors import InputError

log = logging.getLogger(__name__)

# The tokens whose logits a generative reranker compares.
YES, NO = "yes", "no"


def fresh_reranker(
    name: str, head: str, keywords: dict[str, Any], section: str = "reranker"
) -> list[torch.nn.Module]:
    """The modules of a reranker made of a fresh checkpoint, or of an embedder's folder.

    Args:
        name: Folder or Hub id.
        head: logit or dense, see `opening.open_reranker`.
        keywords: Arguments of the Transformer module.
        section: The section of params.yaml that names the model, for error messages.

    Raises:
        InputError: the head does not fit the checkpoint.
    """
    chat = {"chat_template": {"add_generation_prompt": True}}
    task = "any-to-any" if head == "logit" else "feature-extraction"
    transformer = Transformer(name, transformer_task=task, processing_kwargs=chat, **keywords)
    if head == "logit" and not transformer.model.config.tie_word_embeddings and is_embedder(name):
        mend = "set reranker.head to dense" if section == "reranker" else "name a reranker"
        raise InputError(f"{section}.model {name!r} is an embedder without a language head: {mend}")
    yes, no = (_single_token(transformer, word) for word in (YES, NO))
    if head == "logit":
        return [transformer, LogitScore(true_token_id=yes, false_token_id=no)]
    embeddings = transformer.model.get_input_embeddings().weight
    return _dense_head(transformer, embeddings[yes] - embeddings[no])


def saved_reranker(name: str, keywords: dict[str, Any], **settings: Any) -> CrossEncoder:  # noqa: ANN401
    """Open a saved reranker, also where its LogitScore was published without the token ids.

    That of Qwen3-VL-Reranker-8B is: modules.json names another folder for it than the one that
    holds its config. The tokens are then `yes` and `no`, as in the 2B model; everything else, such
    as the chat template, is as saved.

    Args:
        name: Folder or Hub id.
        keywords: Arguments of the CrossEncoder on its weights, its processor and its revision.
        settings: Its other arguments.
    """
    try:
        return CrossEncoder(name, **settings, **keywords)
    except TypeError as error:
        if "true_token_id" not in str(error):
            raise
    transformer = Transformer.load(name, **keywords)
    yes, no = (_single_token(transformer, word) for word in (YES, NO))
    score = LogitScore(true_token_id=yes, false_token_id=no)
    log.warning("%s: its LogitScore has no settings; scored by %r and %r", name, YES, NO)
    return CrossEncoder(modules=[transformer, score], **settings)


def dense_reranker(
    model: CrossEncoder, name: str, keywords: dict[str, Any]
) -> list[torch.nn.Module]:
    """The modules of a saved reranker with a dense head that starts equal to its LogitScore.

    Args:
        model: The reranker as it opened.
        name: Its folder or Hub id.
        keywords: Arguments of the Transformer module.

    Raises:
        InputError: it does not end in a LogitScore of two tokens.
    """
    scoring = model[-1]
    if not isinstance(scoring, LogitScore) or scoring.false_token_id is None:
        raise InputError(
            f"reranker.head is dense, but {name!r} ends in {type(scoring).__name__}, not in a "
            "LogitScore of two tokens that it could start from: set it to logit"
        )
    rows = model[0].model.get_output_embeddings().weight
    start = (rows[scoring.true_token_id] - rows[scoring.false_token_id]).cpu()
    settings = model[0].processing_kwargs
    transformer = Transformer(
        name, transformer_task="feature-extraction", processing_kwargs=settings, **keywords
    )
    return _dense_head(transformer, start)


def _dense_head(transformer: Transformer, start: torch.Tensor) -> list[torch.nn.Module]:
    """The modules that score by the last token's hidden state times `start`, [dimension]."""
    dense = Dense(
        len(start),
        1,
        bias=False,
        activation_function=torch.nn.Identity(),
        init_weight=start.detach().unsqueeze(0).clone(),
        module_output_name="scores",
    )
    return [transformer, Pooling(len(start), pooling_mode="lasttoken"), dense]


def _single_token(transformer: Transformer, word: str) -> int:
    """The token id of a word; an InputError where the tokenizer splits it."""
    ids = transformer.tokenizer(word, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise InputError(f"the reranker's tokenizer has no single token for {word!r}: {ids}")
    return int(ids[0])


def is_embedder(name: str) -> bool:
    """Whether a local folder holds an embedder: its last module pools or normalises."""
    listed = Path(name) / "modules.json"
    if not listed.is_file():
        return False
    last = json.loads(listed.read_text(encoding="utf-8"))[-1]["type"]
    return str(last).endswith((Pooling.__name__, Normalize.__name__))
