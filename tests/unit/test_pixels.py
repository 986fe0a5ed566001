import io
import struct

import numpy as np
import pytest
from PIL import Image

from pagefinder.data import pixels
from pagefinder.data.pixels import BadImageError
from pagefinder.params import Pixels

BUDGET = Pixels(min=4096, max=65536, multiple=32)


def encoded(image: Image.Image, kind: str = "PNG", **keywords: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **keywords)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "size", [(256, 192), (1666, 2276), (10, 10), (31, 900), (64, 64), (333, 1001), (48, 80)]
)
def test_budget_size_is_the_processors_own(size):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    height, width = smart_resize(size[1], size[0], 32, BUDGET.min, BUDGET.max)
    assert pixels.budget_size(*size, BUDGET) == (width, height)


def test_a_fitted_page_gives_the_processors_very_pixels():
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    noise = np.random.default_rng(0).integers(0, 255, (500, 377, 3), dtype=np.uint8)
    page = Image.fromarray(noise)
    processor = Qwen2VLImageProcessorPil(
        patch_size=16, merge_size=2, size={"shortest_edge": BUDGET.min, "longest_edge": BUDGET.max}
    )
    fitted = pixels.decode(pixels.encode_png(pixels.fit(page, BUDGET)))
    assert fitted.size != page.size
    straight = processor(page, return_tensors="np")["pixel_values"]
    assert np.array_equal(processor(fitted, return_tensors="np")["pixel_values"], straight)


def test_decode_flattens_transparency_on_white_and_turns_upright():
    clear = Image.new("RGBA", (4, 2), (255, 0, 0, 0))
    assert pixels.decode(encoded(clear)).getpixel((0, 0)) == (255, 255, 255)
    exif = Image.Exif()
    exif[0x0112] = 6
    assert pixels.decode(encoded(Image.new("RGB", (4, 2)), "JPEG", exif=exif)).size == (2, 4)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(mode):
    kind = "TIFF" if mode == "CMYK" else "PNG"
    assert pixels.decode(encoded(Image.new(mode, (40, 40)), kind)).mode == "RGB"


RAMP = np.linspace(0, 1, 64 * 32).reshape(64, 32)
EIGHT_BITS = np.round(RAMP * 255)


def deep(scale: float, kind: type, container: str = "TIFF", **keywords: object) -> bytes:
    """A grey ramp from 0 to `scale` as an encoded image whose values are of the type `kind`."""
    values = (RAMP * scale).astype(kind)
    if kind is np.uint32:  # as Pillow holds them
        values = values.view(np.int32)
    return encoded(Image.fromarray(values), container, **keywords)


def with_tag(data: bytes, tag: int, value: int) -> bytes:
    """A little-endian TIFF file with another value of a short tag."""
    place = data.index(struct.pack("<HHI", tag, 3, 1)) + 8
    return data[:place] + struct.pack("<H", value) + data[place + 2 :]


def twelve_bits(values: np.ndarray) -> bytes:
    """A TIFF file of grey values of 12 bits, two in three bytes, as scanners pack them."""
    pairs = values.astype(np.uint32).reshape(-1, 2) @ np.array([4096, 1], np.uint32)
    packed = pairs.astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
    height, width = values.shape
    entries = [(256, width), (257, height), (258, 12), (259, 1), (262, 1), (277, 1), (278, height)]
    entries += [(273, 8), (279, len(packed))]
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries))
    directory = struct.pack("<H", len(entries)) + tags + struct.pack("<I", 0)
    return struct.pack("<2sHI", b"II", 42, 8 + len(packed)) + packed + directory


