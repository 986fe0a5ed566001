"""Prepare the pages of a source: decode or render, identify, fit, describe.

A unit is one record batch of data/source, whose prepared pages become one file. So processes share
nothing, memory stays flat and an interrupted run keeps the files that are written.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pyarrow as pa
from PIL import Image

from pagefinder.data import pixels
from pagefinder.params import Pixels
from pagefinder.preparing import ocr
from pagefinder.sources import storing
from pagefinder.sources.rendering import render

THUMB = 8  # side of the grey thumbnail whose differences bound those of the whole page from below

PREPARED_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("origin", pa.string()),
        pa.field("problem", pa.string()),
        pa.field("page_id", pa.string()),
        pa.field("document_id", pa.string()),
        pa.field("page_number", pa.int32()),
        pa.field("section", pa.string()),
        pa.field("split", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("text", pa.string()),
        pa.field("text_origin", pa.string()),  # source or ocr; null where there is no text
        pa.field("text_hash", pa.string()),  # of the text that the source gives
        pa.field("png", pa.binary()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("pixel_hash", pa.string()),
        pa.field("digest", pa.string()),  # of the stored pixels
        pa.field("thumb", pa.binary()),  # float32, THUMB x THUMB block means of the grey page
    ]
)


@dataclass(frozen=True)
class Unit:
    """A record batch of a shard, the file for its prepared pages, and how they are prepared.

    `texts` is the folder of the texts that OCR read; None: they are not used.
    """

    shard: Path
    number: int
    target: Path
    texts: Path | None
    pixels: Pixels
    dpi: int


def prepare_unit(unit: Unit) -> Path:
    """Write the prepared pages of a unit, unless an earlier run did, and return their file.

    A page that cannot be read becomes a row with a problem.
    """
    if not unit.target.exists():
        rows = storing.read_unit(unit.shard, unit.number).to_pylist()
        _write(unit.target, [_prepare_page(row, unit) for row in rows])
    return unit.target


def crashed_unit(unit: Unit) -> Path:
    """Write each page of a unit that crashed its process as a problem, and return the file."""
    rows = storing.read_unit(unit.shard, unit.number).to_pylist()
    _write(unit.target, [_problem(row, "unreadable PDF: the renderer crashed") for row in rows])
    return unit.target


def read_prepared(paths: list[Path], columns: list[str]) -> Iterator[pa.Table]:
    """The prepared pages of each file, memory-mapped, with `columns` only."""
    for path in paths:
        with pa.memory_map(str(path)) as mapped:
            yield pa.ipc.open_stream(mapped).read_all().select(columns)


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    """Write rows of PREPARED_SCHEMA as an Arrow stream; no partial file is ever left at `path`."""
    scratch = path.with_suffix(".tmp")
    batch = pa.RecordBatch.from_pylist(rows, schema=PREPARED_SCHEMA)
    with pa.ipc.new_stream(str(scratch), PREPARED_SCHEMA) as writer:
        writer.write_batch(batch)
    scratch.replace(path)


def _problem(row: dict[str, Any], reason: str) -> dict[str, object]:
    """A row of PREPARED_SCHEMA for a page that cannot be used; absent columns become null."""
    return {"key": row["key"], "origin": row["origin"], "problem": reason}


def _prepare_page(row: dict[str, Any], unit: Unit) -> dict[str, object]:
    """A row of PREPARED_SCHEMA from a row of `storing.PAGE_SCHEMA`."""
    if row["problem"]:
        return _problem(row, row["problem"])
    try:
        if row["pdf"]:
            index = row["page_number"] - 1
            page_id = hashlib.sha256(f"{row['pdf']}/{index}".encode()).hexdigest()[:20]
            path = unit.shard.parent / storing.PDF / row["pdf"]
            image = render(path, index, unit.dpi, unit.pixels)
        else:
            source = pixels.decode(row["image"] or b"")
            page_id = pixels.pixel_digest(source)
            image = pixels.fit(source, unit.pixels)
    except pixels.BadImageError as error:
        return _problem(row, f"unreadable image: {error}")
    text, origin = row["text"] or "", "source"
    words = " ".join(text.split())
    if not words and unit.texts and (scan := ocr.text_file(unit.texts, row)).exists():
        text, origin = scan.read_text(encoding="utf-8"), "ocr"
    copied = ("key", "origin", "document_id", "page_number", "section", "split", "kind")
    return {
        **{name: row[name] for name in copied},
        "page_id": page_id,
        "text": text or None,
        "text_origin": origin if text.strip() else None,
        "text_hash": hashlib.sha256(words.encode()).hexdigest()[:16] if words else "",
        "png": pixels.encode_png(image),
        "width": image.width,
        "height": image.height,
        "pixel_hash": str(imagehash.phash(image)),
        "digest": pixels.pixel_digest(image),
        "thumb": thumbnail(image).tobytes(),
    }


def thumbnail(image: Image.Image) -> np.ndarray:
    """Mean grey of THUMB x THUMB equal blocks, float32; an edge left over is not covered."""
    grey = np.asarray(image.convert("L"), dtype=np.float32)
    height, width = grey.shape[0] // THUMB, grey.shape[1] // THUMB
    blocks = grey[: height * THUMB, : width * THUMB].reshape(THUMB, height, THUMB, width)
    means: np.ndarray = blocks.mean(axis=(1, 3), dtype=np.float32)
    return means
