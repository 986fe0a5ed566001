"""Run a released model on golden cases with plain Sentence Transformers, as it is or mistaken."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding
from sentence_transformers.util import batch_to_device

from pagefinder.data.corpus import PageInput
from pagefinder.errors import InputError
from pagefinder.parity.cases import Golden
from pagefinder.release.folders import page_content

Model: TypeAlias = SentenceTransformer | CrossEncoder
QUERY, PAGE, PAIR = "query", "page", "pair"


@dataclass(frozen=True)
class Input:
    """A case as a model takes it: a question, a page, or both; and the name of the case."""

    kind: str
    query: str = ""
    page: PageInput = ""
    name: str = ""

    @property
    def value(self) -> Any:  # noqa: ANN401  # what Sentence Transformers takes
        """The input itself."""
        if self.kind == PAIR:
            return (self.query, self.page)
        return self.query if self.kind == QUERY else self.page


def open_model(folder: Path, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Model:
    """The model in a folder, opened plainly: an embedder or a reranker."""
    keywords: dict[str, Any] = {"device": device, "model_kwargs": {"dtype": dtype}}
    config = folder / "config_sentence_transformers.json"
    reranks = config.is_file() and '"CrossEncoder"' in config.read_text(encoding="utf-8")
    model = (CrossEncoder if reranks else SentenceTransformer)(str(folder), **keywords)
    return model.eval()


def prompt_of(model: Model, kind: str) -> str:
    """The prompt that the model was saved with for a question, a page or a pair."""
    name = {QUERY: "query", PAGE: "document", PAIR: model.default_prompt_name or ""}[kind]
    return model.prompts.get(name) or ""


def vectors(model: Model, inputs: Sequence[Input], prompts: Sequence[str]) -> np.ndarray:
    """Embeddings, or logits in one column, float32 [inputs, dimension]; one input at a time.

    Alone no input is padded, so a vector does not depend on the others.
    """
    rows = []
    for each, prompt in zip(inputs, prompts, strict=True):
        features = model.preprocess([each.value], prompt=prompt, **_task(model, each.kind))
        with torch.inference_mode():
            outputs = model(batch_to_device(features, model.device), **_task(model, each.kind))
        key = "scores" if isinstance(model, CrossEncoder) else "sentence_embedding"
        rows.append(outputs[key].float().reshape(-1).cpu().numpy())
    return np.stack(rows)


def tokens(model: Model, each: Input, prompt: str) -> tuple[int, str]:
    """The number of tokens of an input, and the text that they stand for.

    A dual encoder like CLIP reads no tokens of a page: 0 and "".
    """
    features = model.preprocess([each.value], prompt=prompt, **_task(model, each.kind))
    if "input_ids" not in features:
        return 0, ""
    ids = features["input_ids"]
    if "attention_mask" in features:  # static embeddings give the tokens alone, in a row
        ids = ids[features["attention_mask"].bool()]
    text = str(model.tokenizer.decode(ids.tolist()))
    return len(ids), re.sub(r"(<\|[a-z_]+\|>)\1+", r"\1...", text)


def settings_of(model: Model, folder: Path) -> dict[str, Any]:
    """How a released model is to be served, as JSON.

    Returns:
        kind (embedder or reranker), page_content, prompts (by query and page, or pair),
        chat_template (whether inputs are messages of a chat), max_tokens (behind which texts are
        cut; null for static embeddings, which read all), pixels (the budget: min, max and multiple;
        null for a model that sees no page); of an embedder dimension, width (before the cut),
        pooling (empty for a model that gives one vector as it is) and normalized; of a reranker
        activation (of its plain scores).
    """
    reranks = isinstance(model, CrossEncoder)
    kinds = (PAIR,) if reranks else (QUERY, PAGE)
    settings = {
        "kind": "reranker" if reranks else "embedder",
        "page_content": page_content(folder),
        "prompts": {kind: prompt_of(model, kind) for kind in kinds},
        "chat_template": "message" in model.modalities,
        "max_tokens": None if isinstance(model[0], StaticEmbedding) else model.max_seq_length,
        "pixels": pixels_of(model),
    }
    if isinstance(model, CrossEncoder):
        return settings | {"activation": type(model.activation_fn).__name__}
    pooling = next((module for module in model if isinstance(module, Pooling)), None)
    width = (pooling or model[0]).get_embedding_dimension()
    return settings | {
        "dimension": model.get_embedding_dimension(),
        "width": width,
        "pooling": str(pooling.pooling_mode) if pooling else "",
        "normalized": True,
    }


def image_processor(model: Model) -> Any:  # noqa: ANN401  # transformers' class depends on the model
    """The model's image processor; None for a model that sees no image."""
    return getattr(getattr(model[0], "processor", None), "image_processor", None)


def pixels_of(model: Model) -> dict[str, int] | None:
    """The pixel budget of the model's processor; None where it has none that is an area."""
    processor = image_processor(model)
    try:
        size, multiple = processor.size, processor.patch_size * processor.merge_size
        budget = {"min": size["shortest_edge"], "max": size["longest_edge"], "multiple": multiple}
    except (AttributeError, TypeError, KeyError, ValueError):
        return None
    return {name: int(number) for name, number in budget.items()}


def _task(model: Model, kind: str) -> dict[str, str]:
    """What Sentence Transformers is told about an embedder's input."""
    if isinstance(model, CrossEncoder):
        return {}
    return {"task": {QUERY: "query", PAGE: "document"}[kind]}


def answers_of_folder(folder: Path, golden: Golden) -> tuple[np.ndarray, list[int | None]]:
    """Vectors or plain scores of the golden cases by the model in a folder, and their tokens.

    The prompts are those saved in the folder, whatever the golden ones are.

    Raises:
        InputError: the folder holds no model, or a reranker for an embedder or the other way round.
    """
    if not any((folder / name).is_file() for name in ("modules.json", "config.json")):
        raise InputError(f"{folder} holds no model: it has neither modules.json nor config.json")
    try:
        model = open_model(folder)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{folder} does not open as a model: {reason:.300}") from error
    if isinstance(model, CrossEncoder) != golden.reranks:
        released = golden.folder.parent
        raise InputError(
            f"{folder} is {'an embedder' if golden.reranks else 'a reranker'}, but {released} is "
            f"{'a reranker' if golden.reranks else 'an embedder'}: name its own by --release"
        )
    inputs = [
        Input(case.kind, case.query, "" if case.kind == QUERY else golden.page(case))
        for case in golden.cases
    ]
    prompts = [prompt_of(model, each.kind) for each in inputs]
    outputs = vectors(model, inputs, prompts).astype(np.float64)
    if isinstance(model, CrossEncoder):
        outputs = model.activation_fn(torch.from_numpy(outputs)).numpy()
    return outputs, [tokens(model, *each)[0] for each in zip(inputs, prompts, strict=True)]
