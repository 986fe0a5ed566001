"""Scores of query-page pairs by a cross-encoder, each page decoded and looked at once."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from sentence_transformers import CrossEncoder
from tqdm import tqdm
from transformers import BatchFeature
from transformers.image_utils import make_flat_list_of_images

from pagefinder.data.corpus import Corpus, PageInput, page_input
from pagefinder.models import prefetching
from pagefinder.models.device import DeviceSettings
from pagefinder.models.vision_outputs import (
    GRID,
    PAGE_ROWS,
    PATCH_ROWS,
    PATCHES,
    VisionOutputs,
    image_processor,
    takes_vision_outputs,
)

# Query text and page row.
Pair = tuple[str, int]


def score_pairs(
    model: CrossEncoder,
    corpus: Corpus,
    candidates: pd.DataFrame,
    device_settings: DeviceSettings,
    batch: int,
    outputs: VisionOutputs | None = None,
) -> np.ndarray:
    """Logits of query-page pairs, float32 [len(candidates)], in the order of `candidates`.

    Pairs are scored in the order of their pages, so that a page is decoded, preprocessed and looked
    at once however many queries it is paired with. Pages that `outputs` keeps are not even decoded.
    """
    pairs = text_and_page_row(corpus, candidates)
    order = np.argsort([row for _, row in pairs], kind="stable")
    in_order = [pairs[at] for at in order]
    logits = np.empty(len(pairs), dtype=np.float32)
    start = 0
    with tqdm(total=len(pairs), desc="pairs", unit="pair", disable=None) as progress:
        for part in score_batches(model, corpus, in_order, device_settings, batch, outputs):
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


def score_batches(
    model: CrossEncoder,
    corpus: Corpus,
    pairs: Sequence[Pair],
    device_settings: DeviceSettings,
    batch: int,
    outputs: VisionOutputs | None = None,
) -> Iterator[np.ndarray]:
    """Yield the logits of each batch, float32 [pairs]; loader processes prepare the next batches.

    A page of the batch before is not looked at again, nor one that `outputs` keeps.
    """
    outputs = outputs or VisionOutputs(model)
    preprocess = PairPreprocessor(model, corpus, frozenset(outputs.kept))
    batches = [pairs[start : start + batch] for start in range(0, len(pairs), batch)]
    before = [frozenset[int](), *(frozenset(row for _, row in part) for part in batches)]
    model.eval()
    for features in prefetching.prepared(
        list(zip(batches, before, strict=False)), preprocess, device_settings
    ):
        with torch.inference_mode(), device_settings.precision():
            logits = model(outputs.insert(features))["scores"].float().reshape(-1)
        yield logits.cpu().numpy()


class PairPreprocessor:
    """Makes a model's inputs of query-page pairs, the patches of each page once.

    Where the model takes the tower's output from outside, the inputs are those of
    `VisionOutputs.insert`. Another model's are its plain ones.
    """

    def __init__(
        self, model: CrossEncoder, corpus: Corpus, kept_rows: frozenset[int] = frozenset()
    ) -> None:
        """Pages of `kept_rows` get no patches: the caller has the tower's output of them."""
        self.model, self.corpus, self.kept_rows = model, corpus, kept_rows
        self.once = corpus.page_content != "text" and takes_vision_outputs(model)
        self._grids: dict[tuple[int, int], torch.Tensor] = {}  # by width and height of an image

    def __call__(self, batch: tuple[Sequence[Pair], frozenset[int]]) -> dict[str, Any]:
        """The model's inputs, by name, for pairs and its instruction.

        `batch` holds the pairs, and the rows of further pages that need no patches.
        """
        pairs, held_rows = batch
        page_rows = [row for _, row in pairs]
        distinct = list(dict.fromkeys(page_rows))
        if not self.once:
            return self._preprocess(pairs, distinct, self.corpus.page_inputs(distinct))
        images: dict[int, Image.Image] = {}

        def image(row: int) -> Image.Image:
            if row in held_rows or row in self.kept_rows:
                return self.corpus.blank_image(row)
            images[row] = self.corpus.image(row)
            return images[row]

        pages = [
            page_input(self.corpus.page_content, image, self.corpus.text, row) for row in distinct
        ]
        with self._patches_apart(set(map(id, images.values()))) as patches:
            features = self._preprocess(pairs, distinct, pages)
        if images:
            features[PATCHES] = torch.cat([patches[id(image)] for image in images.values()])
        return features | {PAGE_ROWS: page_rows, PATCH_ROWS: list(images)}

    def _preprocess(
        self, pairs: Sequence[Pair], rows: Sequence[int], pages: Sequence[PageInput]
    ) -> dict[str, Any]:
        """The model's inputs for pairs whose pages, by row, are `pages`."""
        page_of_row = dict(zip(rows, pages, strict=True))
        inputs = [(text, page_of_row[row]) for text, row in pairs]
        prompt = self.model.prompts.get(self.model.default_prompt_name)
        features: dict[str, Any] = self.model.preprocess(inputs, prompt=prompt)
        return features

    @contextlib.contextmanager
    def _patches_apart(self, image_ids: set[int]) -> Iterator[dict[int, torch.Tensor]]:
        """Within the block the processor returns grids alone, and preprocesses an image once.

        Yields the patches by id of the image, for those in `image_ids`. Others give only a grid.
        """
        processor = image_processor(self.model)
        original = processor.preprocess
        patches: dict[int, torch.Tensor] = {}

        def preprocess(images: Any, *args: Any, **keywords: Any) -> BatchFeature:  # noqa: ANN401
            flat = make_flat_list_of_images(images)
            for image in flat:
                new = id(image) in image_ids and id(image) not in patches
                if new or image.size not in self._grids:
                    features = original([image], *args, **keywords)
                    self._grids[image.size] = features[GRID]
                if new:
                    patches[id(image)] = features[PATCHES]
            return BatchFeature({GRID: torch.cat([self._grids[image.size] for image in flat])})

        processor.preprocess = preprocess
        try:
            yield patches
        finally:
            del processor.preprocess
