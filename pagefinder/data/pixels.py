"""Page images: decode what came from outside, resize to the pixel budget, encode for storage."""

import hashlib
import io
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pagefinder.params import Pixels

# A page of 50 megapixels is an A0 scan at 150 dpi; more is a decompression bomb or a mistake.
MAX_SOURCE_PIXELS = 50_000_000
# Qwen-VL processors refuse pages more elongated than this.
MAX_ASPECT = 200


# Bits of a grey page whose file may hold more: the least that hold its brightest value are meant.
DEPTHS = (8, 10, 12, 14, 16, 24, 31, 32)
DARKEST = 15  # of 255: a page whose brightest grey is below has values of no known scale
OVERSHOOT = 0.1  # of the full scale, by which the floats of a sharpened page may pass its ends
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # TIFF tags


class BadImageError(ValueError):
    """An image that cannot become a page; the text says why."""


def decode(data: bytes | Path, frame: int = 0) -> Image.Image:
    """Decode an encoded image to upright RGB, checking its size before any pixel is unpacked.

    `data` is a file or its content, `frame` a page of it where it is a TIFF file of several.

    Raises:
        BadImageError: the bytes are no image or cut short; the image has a side of 0 pixels,
            more than MAX_SOURCE_PIXELS, is more elongated than MAX_ASPECT, or has values of more
            than 8 bits whose scale is unknown.
    """
    try:
        with warnings.catch_warnings():
            # The size is checked below, against our own limit, before the pixels are read.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data) if isinstance(data, bytes) else data)
        with image:
            image.seek(frame)
            _check_size(*image.size)
            image.load()
            return flatten(ImageOps.exif_transpose(image), getattr(image, "tag_v2", {}))
    except BadImageError:
        raise
    except UnidentifiedImageError as error:
        # Pillow's message holds the buffer's memory address, which differs from run to run.
        raise BadImageError("not a readable image: of no known format") from error
    except (
        Exception
    ) as error:  # Pillow raises OSError, SyntaxError, ValueError, EOFError, struct.error and more
        raise BadImageError(
            f"not a readable image: {' '.join(str(error).split())[:200]}"
        ) from error


def _check_size(width: int, height: int) -> None:
    """Raise BadImageError unless an image of this size can become a page."""
    if width * height > MAX_SOURCE_PIXELS:
        raise BadImageError(f"{width}x{height} pixels, more than {MAX_SOURCE_PIXELS}")
    if not width or not height:
        raise BadImageError(f"{width}x{height} pixels")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise BadImageError(f"{width}x{height} pixels, more elongated than {MAX_ASPECT} to 1")


def flatten(image: Image.Image, tags: Mapping[int, Any] | None = None) -> Image.Image:
    """The image in RGB, its transparent parts on white as on paper.

    Args:
        image: In any mode.
        tags: Those of the TIFF file that it was read from, if it was.

    Raises:
        BadImageError: values of more than 8 bits are of no known scale.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _eight_bits(image, tags or {})
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image, tags: Mapping[int, Any]) -> Image.Image:
    """A grey image of 16 or 32 bits or of floats, in 8 bits; Pillow would cut its values off."""
    values = np.asarray(image)
    if image.mode == "I" and tags.get(SAMPLE_FORMAT, (2,)) in (1, (1,)):
        values = values.view(np.uint32)  # Pillow holds them with a sign that they do not have
    low, high = float(values.min()), float(values.max())
    # Bits that fill their bytes say nothing: scanners write 10, 12 and 14 bits into 16.
    packed = tags.get(BITS_PER_SAMPLE) in (12, (12,))
    scales = [float(2**depth - 1) for depth in ((12,) if packed else DEPTHS)]
    spare = 0.0
    if image.mode == "F":
        scales, spare = [1.0, *scales], OVERSHOOT
    # Not a number fails every comparison.
    fitting = (s for s in scales if low >= -spare * s and high <= (1 + spare) * s)
    scale = next(fitting, None)
    if scale is None or (low < high and high / scale * 255 < DARKEST):
        raise BadImageError(f"values from {low:g} to {high:g} are of no known scale: use 8 bits")
    greys = np.clip(values.astype(np.float32) * np.float32(255 / scale), 0, 255)
    if tags.get(PHOTOMETRIC) == 0:
        greys = 255 - greys
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        greys[values == transparent] = 255
    return Image.fromarray((greys + np.float32(0.5)).astype(np.uint8))


def budget_size(width: int, height: int, pixels: Pixels) -> tuple[int, int]:
    """Width and height of a page inside the pixel budget.

    Both sides become multiples of `pixels.multiple` and the area ends between `min` and `max`, with
    the aspect ratio kept as far as the grid allows: what Qwen-VL's image processor computes (the
    Qwen2-VL report, section 2.1, as transformers implements it).
    """
    grid = pixels.multiple
    # Python's round (half to even), as in transformers.
    fitted_width, fitted_height = round(width / grid) * grid, round(height / grid) * grid
    if fitted_width * fitted_height > pixels.max:
        shrink = math.sqrt(width * height / pixels.max)
        fitted_width = max(grid, math.floor(width / shrink / grid) * grid)
        fitted_height = max(grid, math.floor(height / shrink / grid) * grid)
    elif fitted_width * fitted_height < pixels.min:
        grow = math.sqrt(pixels.min / (width * height))
        fitted_width = math.ceil(width * grow / grid) * grid
        fitted_height = math.ceil(height * grow / grid) * grid
    return fitted_width, fitted_height


def fit(image: Image.Image, pixels: Pixels) -> Image.Image:
    """The image resized to the pixel budget.

    The model's image processor would choose the same size and filter, and so resizes no further.
    """
    size = budget_size(*image.size, pixels)
    return image if size == image.size else image.resize(size, Image.Resampling.BICUBIC)


def encode_png(image: Image.Image) -> bytes:
    """The image as a PNG file, at level 1: a tenth larger, written several times faster."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def pixel_digest(image: Image.Image) -> str:
    """Hash of size and RGB pixels, 20 hex digits: equal for equal pixels in any file format."""
    digest = hashlib.sha256(f"{image.width}x{image.height}".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()[:20]
