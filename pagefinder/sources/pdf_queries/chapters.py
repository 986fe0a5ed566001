"""The sections of a document at which it may be cut, from its outline."""

from collections.abc import Sequence
from itertools import pairwise

from pagefinder.sources.pdf_queries.sections import Entry
from pagefinder.sources.storing import SECTION_PAGES, SECTIONS


def page_sections(outline: Sequence[Entry], count: int) -> list[str | None]:
    """The section of each page of a document; None throughout where the outline gives no two.

    Sections are those of the outline's top level. One longer than its share of the document, were
    there SECTIONS of equal length, is opened into its own sections. One that begins fewer than
    SECTION_PAGES after another belongs to that one. Where a page holds the end of a section and the
    beginning of the next, it counts to the next.

    Args:
        outline: The bookmarks of the document.
        count: Number of its pages.

    Returns:
        Titles by page, each followed by its first page where two sections have one title.
    """
    starts = {0: ""}
    for level in range(max((len(entry.above) for entry in outline), default=-1) + 1):
        firsts = sorted(starts)
        long = {
            index
            for first, after in pairwise([*firsts, count])
            if (after - first) * SECTIONS > count
            for index in range(first, after)
        }
        for entry in outline:
            if len(entry.above) == level and entry.page in long:
                _add(starts, entry, count)
    firsts = sorted(starts)
    if len(firsts) < 2:
        return [None] * count
    titles = [starts[first] or "beginning" for first in firsts]
    names = [
        title if titles.count(title) == 1 else f"{title} (page {first + 1})"
        for title, first in zip(titles, firsts, strict=True)
    ]
    return [
        name
        for name, (first, after) in zip(names, pairwise([*firsts, count]), strict=True)
        for _ in range(first, after)
    ]


def _add(starts: dict[int, str], entry: Entry, count: int) -> None:
    """Add the beginning of a section to `starts` (page index -> title), unless it is too short."""
    near = [first for first in starts if abs(first - entry.page) < SECTION_PAGES]
    if near == [entry.page] and not starts[entry.page]:
        starts[entry.page] = entry.title
    if not near and count - entry.page >= SECTION_PAGES:
        starts[entry.page] = entry.title
