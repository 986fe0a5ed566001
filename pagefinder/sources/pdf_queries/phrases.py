"""What a document says of its own parts: bookmarks, headings and captions, with their pages."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pagefinder.sources.pdf_queries import captions, sections, titles
from pagefinder.sources.pdf_queries.layout import ANSWERS, PageLayout, plain, running_lines
from pagefinder.sources.pdf_queries.sections import Entry, Part
from pagefinder.sources.pdf_queries.titles import tokens
from pagefinder.sources.pdf_queries.wording import paraphrase

# How API manuals title a routine: its name, a dash, what it does.
ROUTINE = re.compile(r"^(\w+[_\w]*(?:\(\))?(?:, \w+)*) (?:—|–|-|--) ([^A-Z\s].*)$")
# A part of fewer words says nothing: it names itself and sends the reader elsewhere.
STUB_WORDS = 15
REFERENCE = re.compile(r"(?:please\s+)?\b(?:see|refer\s+to)\b[^.]*(?:\.|$)", re.IGNORECASE)
# A part runs on to a page where it has this many words; a longer one is asked for its beginning.
RUN_ON_WORDS, MOST_PAGES = 30, 3


@dataclass(frozen=True)
class Phrase:
    """A candidate for a query.

    Attributes:
        asked: What the question will say; empty if it is not asked and only bears its name.
        wording: What stands on the page, and names the part.
        origin: bookmark, heading, figure, table or paraphrase.
        pages: Indexes of the pages that answer it, in the document.
        parent: Title of the part around it, or empty.
        document: Title of the document.
        section: First and last page index of the part around it.
        begins: The question is where the part begins, as it is long or has parts of its own.
    """

    asked: str
    wording: str
    origin: str
    pages: tuple[int, ...]
    parent: str
    document: str
    section: tuple[int, int]
    begins: bool = False


def find(pages: Sequence[PageLayout], outline: Sequence[Entry], title: str) -> list[Phrase]:
    """Candidates of a document in page order, each wording of a page once."""
    document = _document_title(title)
    running = running_lines([[line.text for line in page.lines] for page in pages])
    known = titles.spellings(line.text for page in pages for line in page.lines)
    parts = sections.find(pages, outline, running)
    found: dict[tuple[str, int], Phrase] = {}
    for phrase in (*_parts(parts, pages, running, document), *_captions(pages, document)):
        asked = titles.sentence_case(phrase.asked, known)
        place = (plain(phrase.wording), phrase.pages[0])
        found.setdefault(place, replace(phrase, asked=asked))
    ordered = sorted(found.values(), key=lambda phrase: (phrase.pages, phrase.origin))
    return ordered + list(_paraphrased(ordered, pages))


def _document_title(title: str) -> str:
    """The title as its metadata or file name gives it, without what programs put there."""
    cleaned = re.sub(r"^Microsoft \w+ - |\.(docx?|pdf|tex|dvi|odt|xml)$", "", title)
    return " ".join(re.sub(r"[_\-\s]+", " ", cleaned).split())[:80]


def _parts(
    parts: Sequence[Part], pages: Sequence[PageLayout], running: set[str], document: str
) -> Iterator[Phrase]:
    """A candidate for every part with a title that says something."""
    for number, (part, text) in enumerate(
        zip(parts, sections.texts(parts, pages, running), strict=True)
    ):
        picture = pages[part.page].kind == "picture"
        if not titles.is_named(part.title):
            continue
        parent, first, last = sections.around(parts, number, len(pages) - 1)
        answers = answering(part.page, text)
        begins = sections.is_inner(parts, number) or len(answers) > MOST_PAGES
        whole = Phrase(
            asked=part.title,
            wording=part.title,
            origin=part.origin,
            pages=(part.page,) if begins else answers,
            parent=parent,
            document=document,
            section=(first, last),
            begins=begins,
        )
        says = picture or (pages[part.page].kind in ANSWERS and not is_stub(text))
        yield whole if says else replace(whole, asked="")


def is_stub(text: Mapping[int, str]) -> bool:
    """Whether a part only sends its reader elsewhere, or has no text of its own."""
    return len(tokens(REFERENCE.sub("", " ".join(text.values())))) < STUB_WORDS


def answering(page: int, text: Mapping[int, str]) -> tuple[int, ...]:
    """The page on which a part begins, and those to which its text runs on."""
    return (
        page,
        *(i for i, said in text.items() if i > page and len(tokens(said)) >= RUN_ON_WORDS),
    )


def _captions(pages: Sequence[PageLayout], document: str) -> Iterator[Phrase]:
    for index, page in enumerate(pages):
        if page.kind == "text":
            for origin, wording in captions.find(page.lines):
                whole = (0, len(pages) - 1)
                yield Phrase(wording, wording, origin, (index,), "", document, whole)


def routine(phrase: Phrase) -> Phrase:
    """A title of the form `name — what it does`, asked by its name or, as often, by its task."""
    match = ROUTINE.match(phrase.wording)
    if match is None:
        return phrase
    if hashlib.sha256(phrase.wording.encode()).digest()[0] % 2:
        return replace(phrase, asked=f"How do I {match[2]}?", wording=match[2])
    return replace(phrase, asked=f"What does {match[1]} do?", wording=match[1])


def _paraphrased(phrases: Sequence[Phrase], pages: Sequence[PageLayout]) -> Iterator[Phrase]:
    """Titles in other words, where none of these words stands on the page."""
    for phrase in phrases:
        if phrase.asked and phrase.origin in ("bookmark", "heading"):
            text = " ".join(pages[index].text for index in phrase.pages)
            other = paraphrase(phrase.wording, text)
            if other is not None:
                yield replace(phrase, asked=other, origin="paraphrase")
