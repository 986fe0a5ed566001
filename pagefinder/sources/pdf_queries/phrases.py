"""What a document says of its own parts: bookmarks, headings and captions, with their pages."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pagefinder.sources.pdf_queries import captions, sections, titles
from pagefinder.sources.pdf_queries.layout import ANSWERS, PageLayout, plain, running_lines
from pagefinder.sources.pdf_queries.sections import Entry, Part
from pagefinder.sources.pdf_queries.titles import tokens
from pagefinder.sources.pdf_queries.wording import paraphrase
from pagefinder.sources.storing import Phrase

# How API manuals title a routine: its name, a dash, what it does.
ROUTINE = re.compile(r"^(\w+[_\w]*(?:\(\))?(?:, \w+)*) (?:—|–|-|--) ([^A-Z\s].*)$")
# A part of fewer words says nothing: it names itself and sends the reader elsewhere.
STUB_WORDS = 15
REFERENCE = re.compile(r"(?:please\s+)?\b(?:see|refer\s+to)\b[^.]*(?:\.|$)", re.IGNORECASE)
# A part runs on to a page where it has this many words; of a longer part, the question asks for the
# beginning.
RUN_ON_WORDS, MOST_PAGES = 30, 3


def find_phrases(pages: Sequence[PageLayout], outline: Sequence[Entry], title: str) -> list[Phrase]:
    """Phrases of a document (titles of parts, captions) that can become questions, in page order.

    The same wording on the same first page counts once. Paraphrases follow at the end.

    Args:
        pages: All pages of the document.
        outline: The bookmarks of the document.
        title: The document's title from its metadata, or its file name.
    """
    document = _document_title(title)
    headers_and_footers = running_lines([[line.text for line in page.lines] for page in pages])
    spellings = titles.spellings(line.text for page in pages for line in page.lines)
    parts = sections.find(pages, outline, headers_and_footers)
    phrases: dict[tuple[str, int], Phrase] = {}
    from_titles = _titles(parts, pages, headers_and_footers, document)
    for phrase in (*from_titles, *_captions(pages, document)):
        subject = titles.sentence_case(phrase.subject, spellings)
        wording_and_page = (plain(phrase.wording), phrase.pages[0])
        phrases.setdefault(wording_and_page, replace(phrase, subject=subject))
    ordered = sorted(phrases.values(), key=lambda phrase: (phrase.pages, phrase.origin))
    return ordered + list(_paraphrases(ordered, pages))


def _document_title(title: str) -> str:
    """The title as its metadata or file name gives it, without what programs put there."""
    cleaned = re.sub(r"^Microsoft \w+ - |\.(docx?|pdf|tex|dvi|odt|xml)$", "", title)
    return " ".join(re.sub(r"[_\-\s]+", " ", cleaned).split())[:80]


def _titles(
    parts: Sequence[Part], pages: Sequence[PageLayout], headers_and_footers: set[str], document: str
) -> Iterator[Phrase]:
    """A phrase for each part whose title says what it is about; an empty part has no subject."""
    texts = sections.texts(parts, pages, headers_and_footers)
    for number, (part, text) in enumerate(zip(parts, texts, strict=True)):
        if not titles.is_named(part.title):
            continue
        kind = pages[part.page].kind
        has_content = kind == "picture" or (kind in ANSWERS and not is_stub(text))
        parent, first, last = sections.around(parts, number, len(pages) - 1)
        answers = answering(part.page, text)
        beginning = sections.is_inner(parts, number) or len(answers) > MOST_PAGES
        yield Phrase(
            subject=part.title if has_content else "",
            wording=part.title,
            origin=part.origin,
            pages=(part.page,) if beginning else answers,
            document=document,
            parent=parent,
            parent_pages=(first, last),
            beginning=beginning,
        )


def is_stub(text: Mapping[int, str]) -> bool:
    """Whether a part, with its text by page, has no text or only sends the reader elsewhere."""
    return len(tokens(REFERENCE.sub("", " ".join(text.values())))) < STUB_WORDS


def answering(page: int, text: Mapping[int, str]) -> tuple[int, ...]:
    """Pages that answer: the one on which a part begins, and pages to which its text runs on."""
    after = (index for index in text if index > page)
    return page, *(index for index in after if len(tokens(text[index])) >= RUN_ON_WORDS)


def _captions(pages: Sequence[PageLayout], document: str) -> Iterator[Phrase]:
    """A phrase for each figure and table that has a caption on a page of kind `text`."""
    for index, page in enumerate(pages):
        if page.kind == "text":
            for origin, caption in captions.find(page.lines):
                yield Phrase(
                    subject=caption,
                    wording=caption,
                    origin=origin,
                    pages=(index,),
                    document=document,
                    parent="",
                    parent_pages=(0, len(pages) - 1),
                )


def routine(phrase: Phrase) -> Phrase:
    """The phrase; a title `name — what it does` is asked by name or, as often, by task."""
    match = ROUTINE.match(phrase.wording)
    if match is None:
        return phrase
    if hashlib.sha256(phrase.wording.encode()).digest()[0] % 2:
        return replace(phrase, subject=f"How do I {match[2]}?", wording=match[2])
    return replace(phrase, subject=f"What does {match[1]} do?", wording=match[1])


def _paraphrases(phrases: Sequence[Phrase], pages: Sequence[PageLayout]) -> Iterator[Phrase]:
    """A phrase in other words for each title, if none of these words stands on its pages."""
    for phrase in phrases:
        if phrase.subject and phrase.origin in ("bookmark", "heading"):
            text = " ".join(pages[index].text for index in phrase.pages)
            subject = paraphrase(phrase.wording, text)
            if subject is not None:
                yield replace(phrase, subject=subject, origin="paraphrase")
