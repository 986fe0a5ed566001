"""Read pages of a file for the index: image, thumbnail and text, bounded as the sources bound them.

Nothing here needs the model, so that processes without it read ahead of the one that encodes.
"""

import io
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pypdfium2
from PIL import Image

from pagefinder.data import pixels
from pagefinder.data.corpus import PAGES, Corpus
from pagefinder.indexing import schema
from pagefinder.indexing.files import CHANGED, Chunk, is_pdf, page_id
from pagefinder.params import PageContent, Pixels
from pagefinder.preparing import ocr
from pagefinder.runtime import pool
from pagefinder.sources import images
from pagefinder.sources.pdf import page_texts
from pagefinder.sources.pictures import page_count
from pagefinder.sources.rendering import render

log = logging.getLogger(__name__)

DPI = 144  # of a PDF's page, which the model's pixel budget then bounds
# A4 at 36 dots per inch: enough to know a page by, some 12 KB.
THUMBNAIL, QUALITY = Pixels(min=1, max=125_000, multiple=1), 75
Fitted = Callable[[Pixels, int], Image.Image]  # by pixel budget, and dots per inch of a PDF


@dataclass(frozen=True)
class Reading:
    """What the index needs of a page.

    Attributes:
        budget: Pixels of the image that the model gets.
        page_content: What a page gives the model.
        ocr: Read the text of pages that come without one, where the package for it is installed.
    """

    budget: Pixels
    page_content: PageContent
    ocr: bool


@dataclass(frozen=True)
class Page:
    """A page as it was read; without a problem it can be encoded.

    Attributes:
        chunk: What it was read with.
        row: Its place in the file.
        page_id: Its name.
        document: What a reader calls the document.
        number: What a reader calls the page, from 1.
        image: At the pixel budget; None where the model gets text alone.
        thumbnail: A JPEG file; None where there is no image of the page.
        text: "" where there is none.
        text_origin: See `schema`.
        problem: Why it has no vector.
        vector: Where it is known already, float32 [dimension].
    """

    chunk: Chunk
    row: int
    page_id: str
    document: str | None
    number: int | None
    image: Image.Image | None = None
    thumbnail: bytes | None = None
    text: str = ""
    text_origin: str = schema.NONE
    problem: str | None = None
    vector: np.ndarray | None = None


def can_read_scans() -> bool:
    """Whether the package for OCR is installed."""
    return ocr.missing_package() is None


def read_chunk(reading: Reading, chunk: Chunk) -> list[Page]:
    """The pages of a chunk; one that is broken says so and costs no other.

    If the file is no longer what was hashed, all of them have the problem CHANGED.
    """
    if chunk.problem:
        return crashed_chunk(chunk, CHANGED if is_changed(chunk) else chunk.problem)
    if chunk.file.path == PAGES:
        return _corpus_pages(reading, chunk)
    pages = [_read_page(reading, chunk, row) for row in chunk.rows]
    if is_changed(chunk):
        return [replace(page, problem=CHANGED, image=None) for page in pages]
    return pages


def read_each(reading: Reading, chunk: Chunk) -> list[Page]:
    """The pages of a chunk that crashed the process that read it, each in a process of its own."""
    alone = [replace(chunk, rows=(row,)) for row in chunk.rows]
    pages = pool.run(partial(read_chunk, reading), alone, crashed_chunk, isolate=True)
    return [replace(page, chunk=chunk) for one in pages for page in one]


def crashed_chunk(chunk: Chunk, problem: str = "unreadable page: the reader crashed") -> list[Page]:
    """The pages of a chunk that cannot be read."""
    path = chunk.file.path
    return [
        Page(chunk, row, page_id(chunk, row), path, row + 1, problem=problem) for row in chunk.rows
    ]


def is_changed(chunk: Chunk) -> bool:
    """Whether a file is not what it was when it was listed, or is gone."""
    try:
        state = (chunk.folder / chunk.file.path).stat()
    except OSError:
        return True
    return (state.st_size, state.st_mtime_ns) != (chunk.file.size, chunk.file.modified)


