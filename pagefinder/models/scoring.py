"""Scores of query-page pairs by a cross-encoder, each page decoded and preprocessed once."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from sentence_transformers import CrossEncoder
from tqdm import tqdm
from transformers import BatchFeature
from transformers.image_utils import make_flat_list_of_images

from pagefinder.data.corpus import Corpus, PageInput
from pagefinder.models import prefetching
from pagefinder.models.device import DeviceSettings

# Query text and page row.
Pair = tuple[str, int]

# Pairs scored at a time: their pages are held meanwhile, 9 MB each at 360,000 pixels.
CHUNK = 256
# What a processor of the Qwen-VL family makes of an image: rows of patches, and their grid.
PATCHES, GRID = "pixel_values", "image_grid_thw"


def score_pairs(
    model: CrossEncoder,
    corpus: Corpus,
    candidates: pd.DataFrame,
    device_settings: DeviceSettings,
    batch: int,
) -> np.ndarray:
    """Logits of query-page pairs, float32 [len(candidates)], in the order of `candidates`.

    Pairs are scored in the order of their pages, so that a page is decoded and preprocessed once
    however many queries it is paired with, or twice where its pairs stand in two chunks.
    """
    pairs = text_and_page_row(corpus, candidates)
    order = np.argsort([row for _, row in pairs], kind="stable")
    score = score_ahead if device_settings.loader_processes else _score_chunks
    logits = np.empty(len(pairs), dtype=np.float32)
    start = 0
    with tqdm(total=len(pairs), desc="pairs", unit="pair", disable=None) as progress:
        for part in score(model, corpus, [pairs[at] for at in order], device_settings, batch):
            logits[order[start : start + len(part)]] = part
            start += len(part)
            progress.update(len(part))
    return logits


def text_and_page_row(corpus: Corpus, pairs: pd.DataFrame) -> list[Pair]:
    """Query text and page row of each pair of query_id and page_id."""
    rows = corpus.page_row
    return [
        (corpus.query_text[query_id], rows[page_id])
        for query_id, page_id in zip(pairs["query_id"], pairs["page_id"], strict=True)
    ]


def _with_pages(corpus: Corpus, pairs: Sequence[Pair]) -> list[tuple[str, PageInput]]:
    """The pairs with their pages as the model takes them, each page decoded once."""
    rows = list(dict.fromkeys(row for _, row in pairs))
    pages = dict(zip(rows, corpus.page_inputs(rows), strict=True))
    return [(text, pages[row]) for text, row in pairs]


def _score_chunks(
    model: CrossEncoder,
    corpus: Corpus,
    pairs: Sequence[Pair],
    device_settings: DeviceSettings,
    batch: int,
) -> Iterator[np.ndarray]:
    """Yield the logits of each chunk of pairs, float32 [pairs], without loader processes."""
    for start in range(0, len(pairs), CHUNK):
        with device_settings.precision(), cached_preprocessing(model):
            logits = model.predict(
                _with_pages(corpus, pairs[start : start + CHUNK]),
                batch_size=batch,
                activation_fn=torch.nn.Identity(),
                convert_to_tensor=True,
                show_progress_bar=False,
            )
        yield logits.float().cpu().numpy()


def score_ahead(
    model: CrossEncoder,
    corpus: Corpus,
    pairs: Sequence[Pair],
    device_settings: DeviceSettings,
    batch: int,
) -> Iterator[np.ndarray]:
    """Yield the logits of each batch, float32 [pairs]; loader processes prepare the next batches.

    A page is preprocessed once for all pairs of a batch.
    """
    batches = [pairs[start : start + batch] for start in range(0, len(pairs), batch)]
    prepare = functools.partial(preprocess_pairs, model, corpus)
    model.eval()
    for features in prefetching.prepared(batches, prepare, device_settings):
        with torch.inference_mode(), device_settings.precision():
            logits = model(features)["scores"].float().reshape(-1)
        yield logits.cpu().numpy()


def preprocess_pairs(model: CrossEncoder, corpus: Corpus, pairs: Sequence[Pair]) -> dict[str, Any]:
    """The model's inputs for the pairs and its instruction, by name."""
    prompt = model.prompts.get(model.default_prompt_name)
    with cached_preprocessing(model):
        features: dict[str, Any] = model.preprocess(_with_pages(corpus, pairs), prompt=prompt)
    return features


@contextlib.contextmanager
def cached_preprocessing(model: CrossEncoder) -> Iterator[None]:
    """Preprocess each image (the same object) once within the block, however often it occurs.

    `predict` preprocesses pair by pair, and images take most of that time. Only for processors that
    return patches and their grid alone; another works as before. Within the block the other
    arguments must stay the same: they are no part of the cache's key.
    """
    processor: Any = getattr(model[0].processor, "image_processor", None)
    if processor is None:
        yield
        return
    original = processor.preprocess
    # By id; the image is held beside its features, so that no other image gets its id.
    done: dict[int, tuple[Any, BatchFeature]] = {}

    def preprocess(images: Any, *args: Any, **keywords: Any) -> BatchFeature:  # noqa: ANN401
        flat = make_flat_list_of_images(images)
        for image in flat:
            if id(image) not in done:
                features = original([image], *args, **keywords)
                if set(features) != {PATCHES, GRID}:
                    return original(images, *args, **keywords)
                done[id(image)] = (image, features)
        parts = [done[id(image)][1] for image in flat]
        return BatchFeature({key: torch.cat([part[key] for part in parts]) for key in parts[0]})

    processor.preprocess = preprocess
    try:
        yield
    finally:
        del processor.preprocess