@pytest.mark.parametrize(
    "data",
    [
        deep(65535, np.uint16, "PNG"),
        deep(65535, np.uint16),
        deep(65535, np.uint16, compression="tiff_lzw"),
        deep(65535, np.dtype(">u2")),
        deep(65535, np.uint16, "JPEG2000"),
        deep(65535, np.uint16, "PPM"),
        deep(1023, np.uint16, "PNG"),
        deep(1023, np.uint16),
        deep(4095, np.uint16),
        deep(16383, np.uint16, "PNG"),
        deep(16383, np.uint16),
        twelve_bits(RAMP * 4095),
        deep(255, np.uint16, "PNG"),
        deep(2**31 - 1, np.int32),
        deep(65535, np.int32),
        deep(255, np.int32),
        with_tag(deep(2**32 - 1, np.uint32), 339, 1),
        deep(1, np.float32),
        deep(255, np.float32),
        deep(65535, np.float32),
    ],
)
def test_grey_of_more_than_8_bits_is_scaled(data):
    page = np.asarray(pixels.decode(data), dtype=float)
    assert (page[..., 0] == page[..., 2]).all()
    assert np.abs(page[..., 1] - EIGHT_BITS).max() <= 1


def test_deep_grey_keeps_its_sense_its_transparency_and_its_direction():
    white_is_zero = with_tag(deep(65535, np.uint16), 262, 0)
    page = np.asarray(pixels.decode(white_is_zero), dtype=float)
    assert np.abs(page[..., 0] - (255 - EIGHT_BITS)).max() <= 1
    clear = pixels.decode(deep(65535, np.uint16, "PNG", transparency=0))
    assert clear.getpixel((0, 0)) == (255, 255, 255)
    assert clear.getpixel((9, 0)) != (255, 255, 255)
    exif = Image.Exif()
    exif[0x0112] = 6
    assert pixels.decode(deep(65535, np.uint16, "PNG", exif=exif)).size == (64, 32)
    blank = pixels.decode(encoded(Image.fromarray(np.zeros((40, 40), np.uint16))))
    assert blank.getextrema() == ((0, 0),) * 3
    sharpened = encoded(Image.fromarray((RAMP * 1.1 - 0.05).astype(np.float32)), "TIFF")
    assert pixels.decode(sharpened).getextrema() == ((0, 255),) * 3


def test_twelve_bits_that_the_file_states_are_the_scale_of_a_dark_page_too():
    page = np.asarray(pixels.decode(twelve_bits(RAMP * 1000)), dtype=float)
    assert np.abs(page[..., 0] - RAMP * 1000 / 4095 * 255).max() <= 1


@pytest.mark.parametrize("values", [RAMP - 0.5, RAMP * 3, RAMP * 1e12, RAMP * np.nan, RAMP * 9 - 9])
def test_grey_of_no_known_scale_is_refused(values):
    data = encoded(Image.fromarray(values.astype(np.float32)), "TIFF")
    with pytest.raises(BadImageError, match="of no known scale: use 8 bits"):
        pixels.decode(data)
    with pytest.raises(BadImageError, match="values from -10 to 245 are of no known scale"):
        pixels.decode(encoded(Image.fromarray((RAMP * 255 - 10).astype(np.int32)), "TIFF"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a readable image"),
        (b"%PDF-1.4 nonsense", "^not a readable image: of no known format$"),
        (encoded(Image.new("RGB", (60, 60), "red"))[:-40], "not a readable image"),
        (encoded(Image.new("1", (8000, 8000))), "more than 50000000"),
        (encoded(Image.new("1", (5000, 2))), "more elongated"),
    ],
)
def test_bad_images_are_refused(data, message):
    with pytest.raises(BadImageError, match=message):
        pixels.decode(data)


def test_identity_is_of_pixels_not_of_files():
    page = Image.new("RGB", (64, 64), "navy")
    as_png, as_bmp = (pixels.decode(encoded(page, kind)) for kind in ("PNG", "BMP"))
    assert pixels.pixel_digest(as_png) == pixels.pixel_digest(as_bmp)
    page.putpixel((3, 3), (0, 0, 129))
    assert pixels.pixel_digest(page) != pixels.pixel_digest(as_png)
    assert pixels.pixel_digest(Image.new("RGB", (8, 2))) != pixels.pixel_digest(
        Image.new("RGB", (2, 8))
    )
