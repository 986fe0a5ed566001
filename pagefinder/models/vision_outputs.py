"""Look at a page once: the vision tower's output of a page serves all pairs that show it.

A reranker pairs a page with many queries, and the tower's share of a pair is about half. Models of
transformers that are given images as patches and a grid take the tower's output from outside.
"""

import inspect
import logging
from collections.abc import Iterable
from typing import Any

import torch
from PIL import Image
from sentence_transformers import CrossEncoder
from torch import Tensor
from transformers.utils import ModelOutput

log = logging.getLogger(__name__)

# What a processor of the Qwen-VL family makes of an image: rows of patches, and their grid.
PATCHES, GRID = "pixel_values", "image_grid_thw"
# What `scoring.PairPreprocessor` adds to a model's inputs: the page row of each pair, and of each
# page whose patches are among the inputs.
PAGE_ROWS, PATCH_ROWS = "page_rows", "patch_rows"

# The tower's output of one page: the input of the language model, then that of each of its layers
# that the tower feeds (deepstack); each [visual tokens, dimension].
Output = tuple[Tensor, ...]


def takes_vision_outputs(model: CrossEncoder) -> bool:
    """Whether a model takes the tower's output from outside, and images as patches and a grid."""
    network: Any = getattr(model[0], "model", None)
    processor = image_processor(model)
    if processor is None or not hasattr(network, "get_image_features"):
        return False
    if "mm_encoder_outputs" not in inspect.signature(network.forward).parameters:
        return False
    return set(processor.preprocess([Image.new("RGB", (64, 64))])) == {PATCHES, GRID}


def image_processor(model: CrossEncoder) -> Any:  # noqa: ANN401  # of any model family
    """The part of a model's processor that preprocesses images; None without one."""
    return getattr(getattr(model[0], "processor", None), "image_processor", None)


def same_tower(model: CrossEncoder, other: CrossEncoder) -> bool:
    """Whether two models make the same output of a page, to the bit: by weights and processor."""
    if not takes_vision_outputs(model) or not takes_vision_outputs(other):
        return False
    if image_processor(model).to_dict() != image_processor(other).to_dict():
        return False
    weights, others = (
        each[0].model.get_encoder(modality="image").state_dict() for each in (model, other)
    )
    return weights.keys() == others.keys() and all(
        torch.equal(weight, others[name]) for name, weight in weights.items()
    )


class VisionOutputs:
    """The tower's outputs of pages, by page row, on the model's device.

    Those given to `keep` are held as long as this object lives. Those of the last scored batch are
    held for the next, because pairs are scored in the order of their pages.
    """

    def __init__(self, model: CrossEncoder) -> None:
        """Nothing is held yet."""
        self.network: Any = getattr(model[0], "model", None)
        self.kept: dict[int, Output] = {}
        self._last: dict[int, Output] = {}
        self._kind: type[ModelOutput] = ModelOutput

    def keep(self, batches: Iterable[dict[str, Any]], limit: float) -> None:
        """Hold the outputs of whole batches of pages, as far as they fit into `limit` bytes.

        A tower that is being trained has other outputs after a step: none is held.

        Args:
            batches: Inputs as `insert` takes them. None is read beyond the limit.
            limit: Bytes of the device's memory.
        """
        used = 0
        for features in batches:
            outputs = self._look(features)
            parts = [part for output in outputs.values() for part in output]
            used += sum(part.nbytes for part in parts)
            if any(part.requires_grad for part in parts) or used > limit:
                break
            self.kept |= outputs
        log.info("outputs of the vision tower are kept for %d pages", len(self.kept))

    def share(self, other: "VisionOutputs") -> None:
        """Hold what those of another model with the same tower keep; see `same_tower`."""
        self.kept, self._kind = other.kept, other._kind

    def insert(self, features: dict[str, Any]) -> dict[str, Any]:
        """A model's inputs with the tower's outputs instead of patches; gradients flow through.

        Inputs without PAGE_ROWS are returned as they are. Patches need to be there for pages that
        were neither kept nor, without gradients, in the batch before.
        """
        if PAGE_ROWS not in features:
            return features
        held = self.kept | self._last | self._look(features)
        page_rows = features[PAGE_ROWS]
        # Outputs with a graph are of one step: the next one has other weights.
        self._last = {} if torch.is_grad_enabled() else {row: held[row] for row in page_rows}
        pooled, *deepstack = zip(*(held[row] for row in page_rows), strict=True)
        # Without deepstack layers a model that knows of them wants an empty list.
        layers = (
            {"deepstack_features": deepstack} if hasattr(self._kind, "deepstack_features") else {}
        )
        output = self._kind(pooler_output=pooled, **layers)
        added = (PAGE_ROWS, PATCH_ROWS, PATCHES)
        rest = {name: value for name, value in features.items() if name not in added}
        return rest | {"mm_encoder_outputs": {"image": output}}

    def _look(self, features: dict[str, Any]) -> dict[int, Output]:
        """Run the tower on the patches in `features`; its outputs by page row."""
        patch_rows, page_rows = features[PATCH_ROWS], features[PAGE_ROWS]
        if not patch_rows:
            return {}
        output = self.network.get_image_features(
            pixel_values=features[PATCHES],
            image_grid_thw=features[GRID][[page_rows.index(row) for row in patch_rows]],
            return_dict=True,
        )
        self._kind = type(output)
        layers = [output.pooler_output, *(output.get("deepstack_features") or ())]
        return dict(zip(patch_rows, zip(*layers, strict=True), strict=True))
