"""Scores of query-page pairs by a cross-encoder, each page decoded and preprocessed once."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from sentence_transformers import CrossEncoder
from tqdm import tqdm
from transformers import BatchFeature
from transformers.image_utils import make_flat_list_of_images

from pagefinder.data.corpus import Corpus
from pagefinder.models import prefetching
from pagefinder.models.device import DeviceSettings

# Pairs scored at a time: their pages are kept meanwhile, 9 MB each at 360,000 pixels.
CHUNK = 256
# What a processor of the Qwen-VL family makes of images: rows of patches, and a grid per image.
PATCHES, GRID = "pixel_values", "image_grid_thw"


def score_pairs(
    model: CrossEncoder,
    corpus: Corpus,
    candidates: pd.DataFrame,
    device_settings: DeviceSettings,
    batch: int,
) -> np.ndarray:
    """Logits of query-page pairs, float32 [len(candidates)], in their order.

    Pairs are walked page by page, so that a page is decoded and preprocessed once however many
    queries it is paired with, or twice where its pairs stand in two chunks.
    """
    texts = corpus.queries.set_index("query_id")["text"]
    rows = candidates["page_id"].map(corpus.page_row).to_numpy()
    order = np.argsort(rows, kind="stable")
    query_ids = candidates["query_id"].to_numpy()
    logits = np.empty(len(candidates), dtype=np.float32)
    if device_settings.loader_processes and len(order):
        asked = [(texts[query_ids[pair]], int(rows[pair])) for pair in order]
        count = -(-len(asked) // batch)
        found = score_ahead(model, corpus, asked, device_settings, batch)
        shown = tqdm(found, desc="pairs", unit="batch", total=count, disable=None)
        logits[order] = np.concatenate(list(shown))
        return logits
    with tqdm(total=len(candidates), desc="pairs", unit="pair", disable=None) as progress:
        for start in range(0, len(order), CHUNK):
            chunk = order[start : start + CHUNK]
            images = {row: corpus.image(row) for row in dict.fromkeys(rows[chunk].tolist())}
            pairs = [(texts[query_ids[pair]], images[rows[pair]]) for pair in chunk]
            with device_settings.precision(), preprocessed_once(model):
                scores = model.predict(
                    pairs,
                    batch_size=batch,
                    activation_fn=torch.nn.Identity(),
                    convert_to_tensor=True,
                    show_progress_bar=False,
                )
            logits[chunk] = scores.float().cpu().numpy()
            progress.update(len(chunk))
    return logits


def score_ahead(
    model: CrossEncoder,
    corpus: Corpus,
    asked: Sequence[tuple[str, int]],
    device_settings: DeviceSettings,
    batch: int,
) -> Iterator[np.ndarray]:
    """What `predict` computes, with the pairs of the next batches made ready meanwhile.

    Args:
        model: The cross-encoder.
        corpus: Of the pages.
        asked: Query and page row of each pair; a page's pairs stand together.
        device_settings: The device.
        batch: Pairs scored at once.

    Yields:
        Logits of each batch, float32 [pairs].
    """
    prompt = model.prompts.get(model.default_prompt_name)
    batches = [asked[start : start + batch] for start in range(0, len(asked), batch)]

    def prepare(pairs: Sequence[tuple[str, int]]) -> dict[str, Any]:
        images = {row: corpus.image(row) for row in dict.fromkeys(row for _, row in pairs)}
        with preprocessed_once(model):
            made: dict[str, Any] = model.preprocess(
                [(text, images[row]) for text, row in pairs], prompt=prompt
            )
        return made

    model.eval()
    for features in prefetching.prepared(batches, prepare, device_settings):
        with torch.inference_mode(), device_settings.precision():
            logits = model(features)["scores"].float().reshape(-1)
        yield logits.cpu().numpy()


@contextlib.contextmanager
def preprocessed_once(model: CrossEncoder) -> Iterator[None]:
    """Keep what the model's processor makes of each image (the same object) within the block.

    `predict` preprocesses pair by pair, and the images are the dear part. Processors that give
    anything but patches and a grid are left to do so.
    """
    processor: Any = getattr(model[0].processor, "image_processor", None)
    if processor is None:
        yield
        return
    original = processor.preprocess
    # The image stands beside its result so that its id is not given to another one.
    kept: dict[int, tuple[Any, BatchFeature]] = {}

    def preprocess(images: Any, *args: Any, **keywords: Any) -> BatchFeature:  # noqa: ANN401
        flat = make_flat_list_of_images(images)
        for image in flat:
            if id(image) not in kept:
                made = original([image], *args, **keywords)
                if set(made) != {PATCHES, GRID}:
                    return original(images, *args, **keywords)
                kept[id(image)] = (image, made)
        found = [kept[id(image)][1] for image in flat]
        return BatchFeature({key: torch.cat([one[key] for one in found]) for key in found[0]})

    processor.preprocess = preprocess
    try:
        yield
    finally:
        del processor.preprocess
