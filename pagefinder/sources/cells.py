"""Make pages and queries of the rows of tables and datasets: a query, its pages and negatives.

An unusable row or cell becomes a query or page with a problem, which `prepare` quarantines.
"""

import hashlib
import io
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from pagefinder.errors import InputError
from pagefinder.params import Hub, Table
from pagefinder.sources.storing import Row, SourcePage, SourceQuery

# An encoded page of more than this is no page; it also bounds what a URL may send.
MAX_BYTES = 100 * 2**20
URL_SECONDS = 30
SPLITS = {"train": "train", "dev": "dev", "validation": "dev", "eval": "eval", "test": "eval"}


class BadCellError(ValueError):
    """A cell without a page image; the text says why, after a category and a colon."""


def check_columns(columns: Sequence[str], settings: Table | Hub, section: str, table: str) -> None:
    """Check that the columns of a table or dataset include those that params name.

    Raises:
        InputError: names the table, its columns, and the param in `section` to set.
    """
    for param in ("query", "image"):
        name = getattr(settings, param)
        if name not in columns:
            raise InputError(
                f"{table} has no column {name!r}; it has {', '.join(map(repr, columns)) or 'none'}:"
                f" name yours in {section}.{param}"
            )


def items(
    row: Mapping[str, Any],
    where: str,
    split: str | None,
    settings: Table | Hub,
    folder: Path | None,
) -> Row:
    """The query of a row, its pages and its negatives.

    Args:
        row: Column -> cell. The columns `document_id`, `page_number` and `text` describe the pages.
        where: File or part, and number of the row.
        split: Split of the query; None: it stands in the column `split`, or is drawn.
        settings: Params that name the columns.
        folder: Paths are relative to it and may not leave it; None: paths are not allowed.
    """
    problem = None
    text = row.get(settings.query)
    if text is not None and not isinstance(text, str):
        text, problem = str(text)[:80], f"wrong type: {settings.query} is {type(text).__name__}"
    cell = row.get("split")
    if split is None and cell not in (None, ""):
        split = SPLITS.get(str(cell))
        if split is None:
            problem = f"unknown split: {cell!r} is none of {', '.join(SPLITS)}"
    pages: list[SourcePage] = []
    relevance: dict[str, int] = {}
    for column, value, grade in _cells(row, settings):
        try:
            image = read(value, folder, settings.allow_urls)
        except BadCellError as error:
            page = SourcePage(f"{where} {column}", f"{where} {column}", problem=str(error))
        else:
            page = _page(image, f"{where} {column}", row if grade else {})
        pages.append(page)
        relevance[page.key] = max(grade, relevance.get(page.key, 0))
    if not any(relevance.values()):
        problem = problem or f"missing page: {settings.image} is empty"
    return [*pages, SourceQuery(text or "", "given", where, relevance, split, problem)]


def read(value: object, folder: Path | None, allow_urls: bool) -> bytes:
    """The encoded image of a page from bytes, a {bytes, path} pair, an image, a path or a URL.

    Args:
        value: The cell.
        folder: Paths are relative to it and may not leave it; None: paths are not allowed.
        allow_urls: Whether pages may be fetched from URLs.

    Raises:
        BadCellError: the cell holds no readable page image; the text says why.
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
        return _fetch(value, allow_urls)
    if folder is None:
        raise BadCellError(f"path not allowed: {value!r}, as this source has no folder")
    return _read_path(value, folder)


def _cells(row: Mapping[str, Any], settings: Table | Hub) -> Iterator[tuple[str, object, int]]:
    """Column, value and relevance (1 or 0) of each page of a row; lists are taken apart."""
    for column, value in row.items():
        if column == settings.image or (
            settings.negatives and column.startswith(settings.negatives)
        ):
            values = value if isinstance(value, list | tuple) else [value]
            for single in values:
                if single is not None and single != "":
                    yield column, single, int(column == settings.image)


def _page(data: bytes, origin: str, row: Mapping[str, Any]) -> SourcePage:
    """A page from its encoded image, with the document, page number and text of the row."""
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
    """The cell as a text; None if it is empty."""
    return None if value is None or value == "" else str(value)


def _read_path(value: str, folder: Path) -> bytes:
    """The content of the file at path `value` in `folder`; BadCellError where that fails."""
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
    """What the URL sends; BadCellError where that fails or is not allowed."""
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
