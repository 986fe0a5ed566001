"""Make pages and queries of the rows of tables and datasets: a query, its pages and negatives.

An unusable row or cell becomes a query or page with a problem, which `prepare` quarantines.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pagefinder.errors import InputError
from pagefinder.params import Hub, Table
from pagefinder.sources import images
from pagefinder.sources.images import Access
from pagefinder.sources.storing import Row, SourcePage, SourceQuery

DESCRIPTIONS = ("split", "document_id", "page_number", "text")  # columns with names of their own
SPLITS = {"train": "train", "dev": "dev", "validation": "dev", "eval": "eval", "test": "eval"}


def check_columns(columns: Sequence[str], settings: Table | Hub, section: str, table: str) -> None:
    """Check that a table or dataset has the columns that params name, and each used one once.

    Raises:
        InputError: names the table, the column, and what to change.
    """
    check_once(columns, settings, table)
    for param in ("query", "image"):
        name = getattr(settings, param)
        if param == "query" and not name:
            continue
        if name not in columns:
            more = ", or leave it empty and have questions written (queries.writer)"
            raise InputError(
                f"{table} has no column {name!r}; it has {_listing(columns)}:"
                f" name yours in {section}.{param}{more if param == 'query' else ''}"
            )


def check_once(columns: Sequence[str], settings: Table | Hub, table: str) -> None:
    """Raise InputError if a table or dataset has a column twice that `items` reads."""
    for column, times in Counter(used_columns(columns, settings)).items():
        if times > 1:
            raise InputError(
                f"{table} has {times} columns named {column!r}: rename or remove all but one"
            )


def used_columns(columns: Sequence[str], settings: Table | Hub) -> list[str]:
    """Those of the columns that `items` reads, in their order."""
    named = (settings.query, settings.image, *DESCRIPTIONS)
    prefix = settings.negatives
    return [name for name in columns if name in named or (prefix and name.startswith(prefix))]


def _listing(columns: Sequence[str]) -> str:
    """The first columns, each cut short, for a message: of a wrong file they may be anything."""
    names = [repr(name[:40]) for name in columns[:20]]
    more = [f"{len(columns) - 20} more"] if len(columns) > 20 else []
    return ", ".join(names + more) or "none"


def items(
    row: Mapping[str, Any],
    where: str,
    split: str | None,
    settings: Table | Hub,
    access: Access,
) -> Row:
    """The query of a row, its pages and its negatives; no query where the params name no column.

    Args:
        row: Column -> cell. The columns `document_id`, `page_number` and `text` describe the pages.
        where: File or part, and number of the row.
        split: Split of the query; None: it stands in the column `split`, or is drawn.
        settings: Params that name the columns.
        access: What the cells may open.
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
            image = images.read(value, access)
        except images.BadCellError as error:
            page = SourcePage(f"{where} {column}", f"{where} {column}", problem=str(error))
        else:
            page = _page(image, f"{where} {column}", row if grade else {})
        pages.append(page)
        relevance[page.key] = max(grade, relevance.get(page.key, 0))
    if not settings.query and pages:
        return [replace(page, split=split, problem=page.problem or problem) for page in pages]
    if not any(relevance.values()):
        problem = problem or f"missing page: {settings.image} is empty"
    return [*pages, SourceQuery(text or "", "given", where, relevance, split, problem)]


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
    return SourcePage(
        key=hashlib.sha256(data).hexdigest()[:24],
        origin=origin,
        image=data,
        document_id=_text(row.get("document_id")),
        page_number=page_number(row.get("page_number")),
        text=_text(row.get("text")),
    )


def page_number(value: object) -> int | None:
    """The cell as a page number; None where it is no whole number of at most eight digits."""
    number = str(value)
    return int(number) if number.isdecimal() and len(number) < 9 else None


def _text(value: object) -> str | None:
    """The cell as a text; None if it is empty."""
    return None if value is None or value == "" else str(value)
