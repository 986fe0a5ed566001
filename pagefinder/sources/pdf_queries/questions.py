"""Turn the phrases of all documents into questions whose answers are known.

A question may be open (where can I read about it?): then its wording stands on its answers and on
no other content page of the folder, the document or the part that the question names. Or it asks
for one thing (where is the section on it? which figure shows it?): a page that only mentions the
wording does not answer that, so it suffices that nothing else bears the same name.
"""

import hashlib
import json
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from pagefinder.sources import storing
from pagefinder.sources.pdf_queries import layout, phrases
from pagefinder.sources.pdf_queries.layout import ANSWERS
from pagefinder.sources.pdf_queries.phrases import Phrase
from pagefinder.sources.pdf_queries.titles import HERE, tokens
from pagefinder.sources.pdf_queries.wording import GENERIC, content_words
from pagefinder.sources.storing import SourceQuery

log = logging.getLogger(__name__)

# How a phrase is asked: by its hash, so that a model does not learn one form.
OPEN = (
    "Which page is about {}?",
    "Where can I read about {}?",
    "What is there to know about {}?",
)
CLAUSE = ("Where do I find out {}?", "Which page tells {}?")
SECTION = ("Where is the section on {}?", "Which page has the section about {}?")
DESCRIBED = ("Where is {} described?",)  # a title that calls itself a section
SAID = ("Where does it say {}?",)  # a title that is an order
BEGINNING = (
    "Where does the section on {} begin?",
    "On which page does the section about {} begin?",
)
FORMS = {
    "bookmark": OPEN,
    "heading": OPEN,
    "paraphrase": OPEN,
    "figure": ("Which figure shows {}?", "Where is there a picture of {}?"),
    "table": ("Which table lists {}?", "Where is the table of {}?"),
}
OPENERS = frozenset("how what when where why which who".split())
ORDERS = frozenset("always avoid be choose do don't ensure keep never remember try write".split())
AUXILIARIES = frozenset("to do does did can could is are was should must may will".split())


def pack(phrase: Phrase) -> str:
    """A candidate as text, to be kept with the shards until all documents are read."""
    return json.dumps(asdict(phrase))


def settle(candidates: list[SourceQuery], folder: Path) -> list[SourceQuery]:
    """The questions of all documents, given the texts of all pages in the shards of `folder`."""
    found = _told_apart(candidates, [_unpack(query.text) for query in candidates])
    bearers = Counter(
        name
        for phrase, key in found
        if phrase.origin != "paraphrase"
        for name in _names(phrase, key)
    )
    asked = [(phrases.routine(phrase), key) for phrase, key in found]
    standing = _standing({tuple(tokens(phrase.wording)) for phrase, _ in asked}, folder)
    settled = []
    for query, (named, key), (phrase, _) in zip(candidates, found, asked, strict=True):
        unique = [bearers[name] == 1 for name in _names(named, key)]
        text, pages = _settle(phrase, key, unique, standing[tuple(tokens(phrase.wording))])
        if text:
            settled.append(replace(query, text=text, relevance=dict.fromkeys(pages, 1)))
    times = Counter(query.text.casefold() for query in settled)
    result = [query for query in settled if times[query.text.casefold()] == 1]
    log.info(
        "%d questions; dropped %d that do not tell their page from others or lead nowhere",
        len(result),
        len(candidates) - len(result),
    )
    return result


def _unpack(text: str) -> Phrase:
    fields = json.loads(text)
    return Phrase(
        **{**fields, "pages": tuple(fields["pages"]), "section": tuple(fields["section"])}
    )


def _told_apart(
    candidates: Sequence[SourceQuery], found: Sequence[Phrase]
) -> list[tuple[Phrase, str]]:
    """Phrases with the key of their document, whose title names the file too if two have it."""
    files = [query.where.rsplit(" page ", 1)[0] for query in candidates]
    titled: dict[str, set[str]] = defaultdict(set)
    for phrase, file in zip(found, files, strict=True):
        titled[phrase.document].add(file)
    result = []
    for query, phrase, file in zip(candidates, found, files, strict=True):
        if len(titled[phrase.document]) > 1:
            phrase = replace(phrase, document=f"{phrase.document} ({Path(file).stem})")
        result.append((phrase, next(iter(query.relevance)).split("/")[0]))
    return result


def _names(phrase: Phrase, stored: str) -> list[tuple[str, ...]]:
    """What a phrase is called in the folder, in its document and in the part around it.

    A figure, a table and a section may bear one name; a paraphrase bears that of its section.
    """
    sort = phrase.origin if phrase.origin in ("figure", "table") else "part"
    name = (sort, " ".join(tokens(phrase.wording)))
    return [name, (*name, stored), (*name, stored, " ".join(tokens(phrase.parent)))]


