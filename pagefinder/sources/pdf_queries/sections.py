"""The parts of a document: where each begins, what lies around it, which pages its text is on."""

import bisect
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from pagefinder.sources.pdf_queries import titles
from pagefinder.sources.pdf_queries.layout import ANSWERS, Line, PageLayout, body_lines, plain

HEADING_SIZE = 1.12  # of the body's type
HEADING_WORDS = 12
# With fewer bookmarks than one on this many pages, headings are looked for by their type.
PAGES_PER_BOOKMARK = 4
# A title may be broken over this many lines, each but the last of this many characters.
TITLE_LINES, TITLE_LINE = 3, 30
PAGE_NUMBER = re.compile(r"\s\d+$")


@dataclass(frozen=True)
class Entry:
    """A bookmark: its title, the titles above it, and the index of its page."""

    title: str
    above: tuple[str, ...]
    page: int


@dataclass(frozen=True)
class Part:
    """A part of a document.

    Attributes:
        title: Without its number.
        origin: bookmark or heading.
        level: 0 for the outermost; only comparable within a document.
        page: Index of the page on which it begins.
        line: Index of the line on that page with which it begins.
        height: Lines that its title takes; 0 on a page without text.
    """

    title: str
    origin: str
    level: int
    page: int
    line: int
    height: int


class Heading(NamedTuple):
    """Lines that look like a title: page, first line, number of lines, type size and text."""

    page: int
    line: int
    height: int
    size: float
    text: str


def find(
    pages: Sequence[PageLayout], outline: Sequence[Entry], headers_and_footers: set[str]
) -> list[Part]:
    """All parts of a document in the order of their text, from bookmarks and, if few, headings.

    `headers_and_footers` are those of the document, as `layout.running_lines` returns them.
    """
    parts = _bookmarked(outline, pages)
    if len(outline) * PAGES_PER_BOOKMARK < len(pages):
        bookmarked = {(part.page, part.line) for part in parts}
        deepest = max((part.level for part in parts), default=-1)
        headings = _headings(pages, headers_and_footers, deepest + 1)
        parts += [part for part in headings if (part.page, part.line) not in bookmarked]
        parts.sort(key=lambda part: (part.page, part.line, part.level))
    return parts


def is_inner(parts: Sequence[Part], number: int) -> bool:
    """Whether part `number` contains other parts."""
    return number + 1 < len(parts) and parts[number + 1].level > parts[number].level


def around(parts: Sequence[Part], number: int, last: int) -> tuple[str, int, int]:
    """Title, first and last page of the part around part `number`.

    Where there is none: no title and the whole document, whose last page is `last`.
    """
    level = parts[number].level
    outer = next((p for p in reversed(parts[:number]) if p.level < level), None)
    if outer is None:
        return "", 0, last
    after = (part.page for part in parts[number + 1 :] if part.level <= outer.level)
    return outer.title, outer.page, max(outer.page, next(after, last))


def texts(
    parts: Sequence[Part], pages: Sequence[PageLayout], headers_and_footers: set[str]
) -> list[dict[int, str]]:
    """For each part, page index -> its text there, up to where the next part begins."""
    bodies = [body_lines([line.text for line in page.lines], headers_and_footers) for page in pages]
    # Bookmarks need not be in the order of the pages, and two may lead to one place.
    places = sorted({(part.page, part.line) for part in parts} | {(len(pages), 0)})
    part_texts = []
    for part in parts:
        end = places[bisect.bisect_right(places, (part.page, part.line))]
        text: dict[int, str] = {}
        for index in range(part.page, min(end[0] + 1, len(pages))):
            if pages[index].kind not in ANSWERS:
                continue
            first = part.line + part.height if index == part.page else 0
            text[index] = "\n".join(
                pages[index].lines[number].text
                for number in bodies[index]
                if number >= first and (index, number) < end
            )
        part_texts.append(text)
    return part_texts


def _bookmarked(outline: Sequence[Entry], pages: Sequence[PageLayout]) -> list[Part]:
    """A part for each bookmark whose title stands on its page, or that leads to a picture."""
    siblings: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for entry in outline:
        siblings[entry.above].append(entry.title)
    numbered = {above: titles.are_numbered(group) for above, group in siblings.items()}
    parts, after = [], (0, 0)
    for entry in outline:
        title = titles.clean(entry.title, numbered[entry.above])
        place = _place(titles.tokens(title), entry.page, after, pages)
        if place is None and pages[entry.page].kind == "picture":
            place = entry.page, 0, 0
        if place is not None:
            page, line, height = place
            parts.append(Part(title, "bookmark", len(entry.above), page, line, height))
            after = page, line + height
    return parts


