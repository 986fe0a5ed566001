"""Read CSV files so that a row with a stray quote takes no row after it along.

In CSV a quote at the beginning of a field opens a cell that runs on over lines until the next
quote. A stray one swallows whole rows, which `csv` gives as one cell. An honest cell of several
lines holds no line that is a row by itself: with all its fields, and an existing image among them.
"""

import csv
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from pagefinder.errors import InputError

QUOTE = "a quote that it opens"  # how a reason begins that tells of swallowed rows
MEND = "close it; if it belongs to the text, double it and put the cell in quotes"

Line = tuple[int, str]  # its number in the file, and its text with the line break

_QUOTED = r'"[^"]*(?:""[^"]*)*" *'
# Fields without quotes, or wholly in quotes: no line on which a quoted cell ends looks like this.
_WHOLE_ROW = re.compile(rf'(?:{_QUOTED}|[^",\r\n]*)(?:,(?:{_QUOTED}|[^",\r\n]*))*[\r\n]*')
# A quote inside a field that begins otherwise is text; one that closes a field ends it.
_BARE = r'(?:[^",\r\n][^,\r\n]*)?'
_WHOLE_RECORD = re.compile(rf"(?:{_QUOTED}|{_BARE})(?:,(?:{_QUOTED}|{_BARE}))*[\r\n]*")


def read(path: Path, image: str) -> Iterator[tuple[int, dict[str, str] | str]]:
    """Last line number, and the row or the reason why it is broken, of each row that is not empty.

    Args:
        path: The file; paths of images are relative to its folder.
        image: The column with the image of the page.

    Raises:
        InputError: the file is not UTF-8 text, or its header is broken.
    """
    columns = header(path)
    place = columns.index(image)

    def is_row(line: str) -> bool:
        if not _WHOLE_ROW.fullmatch(line):
            return False
        fields = next(csv.reader([line]), [])
        return len(fields) == len(columns) and _names_an_image(fields[place], path.parent)

    records = _records(_lines(path), is_row)
    next(records)
    for first, last, fields in records:
        if isinstance(fields, str):
            yield first, f"broken row: {fields}"
        elif len(fields) == len(columns):
            yield last, dict(zip(columns, fields, strict=True))
        elif fields:
            lines = f", in lines {first} to {last}" if last > first else ""
            yield last, f"broken row: {len(fields)} fields, not {len(columns)}{lines}"


def header(path: Path) -> list[str]:
    """The columns of a CSV file; empty if the file is.

    Raises:
        InputError: the file is not UTF-8 text, or a quote in its header is not closed.
    """
    _, _, fields = next(_records(_lines(path), lambda _: False), (0, 0, list[str]()))
    if isinstance(fields, str):
        raise InputError(f"{path} has a broken header: {fields}")
    return fields


def _lines(path: Path) -> Iterator[Line]:
    """The lines of a UTF-8 file; InputError names the first line that is not UTF-8."""
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        for number, line in enumerate(file, 1):
            try:
                line.encode()
            except UnicodeEncodeError as error:
                around = line[max(error.start - 20, 0) : error.start + 20]
                shown = around.encode(errors="surrogateescape")
                raise InputError(
                    f"{path} is not UTF-8 in line {number} ({shown!r}): save it as UTF-8 CSV"
                ) from error
            yield number, line


def _records(
    lines: Iterator[Line], is_row: Callable[[str], bool]
) -> Iterator[tuple[int, int, list[str] | str]]:
    """Number of its first and last line, and the fields or what is wrong, of each record.

    Where a record has swallowed a line for which `is_row` holds, or the rest of the file, only its
    first line is broken: the others are read again.
    """
    waiting: deque[Line] = deque()

    def next_line() -> Line | None:
        return waiting.popleft() if waiting else next(lines, None)

    while (first := next_line()) is not None:
        taken, fields, problem = _record(first, next_line, is_row)
        if problem:
            waiting.extendleft(reversed(taken))
            yield first[0], first[0], problem
        else:
            yield first[0], taken[-1][0] if taken else first[0], fields


def _record(
    first: Line, next_line: Callable[[], Line | None], is_row: Callable[[str], bool]
) -> tuple[list[Line], list[str], str]:
    """The lines after the first that a record takes, its fields, and what is wrong or ""."""
    taken: list[Line] = []
    problem = ""

    def feed() -> Iterator[str]:
        nonlocal problem
        yield first[1]
        # `csv` only goes on to another line inside quotes.
        while (line := next_line()) is not None:
            taken.append(line)
            if is_row(line[1]):
                problem = f"{QUOTE} is not closed before line {line[0]}, which is a row: {MEND}"
                return
            yield line[1]
        problem = f"{QUOTE} is never closed: {MEND}"

    fields = next(csv.reader(feed()), [])
    if (
        taken
        and not problem
        and not _WHOLE_RECORD.fullmatch(first[1] + "".join(t for _, t in taken))
    ):
        problem = f"{QUOTE} is closed in line {taken[-1][0]} by one that more text follows: {MEND}"
    return taken, fields, problem


def _names_an_image(cell: str, folder: Path) -> bool:
    """Whether a cell is a URL or the path of an existing file."""
    if cell.startswith(("http://", "https://")):
        return True
    try:
        return (folder / cell).is_file()
    except (OSError, ValueError):
        return False
