"""Read the text layer of a PDF file: the lines of each page, their type, and the page's kind."""

import ctypes
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import pypdfium2
import pypdfium2.raw as pdfium

# Where a running header or footer stands: among the first or last lines of this many pages.
EDGE_LINES, RUNNING_PAGES = 3, 3
LEADERS = re.compile(r"(\.\s?){3,}\s*[\divxlc]+$|\s\.\s+\.\s+\d+$")
ENDS_IN_PAGE = re.compile(r"\D.*[\s.]\d{1,4}$")
INDEX_ENTRY = re.compile(r"^[^\W\d_]{2}.{0,60}?[,\s]\s*\d{1,4}([,\s–-]+\d{1,4})*$")
SOFT = "\u00ad"  # a hyphen at a line's end, which PDFium has joined with the next one
BROKEN = re.compile(rf"([\w-]*){SOFT}([\w-]*)")
WORD = re.compile(r"[\w-]+")
# Fonts of TeX say bx; their weight is that of other fonts' regular type.
BOLD = re.compile(rb"bold|black|heavy|(?:cm|sf|ec)bx", re.IGNORECASE)
TABLE = re.compile(r"^(?:Table|Tab\.)\s*[A-Z]?\d")
CELL_GAP = 0.8  # of the type's size: a blank is about 0.3
# Kinds of pages that may be the answer of a question.
ANSWERS = ("text", "picture")


@dataclass(frozen=True)
class Line:
    """A line of text with its type and place.

    Attributes:
        text: Without blanks at its ends.
        size: Height of its first character's font box, points.
        bold: By the font's name or weight.
        below: Share of the page that lies below it, 0 (bottom) to 1.
        lead: Its bold words at the beginning, where others follow that are not bold.
        cells: Its texts with a wide gap between them, where it stands under the caption of a table.
    """

    text: str
    size: float
    bold: bool
    below: float
    lead: str = ""
    cells: tuple[str, ...] = ()


@dataclass(frozen=True)
class PageLayout:
    """The lines of a page and its kind: text, contents, index, blank or picture (no text)."""

    lines: list[Line]
    kind: str

    @property
    def text(self) -> str:
        """The text layer."""
        return "\n".join(line.text for line in self.lines)


def read_page(page: pypdfium2.PdfPage) -> PageLayout:
    """Lines of a page; its kind is text, blank or picture until `classify` knows the document."""
    textpage = page.get_textpage()
    try:
        lines = _lines(textpage, page.get_height() or 1.0)
    finally:
        textpage.close()
    if lines:
        return PageLayout(lines, "text")
    first_object = next(iter(page.get_objects(max_depth=1)), None)
    return PageLayout([], "blank" if first_object is None else "picture")


def running_lines(texts: list[list[str]]) -> set[str]:
    """Headers and footers of a document: lines that stand at the edge of several pages.

    Args:
        texts: The lines of each page.

    Returns:
        The lines as `plain` makes them: lines that differ in digits alone are one.
    """
    counts = Counter(
        form
        for lines in texts
        for form in {plain(line) for line in (*lines[:EDGE_LINES], *lines[-EDGE_LINES:])}
    )
    return {form for form, count in counts.items() if count >= RUNNING_PAGES} | {""}


def body_lines(lines: list[str], headers_and_footers: set[str]) -> list[int]:
    """Indexes of the lines of a page that are no header or footer.

    `headers_and_footers` are those of the document, as `running_lines` returns them.
    """
    last = len(lines) - EDGE_LINES
    return [
        number
        for number, line in enumerate(lines)
        if not ((number < EDGE_LINES or number >= last) and plain(line) in headers_and_footers)
    ]


def mend_hyphens(pages: list[PageLayout]) -> list[PageLayout]:
    """The pages with words joined that were broken at a line's end.

    The hyphen stays where the document also writes the word with it.
    """
    words = {word for page in pages for line in page.lines for word in WORD.findall(line.text)}

    def mended(match: re.Match[str]) -> str:
        left, right = match.groups()
        hyphened = f"{left}{right}" not in words and f"{left}-{right}" in words
        return f"{left}-{right}" if hyphened or not right[:1].islower() else f"{left}{right}"

    return [
        PageLayout(
            [replace(line, text=BROKEN.sub(mended, line.text)) for line in page.lines], page.kind
        )
        for page in pages
    ]


def plain(line: str) -> str:
    """Letters of a line in lower case, words apart: how headers are compared."""
    return " ".join(re.findall(r"[^\W\d_]+", line.lower()))


def classify(pages: list[PageLayout], titles: list[str]) -> list[PageLayout]:
    """The pages with kind `contents` or `index` where they are such pages.

    Args:
        pages: All pages of a document.
        titles: Titles of its bookmarks: a page that holds many of them is a contents page.
    """
    bookmarks = {plain(title) for title in titles} - {""}
    classified = []
    for page in pages:
        kind = page.kind
        texts = [line.text for line in page.lines]
        if kind == "text" and _is_contents(texts, bookmarks):
            kind = "contents"
        elif kind == "text" and _is_index(texts):
            kind = "index"
        classified.append(PageLayout(page.lines, kind))
    return classified


