"""What a document says of its own parts and in its sentences, with the pages of each."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pagefinder.sources.pdf_queries import captions, sections, statements, titles
from pagefinder.sources.pdf_queries.forms import REWORDED
from pagefinder.sources.pdf_queries.layout import (
    ANSWERS,
    Line,
    PageLayout,
    body_lines,
    plain,
    running_lines,
)
from pagefinder.sources.pdf_queries.sections import Entry, Part
from pagefinder.sources.pdf_queries.titles import tokens
from pagefinder.sources.pdf_queries.wording import THINGS, paraphrase, reword
from pagefinder.sources.storing import Phrase

# How API manuals title a routine: its name, a dash, what it does.
ROUTINE = re.compile(r"^(\w+[_\w]*(?:\(\))?(?:, \w+)*) (?:—|–|-|--) ([^A-Z\s].*)$")
# A part of fewer words says nothing: it names itself and sends the reader elsewhere.
STUB_WORDS = 15
TITLES = ("bookmark", "heading")
# A part runs on to a page where it has this many words; of a longer part, the question asks for the
# beginning.
RUN_ON_WORDS, MOST_PAGES = 30, 3


def find_phrases(pages: Sequence[PageLayout], outline: Sequence[Entry], title: str) -> list[Phrase]:
    """Phrases of a document that can become questions.

    Titles of parts, captions and run-in heads come in page order; the same wording on the same
    first page counts once. Titles in other words follow, then statements of sentences and lists.

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
    for phrase in (*from_titles, *_captions(pages, headers_and_footers, document)):
        subject = titles.sentence_case(phrase.subject, spellings)
        wording_and_page = (plain(phrase.wording), phrase.pages[0])
        phrases.setdefault(wording_and_page, replace(phrase, subject=subject))
    ordered = sorted(phrases.values(), key=lambda phrase: (phrase.pages, phrase.origin))
    return [
        *ordered,
        *_paraphrases(ordered, pages),
        *_statements(pages, parts, headers_and_footers, document),
    ]


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
    return len(tokens(statements.REFERENCE.sub("", " ".join(text.values())))) < STUB_WORDS


def answering(page: int, text: Mapping[int, str]) -> tuple[int, ...]:
    """Pages that answer: the one on which a part begins, and pages to which its text runs on."""
    after = (index for index in text if index > page)
    return page, *(index for index in after if len(tokens(text[index])) >= RUN_ON_WORDS)


def _captions(
    pages: Sequence[PageLayout], headers_and_footers: set[str], document: str
) -> Iterator[Phrase]:
    """A phrase for each caption of a figure or table, and each run-in head, on pages of `text`."""
    for index, page in enumerate(pages):
        if page.kind == "text":
            body = _body(page, headers_and_footers)
            for origin, caption in (*captions.find(page.lines), *statements.run_ins(body)):
                yield Phrase(
                    subject=caption,
                    wording=caption,
                    origin=origin,
                    pages=(index,),
                    document=document,
                    parent="",
                    parent_pages=(0, len(pages) - 1),
                )


def _body(page: PageLayout, headers_and_footers: set[str]) -> list[Line]:
    """The lines of a page without headers and footers."""
    numbers = body_lines([line.text for line in page.lines], headers_and_footers)
    return [page.lines[number] for number in numbers]


def _statements(
    pages: Sequence[PageLayout],
    parts: Sequence[Part],
    headers_and_footers: set[str],
    document: str,
) -> Iterator[Phrase]:
    """A phrase for each statement of a page of kind `text`, and one in other words if there are."""
    headings = {
        pages[part.page].lines[number]
        for part in parts
        for number in range(part.line, part.line + part.height)
    }
    for index, page in enumerate(pages):
        if page.kind != "text":
            continue
        body = [line for line in _body(page, headers_and_footers) if line not in headings]
        found = (*statements.find(body), *statements.columns(page.lines))
        for statement in dict.fromkeys(found):
            phrase = Phrase(
                subject=statement.subject,
                wording=statement.wording,
                origin=statement.origin,
                pages=(index,),
                document=document,
                parent="",
                parent_pages=(0, len(pages) - 1),
            )
            yield phrase
            reworded = reword(statement.wording, page.text)
            if reworded is not None and statement.wording in statement.subject:
                subject = statement.subject.replace(statement.wording, reworded)
                yield replace(phrase, subject=subject, origin=f"{statement.origin}{REWORDED}")


def routine(phrase: Phrase) -> Phrase:
    """The phrase; a title `name — what it does` is asked by name or, as often, by task."""
    match = ROUTINE.match(phrase.wording)
    if match is None or phrase.origin not in TITLES:
        return phrase
    if hashlib.sha256(phrase.wording.encode()).digest()[0] % 2:
        return replace(phrase, subject=f"How do I {match[2]}?", wording=match[2])
    return replace(phrase, subject=f"What does {match[1]} do?", wording=match[1])


def _paraphrases(phrases: Sequence[Phrase], pages: Sequence[PageLayout]) -> Iterator[Phrase]:
    """A phrase in other words for each title, if none of these words stands on its pages."""
    for phrase in phrases:
        if phrase.subject and phrase.origin in TITLES:
            text = " ".join(pages[index].text for index in phrase.pages)
            subject = paraphrase(phrase.wording, text)
            if subject is not None:
                yield replace(phrase, subject=subject, origin="paraphrase")
                continue
            named = phrase.wording.lower().split()[-1] in THINGS
            if titles.HERE.search(phrase.wording) or named:
                continue
            task = ROUTINE.match(phrase.wording)
            reworded = reword(task[2] if task else phrase.subject, text, task=bool(task))
            if reworded is not None:
                subject = f"How do I {reworded}?" if task else reworded
                yield replace(phrase, subject=subject, origin=f"title{REWORDED}")
