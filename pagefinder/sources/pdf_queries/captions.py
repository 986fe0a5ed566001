"""Captions of figures and tables: what they say they show."""

import re
from collections.abc import Iterator, Sequence

from pagefinder.sources.pdf_queries import titles
from pagefinder.sources.pdf_queries.layout import Line
from pagefinder.sources.pdf_queries.wording import content_words

CAPTION = re.compile(
    r"^(Figure|Fig\.?|Table|Tab\.?|Listing|Diagram|Chart)\s*[A-Z]?\d+(?:[.\-–]\d+)*"
    r"(?:\s*[:.–—-]\s*|\s+(?=[A-Z]))(\S.*)$"
)
# What begins a sentence about a figure, not the caption of one.
SENTENCE = re.compile(
    r"^(?:\d*\(?\w?\)?\s*)?(?:shows?|shown|is|are|was|gives?|illustrates?|depicts?|lists?|and|or|in|of"
    r"|on|for|we|below|above|presents?|contains?|has|to|from|with)\b"
)
PANEL = re.compile(r"\s*\([a-h]\)\s*")
END = re.compile(r"(?<=[a-z)])\.(?:\s|$)")
LINES, LENGTH = 4, 130
# Of the longest line on its page: a shorter one ends where it is, a longer one need not.
SHORT, FULL = 0.6, 0.85


def find(lines: Sequence[Line]) -> Iterator[tuple[str, str]]:
    """Origin (figure or table) and wording of each caption among the lines of a page."""
    longest = max((len(line.text) for line in lines), default=0)
    for number, line in enumerate(lines):
        match = CAPTION.match(line.text)
        if match is None or SENTENCE.match(match[2]):
            continue
        text = _joined(match[2], lines[number : number + LINES], longest)
        wording = _subject(text) if text else ""
        if len(content_words(wording)) >= 2 and len(wording) <= LENGTH and titles.is_named(wording):
            yield "table" if match[1].startswith("Tab") else "figure", wording


def _joined(text: str, lines: Sequence[Line], longest: int) -> str | None:
    """A caption with the further lines that belong to it; None where that is unclear.

    A caption goes on in the next line if that is of the same type and begins with a small letter.
    It is unclear where a short line stands before a line with a small first letter, or a full line
    before a line with another one. `longest`: characters of the longest line of the page.
    """
    for above, line in zip(lines, lines[1:], strict=False):
        if END.search(text) or line.size != above.size or CAPTION.match(line.text):
            break
        small, share = line.text[0].islower(), len(above.text) / longest
        if share < SHORT if small else share >= FULL:
            return None
        if not small:
            break
        text = f"{text} {line.text}"
    return text


def _subject(caption: str) -> str:
    """The first sentence on the whole figure, else on its first panel; or empty."""
    parts = [END.split(part)[0] for part in PANEL.split(caption)]
    if len(parts) > 1 and parts[0] and titles.is_fragment(parts[0]):
        parts = [f"{parts[0]} {parts[1]}"]
    text = next((part for part in parts if len(content_words(part)) >= 2), "")
    return "" if SENTENCE.match(text) else titles.clean(text, numbered=False)