def _settle(
    phrase: Phrase, stored: str, unique: Sequence[bool], standing: Sequence[str]
) -> tuple[str, list[str]]:
    """The question with the least context that it needs, and its answers; no text: there is none.

    Args:
        phrase: What is asked.
        stored: Key of its document.
        unique: Whether nothing else bears its name in the folder, the document, the part around it.
        standing: Keys of the content pages on which its wording stands.
    """
    own = [f"{stored}/{index}" for index in phrase.pages]
    levels = range(_least(phrase), 3)
    if not phrase.asked:
        return "", own
    if phrase.origin not in ("figure", "table") and not phrase.begins:
        for level in levels:
            elsewhere = set(_within(level, phrase, stored, standing)) - set(own)
            text = _open(phrase, level)
            if unique[level] and not elsewhere and text:
                return text, own
    for level in levels:
        if unique[level]:
            return _specific(phrase, level), own
    return "", own


def _least(phrase: Phrase) -> int:
    """A title of one word needs its document; one that says nothing alone, the part around it."""
    meaning = content_words(phrase.wording)
    if phrase.origin == "paraphrase":
        return int(len(meaning) < 2)
    meant = [word for word in meaning if word not in GENERIC]
    alone = len(meant) >= 2 and not HERE.search(phrase.wording)
    return 0 if alone else 1 if meant else 2


def _within(level: int, phrase: Phrase, stored: str, standing: Sequence[str]) -> list[str]:
    """The keys that lie in the folder, the document or the part around a phrase."""
    first, last = phrase.section if level == 2 else (0, math.inf)
    return [
        key
        for key, (document, _, index) in ((key, key.partition("/")) for key in standing)
        if level == 0 or (document == stored and first <= int(index) <= last)
    ]


def _open(phrase: Phrase, level: int) -> str:
    """A question that every page about the matter answers."""
    first, second = [*phrase.asked.lower().split(" "), ""][:2]
    if phrase.asked.endswith("?") or (first in OPENERS and second in AUXILIARIES):
        form, noun = "{}?", phrase.asked[:1].upper() + phrase.asked[1:].rstrip("?")
    elif first in ORDERS:
        form, noun = _form(SAID, phrase), f'"{phrase.asked}"'
    else:
        clause = phrase.origin == "paraphrase" and first in OPENERS
        form, noun = _form(CLAUSE if clause else FORMS[phrase.origin], phrase), phrase.asked
    return _in_context(form, noun, phrase, level)


def _specific(phrase: Phrase, level: int) -> str:
    """A question that only the figure, the table, the section or its beginning answers."""
    if phrase.origin in ("figure", "table"):
        return _in_context(_form(FORMS[phrase.origin], phrase), phrase.asked, phrase, level)
    if phrase.origin == "paraphrase" and phrase.asked.split()[0] in OPENERS:
        return _in_context(_form(CLAUSE, phrase), phrase.asked, phrase, level)
    routine = phrase.asked.startswith("What does ")
    noun = phrase.wording if routine else phrase.asked
    if noun.endswith("?"):
        return ""
    if noun.split()[0].lower() in ORDERS:
        return _in_context(_form(SAID, phrase), f'"{noun}"', phrase, level)
    forms = BEGINNING if phrase.begins else SECTION
    form = _form(DESCRIBED if "section" in tokens(noun) else forms, phrase)
    return _in_context(form, noun, phrase, level)


def _form(forms: Sequence[str], phrase: Phrase) -> str:
    return forms[hashlib.sha256(phrase.asked.encode()).digest()[0] % len(forms)]


def _in_context(form: str, noun: str, phrase: Phrase, level: int) -> str:
    """The question, with the document from level 1 on and the part around it on level 2."""
    # A paraphrase with the words of the part around it would copy these from the page.
    if level == 2 and (not phrase.parent or phrase.origin == "paraphrase"):
        return ""
    part = f" under {phrase.parent}" if level == 2 else ""
    return form.format(f"{noun}{part}{f' in {phrase.document}' if level else ''}")


def _standing(wanted: set[tuple[str, ...]], folder: Path) -> dict[tuple[str, ...], list[str]]:
    """Keys of the content pages on which each wording stands, in order."""
    lengths: dict[str, set[int]] = defaultdict(set)
    for wording in wanted:
        if wording:
            lengths[wording[0]].add(len(wording))
    found: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for key, page in _content_pages(folder):
        here = {
            tuple(page[start : start + length])
            for start, word in enumerate(page)
            for length in lengths.get(word, ())
        }
        for wording in here & wanted:
            found[wording].append(key)
    return found


def _content_pages(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Key and words, without running headers, of every page that may be an answer."""
    stored = ""
    document: list[tuple[str, str, list[str]]] = []
    for batch in storing.batches(folder, ["key", "pdf", "kind", "text"]):
        for row in batch.to_pylist():
            if row["pdf"] != stored:
                yield from _bodies(document)
                stored, document = row["pdf"], []
            document.append((row["key"], row["kind"], (row["text"] or "").split("\n")))
    yield from _bodies(document)


def _bodies(document: list[tuple[str, str, list[str]]]) -> Iterator[tuple[str, list[str]]]:
    running = layout.running_lines([lines for _, _, lines in document])
    for key, kind, lines in document:
        if kind in ANSWERS:
            body = [lines[number] for number in layout.body_lines(lines, running)]
            yield key, tokens(" ".join(body))
