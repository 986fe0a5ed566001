"""What a document says of its own parts: bookmarks, headings and captions, with their pages."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pagefinder.sources.layout import Line, PageLayout, plain, running_lines
from pagefinder.sources.wording import content_words, paraphrase

NUMBER = re.compile(
    r"^(?:(?:chapter|section|appendix|part|annex)\s+[\dA-Z]+(?:\.\d+)*|\d+(?:\.\d+)*"
    r"|[A-Z](?:\.\d+)+|(?-i:[IVX]{1,4}))[.:)]?\s+(?=\S)",
    re.IGNORECASE,
)
CAPTION = re.compile(
    r"^(Figure|Fig\.?|Table|Tab\.?|Listing|Diagram|Chart)\s*[A-Z]?\d+(?:[.\-–]\d+)*"
    r"(?:\s*[:.–—-]\s*|\s+(?=[A-Z]))(\S.*)$"
)
# How API manuals title a routine: its name, a dash, what it does.
ROUTINE = re.compile(r"^(\w+[_\w]*(?:\(\))?(?:, \w+)*) (?:—|–|-|--) ([a-z].*)$")
# What begins a sentence about a figure, not the caption of one.
SENTENCE = re.compile(
    r"^(?:\d*\(?\w?\)?\s*)?(?:shows?|shown|is|are|was|gives?|illustrates?|depicts?|lists?|and|or|in|of"
    r"|on|for|we|below|above|presents?|contains?|has|to|from|with)\b"
)
PANELS = re.compile(r"\(\w\)\s*")
FORMULA = re.compile(r"[={}<>|\\^@]")
MORE = re.compile(
    r"^(?:more|further|additional|some) (?:information|details|notes|words) (?:about|on|for) ", re.I
)
# A number in words, or a part without a name.
UNNAMED = re.compile(
    r"^(?:(?:chapter|section|appendix|part|annex)\s+\w{1,5}|one|two|three|four|five|six|seven|eight"
    r"|nine|ten|eleven|twelve|thirteen|fourteen|fifteen)$",
    re.IGNORECASE,
)
# Parts that list or wrap the rest: nobody looks for what they say.
WRAPPERS = frozenset(
    "contents,table of contents,index,bibliography,references,list of figures,list of tables,"
    "title page,cover,front matter,list of listings,literature".split(",")
)
# A heading this low on its page is answered on the next one too.
LOW = 0.12
HEADING_SIZE = 1.12  # of the body's type
HEADING_WORDS, CAPTION_LENGTH, FULL_LINE = 12, 130, 65
ANSWERS = ("text", "picture")
PAGE_NUMBER = re.compile(r"^\d+\s|\s\d+$")


@dataclass(frozen=True)
class Entry:
    """A bookmark: its title, the titles above it, and the index of its page."""

    title: str
    above: tuple[str, ...]
    page: int


@dataclass(frozen=True)
class Phrase:
    """A candidate for a query.

    Attributes:
        asked: What the question will say.
        wording: What stands on the page.
        origin: bookmark, heading, figure, table or paraphrase.
        pages: Indexes of the pages that it names, in the document.
        parent: Title of the part around it, or empty.
        document: Title of the document.
        section: First and last page index of the part around it.
    """

    asked: str
    wording: str
    origin: str
    pages: tuple[int, ...]
    parent: str
    document: str
    section: tuple[int, int]


def find(pages: Sequence[PageLayout], outline: Sequence[Entry], title: str) -> list[Phrase]:
    """Candidates of a document in page order, each wording of a page once."""
    document = _document_title(title)
    running = running_lines([[line.text for line in page.lines] for page in pages])
    cases = Counter(
        word for page in pages for line in page.lines for word in re.findall(r"\w+", line.text)
    )
    last = len(pages) - 1
    found: dict[tuple[str, int], Phrase] = {}

    def add(phrase: Phrase) -> None:
        named = content_words(phrase.wording) and not UNNAMED.match(phrase.wording)
        usable = named and plain(phrase.wording) not in WRAPPERS
        if (
            usable
            and not _is_formula(phrase.wording)
            and all(pages[index].kind in ANSWERS for index in phrase.pages)
        ):
            asked = _sentence_case(phrase.asked, cases)
            known = (plain(phrase.wording), phrase.pages[0])
            found.setdefault(known, replace(phrase, asked=asked))

    for number, entry in enumerate(outline):
        target = _confirmed(entry, pages)
        if target is not None:
            parent = next((_clean(name) for name in reversed(entry.above) if _clean(name)), "")
            wording, section = _clean(entry.title), _section(outline, number, last)
            whole = Phrase(wording, wording, "bookmark", target, parent, document, section)
            routine = ROUTINE.match(wording)
            if routine is not None:
                add(replace(whole, asked=f"How do I {routine[2]}?", wording=routine[2]))
                whole = replace(whole, asked=f"What does {routine[1]} do?")
            add(whole)
    for phrase in _headings(pages, running, document):
        add(phrase)
    for phrase in _captions(pages, document):
        add(phrase)
    ordered = sorted(found.values(), key=lambda phrase: (phrase.pages, phrase.origin))
    return ordered + _paraphrased(ordered, pages)


def _document_title(title: str) -> str:
    """The title as its metadata or file name gives it, without what programs put there."""
    cleaned = re.sub(r"^Microsoft \w+ - |\.(docx?|pdf|tex|dvi|odt|xml)$", "", title)
    return " ".join(re.sub(r"[_\-\s]+", " ", cleaned).split())[:80]


def _clean(title: str) -> str:
    """A title without its number, its closing marks and what says only that there is more."""
    text = NUMBER.sub("", " ".join(title.split())).strip(" .:;,–—-")
    return MORE.sub("", text)


def _is_formula(text: str) -> bool:
    symbols = any(ord(sign) > 127 and unicodedata.category(sign) == "Sm" for sign in text)
    return symbols or bool(FORMULA.search(text))


def _sentence_case(text: str, cases: Counter[str]) -> str:
    """Lower the capitals of a title, except of words that the document mostly writes with them."""
    return " ".join(
        token.lower()
        if token.istitle()
        and token != "I"
        and (cases[token.lower()] > cases[token] or token in ("A", "An", "The"))
        else token
        for token in text.split(" ")
    )


def _section(outline: Sequence[Entry], number: int, last: int) -> tuple[int, int]:
    """First and last page of the part around a bookmark: the document for one of the top level."""
    level = len(outline[number].above)
    if level == 0:
        return 0, last
    start = next((e.page for e in reversed(outline[:number]) if len(e.above) < level), 0)
    end = next((e.page for e in outline[number + 1 :] if len(e.above) < level), last)
    return start, max(start, end)


def _confirmed(entry: Entry, pages: Sequence[PageLayout]) -> tuple[int, ...] | None:
    """The pages of a bookmark, if its title stands there or there is no text to tell."""
    wanted = plain(_clean(entry.title))
    for index in range(entry.page, min(entry.page + 2, len(pages))):
        if pages[index].kind == "picture":
            return (index,)
        low = _title_below(wanted, pages[index].lines)
        if low is not None:
            return _with_next(index, low, pages)
    return None


def _title_below(wanted: str, lines: Sequence[Line]) -> float | None:
    """How much of the page lies below the line (or two) that holds a title."""
    for number, line in enumerate(lines):
        pair = f"{line.text} {lines[number + 1].text}" if number + 1 < len(lines) else line.text
        if wanted and (wanted in plain(line.text) or plain(_clean(pair)).startswith(wanted)):
            return line.below
    return None


def _with_next(index: int, below: float, pages: Sequence[PageLayout]) -> tuple[int, ...]:
    following = index + 1 < len(pages) and pages[index + 1].kind in ANSWERS
    return (index, index + 1) if below < LOW and following else (index,)


def _headings(pages: Sequence[PageLayout], running: set[str], document: str) -> list[Phrase]:
    """Lines in larger type than the body, or bold with a section number; short and no sentence."""
    sizes: Counter[float] = Counter()
    for page in pages:
        for line in page.lines:
            sizes[line.size] += len(line.text)
    body = sizes.most_common(1)[0][0] if sizes else 0.0
    phrases, above = [], ("", 0.0)
    for index, page in enumerate(pages):
        # The first page and those without running text are covers: large type names no part.
        if page.kind != "text" or index == 0:
            continue
        number = 0
        while number < len(page.lines):
            line, used = page.lines[number], 1
            edge = number in (0, len(page.lines) - 1)
            if not _is_heading(line, body, running) or (edge and PAGE_NUMBER.search(line.text)):
                number += 1
                continue
            text = line.text
            following = page.lines[number + 1] if number + 1 < len(page.lines) else None
            if following and _continues(line, following, body):
                text, used = f"{text} {following.text}", 2
            wording = _clean(text)
            if len(wording.split()) <= HEADING_WORDS:
                parent = above[0] if above[1] > line.size else ""
                target = _with_next(index, line.below, pages)
                phrases.append(
                    Phrase(
                        wording, wording, "heading", target, parent, document, (0, len(pages) - 1)
                    )
                )
                above = (wording, line.size) if line.size >= above[1] or not parent else above
            number += used
    return phrases


def _is_heading(line: Line, body: float, running: set[str]) -> bool:
    text = line.text
    large = line.size >= HEADING_SIZE * body
    numbered = line.bold and bool(NUMBER.match(text)) and line.size >= body * 0.98
    short = 3 < len(text) <= 90 and len(text.split()) <= HEADING_WORDS
    letters = sum(character.isalpha() for character in text)
    return (
        (large or numbered)
        and short
        and letters >= 0.6 * len(text.replace(" ", ""))
        and text[0].isalnum()
        and text[-1] not in ".,;:)"
        and not CAPTION.match(text)
        and plain(text) not in running
        and not _is_formula(text)
    )


def _continues(line: Line, following: Line, body: float) -> bool:
    """A long heading goes on in the next line in the same type."""
    return (
        following.size == line.size > body
        and following.bold == line.bold
        and len(line.text) > 40
        and not NUMBER.match(following.text)
    )


def _captions(pages: Sequence[PageLayout], document: str) -> list[Phrase]:
    """First sentences of figure and table captions."""
    phrases = []
    for index, page in enumerate(pages):
        if page.kind != "text":
            continue
        for number, line in enumerate(page.lines):
            match = CAPTION.match(line.text)
            if match is None:
                continue
            if SENTENCE.match(match[2]):
                continue
            text, above = match[2], line
            for following in page.lines[number + 1 : number + 3]:
                # Only a line that was too full goes on in the next one.
                ended = text.endswith(".") or len(above.text) < FULL_LINE
                if ended or following.size != line.size or CAPTION.match(following.text):
                    break
                text, above = f"{text} {following.text}", following
            wording = " ".join(
                _clean(re.split(r"(?<=[a-z)])\.(?:\s|$|\()", PANELS.sub(" ", text))[0]).split()
            )
            if len(content_words(wording)) >= 2 and len(wording) <= CAPTION_LENGTH:
                origin = "table" if match[1].startswith("Tab") else "figure"
                whole = (0, len(pages) - 1)
                phrases.append(Phrase(wording, wording, origin, (index,), "", document, whole))
    return phrases


def _paraphrased(phrases: Sequence[Phrase], pages: Sequence[PageLayout]) -> list[Phrase]:
    """Titles in other words, where none of these words stands on the page."""
    result = []
    for phrase in phrases:
        if phrase.origin in ("bookmark", "heading"):
            text = " ".join(pages[index].text for index in phrase.pages)
            other = paraphrase(phrase.wording, text)
            if other is not None:
                result.append(replace(phrase, asked=other, origin="paraphrase"))
    return result
