"""Turn the phrases of all documents into questions whose answers are known.

A wording that stands on several pages outside contents pages, indexes and running headers is asked
with more context, or has all these pages as answers if they are few, or is dropped.
"""

import hashlib
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from pagefinder.sources import layout, storing
from pagefinder.sources.phrases import ANSWERS, Phrase
from pagefinder.sources.storing import SourceQuery
from pagefinder.sources.wording import GENERIC, content_words, words

log = logging.getLogger(__name__)

# More answers than these, and the question does not mean one place in a document.
MAX_ANSWERS = 2
# How a phrase is asked: by its hash, so that a model does not learn one form.
FORMS = {
    "bookmark": (
        "Which page is about {}?",
        "Where can I read about {}?",
        "What is there to know about {}?",
    ),
    "heading": (
        "Which page covers {}?",
        "Where can I read about {}?",
        "What is there to know about {}?",
    ),
    "figure": ("Which figure shows {}?", "Where is there a picture of {}?"),
    "table": ("Which table lists {}?", "Where is the table of {}?"),
    "paraphrase": ("I am looking for {}.", "Where can I read about {}?"),
}
OPENERS = frozenset("how what when where why which who".split())
AUXILIARIES = frozenset("to do does did can could is are was should must may will".split())


def pack(phrase: Phrase) -> str:
    """A candidate as text, to be kept with the shards until all documents are read."""
    return json.dumps(asdict(phrase))


def settle(candidates: list[SourceQuery], folder: Path) -> list[SourceQuery]:
    """The questions of all documents, given the texts of all pages in the shards of `folder`."""
    phrases = [_unpack(query.text) for query in candidates]
    standing = _standing({tuple(words(phrase.wording)) for phrase in phrases}, folder)
    result, dropped = [], Counter[str]()
    for query, phrase in zip(candidates, phrases, strict=True):
        settled = _settle(query, phrase, standing[tuple(words(phrase.wording))])
        if settled is None:
            dropped[phrase.origin] += 1
        else:
            result.append(settled)
    counts = ", ".join(f"{count} {origin}" for origin, count in sorted(dropped.items()))
    log.info("%d questions; dropped as found on too many pages: %s", len(result), counts or "none")
    return result


def _unpack(text: str) -> Phrase:
    fields = json.loads(text)
    return Phrase(
        **{**fields, "pages": tuple(fields["pages"]), "section": tuple(fields["section"])}
    )


def _settle(query: SourceQuery, phrase: Phrase, standing: Sequence[str]) -> SourceQuery | None:
    """The least context in which the wording stands on few enough pages, with all of them."""
    own = list(query.relevance)
    stored = own[0].split("/")[0]
    meant = [word for word in content_words(phrase.wording) if word not in GENERIC]
    least = 0 if len(meant) >= 2 else 1 if meant else 2
    for level in range(least, 3):
        pages = standing
        if level:
            pages = [key for key in pages if key.split("/")[0] == stored]
        if level == 2:
            first, last = phrase.section
            pages = [key for key in pages if first <= int(key.split("/")[1]) <= last]
        answers = list(dict.fromkeys([*own, *pages]))
        # A question that two documents answer would also keep them in one split.
        if any(key.split("/")[0] != stored for key in answers):
            continue
        if len(set(pages) - set(own)) + 1 <= MAX_ANSWERS:
            text = _ask(phrase, level)
            return replace(query, text=text, relevance=dict.fromkeys(answers, 1)) if text else None
    return None


def _ask(phrase: Phrase, level: int) -> str | None:
    """The question, with the document from level 1 on and the part around it on level 2."""
    # A paraphrase with the words of the part around it would copy these from the page.
    if level == 2 and (not phrase.parent or phrase.origin == "paraphrase"):
        return None
    first, second = [*phrase.asked.lower().split(" "), ""][:2]
    if phrase.asked.endswith("?") or (first in OPENERS and second in AUXILIARIES):
        text = phrase.asked.rstrip("?") + "?"
        text = text[:1].upper() + text[1:]
    else:
        forms = FORMS[phrase.origin]
        digest = hashlib.sha256(phrase.asked.encode()).digest()
        text = forms[digest[0] % len(forms)].format(phrase.asked)
    part = f" under {phrase.parent}" if level == 2 else ""
    document = f" in {phrase.document}" if level else ""
    return f"{text[:-1]}{part}{document}{text[-1]}"


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
            body = layout.without_running(lines, running)
            yield key, words(" ".join(body))