def _place(
    title: Sequence[str], page: int, after: tuple[int, int], pages: Sequence[PageLayout]
) -> tuple[int, int, int] | None:
    """Page, line and number of lines of a title, looked for on `page` and the next; None: absent.

    Of several places the one in the largest type counts; places before `after` do not.
    """
    for index in range(page, min(page + 2, len(pages))):
        lines = pages[index].lines
        words = [titles.tokens(line.text) for line in lines]
        candidates = []
        for number in range(after[1] if index == after[0] else 0, len(lines)):
            for height in range(1, TITLE_LINES + 1):
                joined = [token for line in words[number : number + height] for token in line]
                if titles.stands_in(title, joined):
                    candidates.append((-lines[number].size, not lines[number].bold, number, height))
                    break
        if candidates:
            _, _, number, height = min(candidates)
            return index, number, height
    return None


def _headings(pages: Sequence[PageLayout], headers_and_footers: set[str], level: int) -> list[Part]:
    """A part for each heading; the largest type has `level`, smaller types the levels below."""
    sizes: Counter[float] = Counter()
    for page in pages:
        for line in page.lines:
            sizes[line.size] += len(line.text)
    body = sizes.most_common(1)[0][0] if sizes else 0.0
    headings = list(_heading_lines(pages, headers_and_footers, body))
    by_size: dict[float, list[str]] = defaultdict(list)
    for heading in headings:
        by_size[heading.size].append(heading.text)
    levels = {size: level + rank for rank, size in enumerate(sorted(by_size, reverse=True))}
    numbered = {size: titles.are_numbered(texts) for size, texts in by_size.items()}
    return [
        Part(
            titles.clean(heading.text, numbered[heading.size]),
            "heading",
            levels[heading.size],
            heading.page,
            heading.line,
            heading.height,
        )
        for heading in headings
    ]


def _heading_lines(
    pages: Sequence[PageLayout], headers_and_footers: set[str], body: float
) -> Iterator[Heading]:
    """Short lines in larger type than the body, or bold with a section number."""
    seen: set[str] = set()
    # The first page and those without running text are covers: large type names no part.
    for index, page in enumerate(pages[1:], 1):
        if page.kind != "text":
            continue
        for number, height in _runs(page.lines):
            first = page.lines[number]
            text = " ".join(line.text for line in page.lines[number : number + height])
            form = plain(text)
            edge = number == 0 or number + height == len(page.lines)
            # What repeats a title at the edge of a page, or has the page's number, is a header.
            small = first.size < HEADING_SIZE * body
            paged = PAGE_NUMBER.search(text) or (small and text.split()[0].isdigit())
            is_header = edge and (form in seen or paged)
            if (
                height <= TITLE_LINES
                and not is_header
                and _is_heading(first, text, body, headers_and_footers)
            ):
                yield Heading(index, number, height, first.size, text)
                seen.add(form)


def _runs(lines: Sequence[Line]) -> list[tuple[int, int]]:
    """First line and count of the lines that belong together: in one type, the first ones long."""
    starts = [0] + [
        number
        for number, (above, line) in enumerate(pairwise(lines), 1)
        if (line.size, line.bold) != (above.size, above.bold)
        or len(above.text) < TITLE_LINE
        or titles.NUMBER.match(line.text)
    ]
    return [(a, b - a) for a, b in pairwise([*starts, len(lines)]) if b > a]


def _is_heading(line: Line, text: str, body: float, headers_and_footers: set[str]) -> bool:
    """Whether `text`, whose first line is `line`, looks like a title; `body`: size of body type."""
    large = line.size >= HEADING_SIZE * body
    numbered = line.bold and bool(titles.NUMBER.match(text)) and line.size >= body * 0.98
    letters = sum(character.isalpha() for character in text)
    return (
        (large or numbered)
        and len(text) > 3
        and len(text.split()) <= HEADING_WORDS
        and letters >= 0.6 * len(text.replace(" ", ""))
        and (text[0].isdigit() or text[0].isupper())
        and text[-1] not in ".,;:-"
        and plain(text) not in headers_and_footers
        and not titles.is_formula(text)
        and not titles.is_fragment(text)
    )
