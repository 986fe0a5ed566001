"""How many visual tokens a model makes of a page, and whether the pixel budget means as many."""

import logging
import math
from typing import Any

from PIL import Image
from sentence_transformers import CrossEncoder, SentenceTransformer

from pagefinder.data.corpus import PageInput
from pagefinder.data.pixels import budget_size
from pagefinder.errors import InputError
from pagefinder.params import Pixels

log = logging.getLogger(__name__)


def visual_tokens(model: SentenceTransformer | CrossEncoder, page: PageInput) -> int | None:
    """The number of visual tokens that the model makes of a page; None if it has no grid."""
    features = model.preprocess([page] if isinstance(model, SentenceTransformer) else [("", page)])
    if "image_grid_thw" not in features:
        return None
    merge = int(model[0].processor.image_processor.merge_size)
    return int(features["image_grid_thw"][0].prod()) // merge**2


def on_own_grid(model: SentenceTransformer | CrossEncoder, pixels: Pixels) -> Pixels:
    """The pixel budget with the grid (patch size x merge size) of the model's own processor.

    Pages are stored on the base model's grid. A model of another family, such as Qwen2.5-VL beside
    Qwen3-VL, resizes them once more. A processor without a grid leaves the budget as it is.
    """
    processor: Any = getattr(getattr(model[0], "processor", None), "image_processor", None)
    patch, merge = (getattr(processor, name, None) for name in ("patch_size", "merge_size"))
    if not isinstance(patch, int) or not isinstance(merge, int) or patch * merge == pixels.multiple:
        return pixels
    log.info("pages are resized from the grid of %d pixels to %d", pixels.multiple, patch * merge)
    return pixels.model_copy(update={"multiple": patch * merge})


def check_budget(
    model: SentenceTransformer | CrossEncoder, page: PageInput, pixels: Pixels
) -> int | None:
    """Log and return how many visual tokens the model makes of a page.

    None for the text of a page, and where the model's processor has no grid.

    A processor can show one budget and apply another, so attributes prove nothing. Nor does a page
    that fits: the same page is looked at once more, enlarged to four times the budget.

    Raises:
        InputError: the pixel budget means another number of tokens, of one of the two.
    """
    if isinstance(page, str):
        log.info("pages are given as text: no visual tokens")
        return None
    image: Image.Image = page["image"] if isinstance(page, dict) else page
    tokens = visual_tokens(model, page)
    if tokens is None:
        log.info("visual tokens per page: unknown to this model's processor")
        return None
    log.info("visual tokens of the first page (%dx%d): %d", *image.size, tokens)
    _compare_tokens(tokens, image, pixels)
    enlargement = 2 * math.sqrt(pixels.max / (image.width * image.height))
    sides = [math.ceil(enlargement * side) for side in image.size]
    larger = Image.new("RGB", (sides[0], sides[1]), "white")
    _compare_tokens(visual_tokens(model, larger) or 0, larger, pixels)
    return tokens


def _compare_tokens(tokens: int, image: Image.Image, pixels: Pixels) -> None:
    """Raise an InputError where the budget means another number of tokens of this image."""
    width, height = budget_size(*image.size, pixels)
    expected = width * height // pixels.multiple**2
    if tokens != expected:
        raise InputError(
            f"the model makes {tokens} visual tokens of a {image.width}x{image.height} page, the "
            f"budget of pixels.max {pixels.max} and pixels.multiple {pixels.multiple} means "
            f"{expected}: set pixels.multiple to the model's patch size times its merge size"
        )
