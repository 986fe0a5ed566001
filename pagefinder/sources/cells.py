"""Make pages and queries of the rows of tables and datasets: a query, its pages and negatives.

What cannot be used becomes a page or query with a problem: `prepare` puts it into quarantine.
"""

import hashlib
import io
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from pagefinder.sources.storing import Row, SourcePage, SourceQuery

# An encoded page of more than this is no page; it also bounds what a URL may send.
MAX_BYTES = 100 * 2**20
URL_SECONDS = 30
SPLITS = {"train": "train", "dev": "dev", "validation": "dev", "eval": "eval", "test": "eval"}


class BadCellError(ValueError):
    """A cell without a page image; the text says why, after a category and a colon."""


@dataclass(frozen=True)
class Reading:
    """How the cells of a table are read.

    Attributes:
        query: Column of the question.
        image: Column of the page that answers it, or a list of such pages.
        negatives: Beginning of the names of columns with pages that do not.
        folder: That paths are relative to and may not leave; None: paths are not allowed.
        allow_urls: Whether pages may be fetched.
    """

    query: str
    image: str
    negatives: str
    folder: Path | None
    allow_urls: bool


def items(row: Mapping[str, Any], where: str, split: str | None, reading: Reading) -> Row:
    """The query of a row, its pages and its negatives.

    Args:
        row: Cells by column. `document_id`, `page_number` and `text`, if there, are of its pages.
        where: File or part, and number of the row.
        split: Of the query; None: it stands in the column `split`, or is drawn.
        reading: How the cells are read.
    """
    problem = None
    text = row.get(reading.query)
    if text is not None and not isinstance(text, str):
        text, problem = str(text)[:80], f"wrong type: {reading.query} is {type(text).__name__}"
    cell = row.get("split")
    if split is None and cell not in (None, ""):
        split = SPLITS.get(str(cell))
        if split is None:
            problem = f"unknown split: {cell!r} is none of {', '.join(SPLITS)}"
    pages: list[SourcePage] = []
    relevance: dict[str, int] = {}
    for column, value, grade in _cells(row, reading):
        page = _page(value, f"{where} {column}", reading, row if grade else {})
        pages.append(page)
        relevance[page.key] = max(grade, relevance.get(page.key, 0))
    if not any(relevance.values()):
        problem = problem or f"missing page: {reading.image} is empty"
    return [*pages, SourceQuery(text or "", "given", where, relevance, split, problem)]


def read(value: object, reading: Reading) -> bytes:
    """Encoded bytes of a page from bytes, a {bytes, path} pair, an image, a path or a URL.

    Raises:
        BadCellError: saying why not.
    """
    if isinstance(value, Mapping):
        inner = value.get("bytes")
        value = inner if inner is not None else value.get("path")
    if isinstance(value, bytes):
        return value
    if isinstance(value, Image.Image):
        buffer = io.BytesIO()
        value.save(buffer, "PNG")
        return buffer.getvalue()
    if not isinstance(value, str):
        raise BadCellError(f"wrong type: {type(value).__name__} is no image, path or URL")
    if "://" in value:
        return _fetch(value, reading.allow_urls)
    if reading.folder is None:
        raise BadCellError(f"path not allowed: {value!r}, as this source has no folder")
    return _read_path(value, reading.folder)


def _cells(row: Mapping[str, Any], reading: Reading) -> Iterator[tuple[str, object, int]]:
    """Column, value and relevance of every page of a row; the pages of a list one by one."""
    for column, value in row.items():
        if column == reading.image or (reading.negatives and column.startswith(reading.negatives)):
            values = value if isinstance(value, list | tuple) else [value]
            for single in values:
                if single is not None and single != "":
                    yield column, single, int(column == reading.image)


def _page(value: object, origin: str, reading: Reading, row: Mapping[str, Any]) -> SourcePage:
    """The page of a cell, with what the row says of it; a problem where there is none."""
    try:
        data = read(value, reading)
    except BadCellError as error:
        return SourcePage(key=origin, origin=origin, problem=str(error))
    number = str(row.get("page_number"))
    return SourcePage(
        key=hashlib.sha256(data).hexdigest()[:24],
        origin=origin,
        image=data,
        document_id=_text(row.get("document_id")),
        page_number=int(number) if number.isdecimal() and len(number) < 9 else None,
        text=_text(row.get("text")),
    )


def _text(value: object) -> str | None:
    return None if value is None or value == "" else str(value)


def _read_path(value: str, folder: Path) -> bytes:
    try:
        # Resolved, so that neither `..` nor a symbolic link leads outside.
        path, base = (folder / value).resolve(), folder.resolve()
        if not path.is_relative_to(base):
            raise BadCellError(f"path leaves the folder: {value!r}")
        if not path.is_file():
            raise BadCellError(f"missing file: {value!r}")
        if path.stat().st_size > MAX_BYTES:
            raise BadCellError(f"file too large: {value!r}, over {MAX_BYTES} bytes")
        return path.read_bytes()
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, BadCellError):
            raise
        raise BadCellError(f"unreadable file: {value[:80]!r}: {error}") from error


def _fetch(url: str, allowed: bool) -> bytes:
    if not url.startswith(("http://", "https://")):
        raise BadCellError(f"URL not allowed: {url[:80]!r} is neither http nor https")
    if not allowed:
        raise BadCellError(f"URL not allowed: {url[:80]!r}, as allow_urls is false")
    try:
        with urllib.request.urlopen(url, timeout=URL_SECONDS) as response:
            data: bytes = response.read(MAX_BYTES + 1)
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise BadCellError(f"URL failed: {url[:80]!r}: {error}") from error
    if len(data) > MAX_BYTES:
        raise BadCellError(f"file too large: {url[:80]!r}, over {MAX_BYTES} bytes")
    return data
