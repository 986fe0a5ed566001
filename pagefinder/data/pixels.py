"""Page images: decode what came from outside, resize to the pixel budget, encode for storage."""

import hashlib
import io
import math
import warnings

from PIL import Image, ImageOps, UnidentifiedImageError

from pagefinder.params import Pixels

# A page of 50 megapixels is an A0 scan at 150 dpi; more is a decompression bomb or a mistake.
MAX_SOURCE_PIXELS = 50_000_000
# Qwen-VL processors refuse pages more elongated than this.
MAX_ASPECT = 200


class BadImageError(ValueError):
    """An image that cannot become a page; the text says why."""


def decode(data: bytes) -> Image.Image:
    """Decode an encoded image to upright RGB, checking its size before any pixel is unpacked.

    Raises:
        BadImageError: the bytes are no image or cut short; the image has a side of 0 pixels,
            more than MAX_SOURCE_PIXELS, or is more elongated than MAX_ASPECT.
    """
    try:
        with warnings.catch_warnings():
            # The size is checked below, against our own limit, before the pixels are read.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
        width, height = image.size
        if width * height > MAX_SOURCE_PIXELS:
            raise BadImageError(f"{width}x{height} pixels, more than {MAX_SOURCE_PIXELS}")
        if not width or not height:
            raise BadImageError(f"{width}x{height} pixels")
        if max(width, height) > MAX_ASPECT * min(width, height):
            raise BadImageError(f"{width}x{height} pixels, more elongated than {MAX_ASPECT} to 1")
        image.load()
        return flatten(ImageOps.exif_transpose(image))
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


def flatten(image: Image.Image) -> Image.Image:
    """The image in RGB, its transparent parts on white as on paper."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


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