def _read_page(reading: Reading, chunk: Chunk, row: int) -> Page:
    """A page of a PDF or an image file."""
    page = Page(chunk, row, page_id(chunk, row), chunk.file.path, row + 1)
    try:
        fitted, pixel_hash = _opened(chunk.folder, chunk.file.path, row)
        page = replace(page, page_id=pixel_hash or page.page_id)
        text = _text(chunk, row)
        if text.strip():
            page = replace(page, text=text, text_origin=schema.SOURCE)
        page = replace(page, thumbnail=jpeg(fitted(THUMBNAIL, DPI)))
        if not text.strip():
            text, origin = _scanned(reading, fitted)
            page = replace(page, text=text, text_origin=origin)
        if reading.page_content != "text":
            page = replace(page, image=fitted(reading.budget, DPI))
    except pixels.BadImageError as error:
        readable = reading.page_content == "text" and page.text
        return page if readable else replace(page, problem=str(error))
    return page


def open_page(folder: Path, path: str, row: int, budget: Pixels) -> Image.Image:
    """The image of a page of a file in the folder, in RGB, at the pixel budget.

    Raises:
        pixels.BadImageError: it cannot be read.
    """
    if path == PAGES:
        return pixels.fit(_corpus(folder).image(row), budget)
    return _opened(folder, path, row)[0](budget, DPI)


def _opened(folder: Path, path: str, row: int) -> tuple[Fitted, str]:
    """What makes the image of a page at a pixel budget, and the hash of a single image's pixels.

    An image is decoded once, for all sizes; the page of a PDF is rendered at each.
    """
    if is_pdf(path):
        return lambda budget, dpi: render(folder / path, row, dpi, budget), ""
    try:
        data = images.read(path, images.Access(folder))
    except images.BadCellError as error:
        raise pixels.BadImageError(str(error)) from error
    image = pixels.decode(data, row)
    single = page_count(folder, path) == 1
    return lambda budget, _: pixels.fit(image, budget), pixels.pixel_digest(image) if single else ""


def _text(chunk: Chunk, row: int) -> str:
    """The text that a PDF holds of a page; "" for an image."""
    if not is_pdf(chunk.file.path):
        return ""
    try:
        return _pdf_texts(chunk.folder / chunk.file.path, chunk.file_hash)[row]
    except (pypdfium2.PdfiumError, IndexError, OSError):  # it may still render
        return ""


@lru_cache(maxsize=1)  # chunks of a file come one after the other
def _pdf_texts(path: Path, file_hash: str) -> list[str]:
    """The text of each page of a PDF file."""
    return page_texts(path)


def _scanned(reading: Reading, fitted: Fitted) -> tuple[str, str]:
    """The text of a page without one, by OCR, and where it is from."""
    if not reading.ocr or not can_read_scans():
        return "", schema.UNREAD
    text = ocr.recognise(fitted(ocr.BUDGET, ocr.DPI))
    return text, schema.OCR if text.strip() else schema.NONE


def jpeg(image: Image.Image) -> bytes:
    """An image as a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _corpus_pages(reading: Reading, chunk: Chunk) -> list[Page]:
    """The pages of a corpus, which `prepare` has read already."""
    corpus = _corpus(chunk.folder)
    columns = ["page_id", "document_id", "page_number", "text_origin"]
    rows = corpus.table.select(columns).take(list(chunk.rows)).to_pylist()
    pages = []
    for row, known in zip(chunk.rows, rows, strict=True):
        image, text = corpus.image(row), corpus.text(row)
        pages.append(
            Page(
                chunk,
                row,
                known["page_id"],
                known["document_id"],
                known["page_number"],
                image=None if reading.page_content == "text" else pixels.fit(image, reading.budget),
                thumbnail=jpeg(pixels.fit(image, THUMBNAIL)),
                text=text,
                text_origin=(known["text_origin"] or schema.SOURCE) if text else schema.NONE,
            )
        )
    return pages


def _corpus(folder: Path) -> Corpus:
    """The corpus in a folder, as its table is now."""
    state = (folder / PAGES).stat()
    return _opened_corpus(folder.resolve(), (state.st_size, state.st_mtime_ns))


@lru_cache(maxsize=1)
def _opened_corpus(folder: Path, state: tuple[int, int]) -> Corpus:
    return Corpus(folder)
