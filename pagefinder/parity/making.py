"""Make the golden cases of a released model."""

import gc
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pagefinder.params import Pixels
from pagefinder.parity.cases import GOLDEN, Case, Golden, write_golden
from pagefinder.parity.drawn import QUESTIONS, golden_pages
from pagefinder.parity.running import (
    PAGE,
    PAIR,
    QUERY,
    Input,
    Model,
    open_model,
    prompt_of,
    settings_of,
    tokens,
    vectors,
)

log = logging.getLogger(__name__)

SPARE = 4  # times what bfloat16 moves a cosine or a logit: so much may a server differ
LEAST = 0.002  # of the tolerance


def make_golden(
    folder: Path, pixels: Pixels, open_base: Callable[[], Model | None] | None, device: str = "cpu"
) -> Golden:
    """Write the golden cases of the model released in `folder` beside it.

    Args:
        folder: Of the model.
        pixels: The pixel budget, which decides how large the drawn pages are.
        open_base: Opens the model before tuning, with the released one's prompts; gives None where
            it is not at hand.
        device: Where the models run.
    """
    # One model is open at a time: a large one fills a GPU.
    model = open_model(folder, device=device)
    settings = settings_of(model, folder)
    pages, images = golden_pages(settings["page_content"], pixels, settings["max_tokens"] or 512)
    named = {f"page-{number}.png": image for number, image in enumerate(images, 1) if image}
    inputs = _inputs(settings["kind"], pages)
    prompts = [prompt_of(model, each.kind) for each in inputs.values()]
    exact = vectors(model, list(inputs.values()), prompts)
    read = [tokens(model, *each) for each in zip(inputs.values(), prompts, strict=True)]
    del model
    gc.collect()
    base = np.empty((len(inputs), 0))
    opened = open_base() if open_base else None
    if opened:
        base = cut(vectors(opened, list(inputs.values()), prompts), exact.shape[1])
    del opened
    gc.collect()
    low = vectors(open_model(folder, torch.bfloat16, device), list(inputs.values()), prompts)
    tolerance = _round_up(max(LEAST, SPARE * float(distances(exact, low).max())))
    cases = []
    for (name, each), vector, of_base, (count, rendered) in zip(
        inputs.items(), exact, base, read, strict=True
    ):
        image, text = _parts(name, each)
        row = (vector.tolist(), of_base.tolist())
        cases.append(Case(name, each.kind, each.query, text, image, rendered, count, *row))
    golden = Golden(settings, tolerance, cases, folder / GOLDEN)
    write_golden(golden, named)
    log.info("%s: %d golden cases, tolerance %g", folder.name, len(cases), tolerance)
    return golden


def distances(golden: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How far vectors are from the golden ones, [cases].

    Of embeddings one minus the cosine, of logits, in one column, the difference.
    """
    if golden.shape[1] == 1:
        return np.asarray(np.abs(golden - others).reshape(-1))
    lengths = np.linalg.norm(golden, axis=1) * np.linalg.norm(others, axis=1)
    cosines: np.ndarray = (golden * others).sum(axis=1) / np.maximum(lengths, 1e-12)
    return 1 - cosines


def cut(embeddings: np.ndarray, dimension: int) -> np.ndarray:
    """The first numbers of each vector, at unit length; logits, in one column, as they are."""
    if embeddings.shape[1] == 1:
        return embeddings
    short = embeddings[:, :dimension].astype(np.float64)
    return np.asarray(short / np.maximum(np.linalg.norm(short, axis=1, keepdims=True), 1e-12))


def _inputs(kind: str, pages: list[Any]) -> dict[str, Input]:
    """The inputs by the name of their case."""
    if kind == "embedder":
        queries = {f"query {n}": Input(QUERY, text) for n, text in enumerate(QUESTIONS, 1)}
        return queries | {f"page {n}": Input(PAGE, page=page) for n, page in enumerate(pages, 1)}
    return {
        f"query {q}, page {p}": Input(PAIR, text, page)
        for q, text in enumerate(QUESTIONS[:2], 1)
        for p, page in enumerate(pages, 1)
    }


def _parts(name: str, each: Input) -> tuple[str | None, str | None]:
    """The file of a case's image and the text of its page."""
    file = f"page-{name.rpartition(' ')[2]}.png"
    if each.kind == QUERY:
        return None, None
    if isinstance(each.page, str):
        return None, each.page
    return file, each.page["text"] if isinstance(each.page, dict) else None


def _round_up(number: float) -> float:
    """A number rounded up to one digit: another kind of processor then gives the same."""
    step = 10.0 ** math.floor(math.log10(number))
    return round(math.ceil(number / step - 1e-9) * step, 12)
