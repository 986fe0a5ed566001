"""Scores of query-page pairs by a cross-encoder, each page decoded and looked at once."""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
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
    same_tower,
    takes_vision_outputs,
)

# Query text and page row.
Pair = tuple[str, int]
# Gives the logits of candidates, float32 [candidates], in their order.
Scorer = Callable[[pd.DataFrame], np.ndarray]


def score_pairs(
    model: CrossEncoder,
    corpus: Corpus,
    candidates: pd.DataFrame,
    device_settings: DeviceSettings,
    batch: int,
    outputs: VisionOutputs | None = None,
    *,
    by_length: bool = False,
) -> np.ndarray:
    """Logits of query-page pairs, float32 [len(candidates)], in the order of `candidates`.

    Pairs are scored in the order of their pages, so that a page is decoded, preprocessed and looked
    at once however many queries it is paired with. Pages that `outputs` keeps are not even decoded.
    `by_length` puts their pairs last, the longest first, so that batches hold little padding. In
    float32 the scores are the same to the bit, in bfloat16 nearly.
    """
    pairs = text_and_page_row(corpus, candidates)
    order = _order(corpus, pairs, outputs.kept if outputs and by_length else {})
    in_order = [pairs[at] for at in order]
    logits = np.empty(len(pairs), dtype=np.float32)
    start = 0
    with tqdm(total=len(pairs), desc="pairs", unit="pair", disable=None) as progress:
        for part in score_batches(model, corpus, in_order, device_settings, batch, outputs):
            logits[order[start : start + len(part)]] = part
            start += len(part)
            progress.update(len(part))
    return logits


def _order(corpus: Corpus, pairs: Sequence[Pair], kept_rows: Iterable[int]) -> np.ndarray:
    """Positions of pairs in the order of scoring; pages of `kept_rows` need not be neighbours."""
    rows = np.array([row for _, row in pairs], dtype=int)
    lengths = np.array([len(text) for text, _ in pairs], dtype=int)
    areas = (corpus.pages["width"] * corpus.pages["height"]).to_numpy()[rows]
    kept = np.isin(rows, list(kept_rows))
    return np.lexsort((rows, np.where(kept, -lengths, 0), np.where(kept, -areas, 0), kept))


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


def keep_pages(
    outputs: VisionOutputs,
    model: CrossEncoder,
    corpus: Corpus,
    page_ids: Sequence[str],
    device_settings: DeviceSettings,
    batch: int,
    limit: float,
) -> None:
    """Look at pages now and have `outputs` keep them, as many as fit into `limit` bytes.

    Nothing is done for a model that takes no outputs, or without a limit.
    """
    preprocess = PairPreprocessor(model, corpus)
    if not preprocess.once or not limit:
        return
    pairs = [("", corpus.page_row[page_id]) for page_id in page_ids]
    none = frozenset[int]()
    batches = [(pairs[at : at + batch], none) for at in range(0, len(pairs), batch)]
    model.eval()
    with device_settings.precision():
        outputs.keep(prefetching.prepared(batches, preprocess, device_settings), limit)


def shared_scorers(
    models: tuple[CrossEncoder, CrossEncoder],
    corpus: Corpus,
    page_ids: Sequence[str],
    device_settings: DeviceSettings,
    batch: int,
    limit: float,
) -> tuple[Scorer, Scorer]:
    """`score_pairs` of two models that score the same pages.

    Where their towers are the same, as before and after a training that froze them, the pages of
    `page_ids` are looked at now and kept for both, see `keep_pages`.
    """
    outputs = tuple(VisionOutputs(model) for model in models)
    if same_tower(*models):
        with torch.inference_mode():
            keep_pages(outputs[0], models[0], corpus, page_ids, device_settings, batch, limit)
        outputs[1].share(outputs[0])
    first, second = (
        functools.partial(
            score_pairs,
            model,
            corpus,
            device_settings=device_settings,
            batch=batch,
            outputs=output,
            by_length=True,
        )
        for model, output in zip(models, outputs, strict=True)
    )
    return first, second


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