def _is_contents(lines: list[str], titles: set[str]) -> bool:
    """Whether the lines of a page list titles with their pages; `titles` as `plain` makes them."""
    if len(lines) < 4:
        return False
    leaders = sum(bool(LEADERS.search(line)) for line in lines)
    # An entry is a title with the number of its page after it.
    entries = {plain(line) for line in lines if ENDS_IN_PAGE.search(line) and plain(line) in titles}
    headed = any(
        plain(line) in ("contents", "table of contents", "list of figures", "list of tables")
        for line in lines[:4]
    )
    numbered = sum(bool(ENDS_IN_PAGE.search(line)) for line in lines)
    return (
        leaders >= max(3, 0.3 * len(lines))
        or len(entries) >= max(5, 0.3 * len(lines))
        or (headed and numbered >= 0.4 * len(lines))
    )


def _is_index(lines: list[str]) -> bool:
    """Whether most lines of a page are words with page numbers, in alphabetical order."""
    entries = [
        line.lower() for line in lines if INDEX_ENTRY.search(line) and len(line.split()) <= 8
    ]
    ordered = sum(a <= b for a, b in pairwise(entries))
    return len(entries) >= max(10, 0.5 * len(lines)) and ordered >= 0.7 * (len(entries) - 1)


def _lines(textpage: pypdfium2.PdfTextPage, height: float) -> list[Line]:
    """Lines in PDFium's order, each measured at its first character; `height`: of the page."""
    count = textpage.count_chars()
    codes = [pdfium.FPDFText_GetUnicode(textpage, index) for index in range(count)]
    lines: list[Line] = []
    start = 0
    for end in [*(i for i, code in enumerate(codes) if code in (10, 13)), count]:
        # PDFium marks a hyphen at a line's end as character 2; other controls are noise.
        text = "".join(
            SOFT if code == 2 else chr(code)
            for code in codes[start:end]
            if (code >= 32 or code == 2) and code <= 0x10FFFF and not 0xD800 <= code < 0xE000
        )
        if text.strip():
            first = next(i for i in range(start, end) if chr(codes[i]).strip())
            line = _measure(textpage, first, " ".join(text.split()), height)
            if line.bold:
                line = replace(line, lead=_lead(textpage, codes[:end], first))
            if lines and TABLE.match(lines[-1].text):
                line = replace(line, cells=_cells(textpage, codes[:end], first, line.size))
            lines.append(line)
        start = end + 1
    return lines


def _measure(textpage: pypdfium2.PdfTextPage, index: int, text: str, height: float) -> Line:
    """The line `text` with the type and place of its first character, number `index`."""
    box = pdfium.FS_RECTF()
    size, below = 0.0, 0.5
    if pdfium.FPDFText_GetLooseCharBox(textpage, index, box):
        size, below = round(abs(box.top - box.bottom), 1), min(max(box.bottom / height, 0.0), 1.0)
    return Line(text, size, _is_bold(textpage, index), below)


def _is_bold(textpage: pypdfium2.PdfTextPage, index: int) -> bool:
    """Whether character number `index` is bold, by its font's name or weight."""
    name = ctypes.create_string_buffer(128)
    flags = ctypes.c_int()
    pdfium.FPDFText_GetFontInfo(textpage, index, name, len(name), flags)
    weight = pdfium.FPDFText_GetFontWeight(textpage, index)
    return weight >= 600 or bool(BOLD.search(name.value))


def _lead(textpage: pypdfium2.PdfTextPage, codes: Sequence[int], first: int) -> str:
    """The bold words from character `first` on; empty where the line, which `codes` end, is bold.

    PDFium makes blanks of its own, which have no font.
    """
    for index in range(first, len(codes)):
        if chr(codes[index]).strip() and not _is_bold(textpage, index):
            return " ".join("".join(map(chr, codes[first:index])).split())
    return ""


def _cells(
    textpage: pypdfium2.PdfTextPage, codes: Sequence[int], first: int, size: float
) -> tuple[str, ...]:
    """The texts from character `first` to the last of `codes` with wide gaps between them."""
    box, cells, right = pdfium.FS_RECTF(), [""], None
    for index in range(first, len(codes)):
        character = chr(codes[index])
        if not character.strip():
            cells[-1] += " "
        elif pdfium.FPDFText_GetLooseCharBox(textpage, index, box):
            if right is not None and box.left - right > CELL_GAP * size:
                cells.append("")
            cells[-1] += character
            right = box.right
    return tuple(" ".join(cell.split()) for cell in cells)
