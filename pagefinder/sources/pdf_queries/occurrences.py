"""On which content pages of a folder wordings stand."""

import itertools
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from pagefinder.sources import storing
from pagefinder.sources.pdf_queries import layout
from pagefinder.sources.pdf_queries.titles import tokens
from pagefinder.sources.pdf_queries.wording import stems

Wording = tuple[str, ...]  # its tokens
Words = frozenset[str]  # their stems
# Words stand near each other among so many tokens: about a paragraph.
NEAR = 40


def pages_with(wordings: set[Wording], folder: Path) -> dict[Wording, list[str]]:
    """Wording -> keys of the content pages on which it stands, in source order.

    Args:
        wordings: Looked for as whole tokens in sequence.
        folder: Holds the shards of all pages.
    """
    lengths: dict[str, set[int]] = defaultdict(set)  # by first token
    for wording in wordings:
        if wording:
            lengths[wording[0]].add(len(wording))
    keys: dict[Wording, list[str]] = defaultdict(list)
    for key, page in _content_pages(folder):
        on_page = {
            tuple(page[start : start + length])
            for start, token in enumerate(page)
            for length in lengths.get(token, ())
        }
        for wording in on_page & wordings:
            keys[wording].append(key)
    return keys


def pages_with_all(word_sets: set[Words], folder: Path) -> dict[Words, list[str]]:
    """Set of words -> keys of the content pages on which they stand near each other.

    Args:
        word_sets: Stems of content words, as `stems` makes them.
        folder: Holds the shards of all pages.
    """
    by_longest: dict[str, list[Words]] = defaultdict(list)  # long words are rare
    for words in word_sets:
        if words:
            by_longest[max(words, key=lambda word: (len(word), word))].append(words)
    keys: dict[Words, list[str]] = defaultdict(list)
    for key, page in _content_pages(folder):
        found = {
            words
            for start in range(0, max(len(page) - NEAR // 2, 1), NEAR // 2)
            for near in [stems(" ".join(page[start : start + NEAR]))]
            for word in near & by_longest.keys()
            for words in by_longest[word]
            if words <= near
        }
        for words in found:
            keys[words].append(key)
    return keys


def _content_pages(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Key and tokens, without headers and footers, of each page that may be an answer."""
    batches = storing.batches(folder, ["key", "pdf", "kind", "text"])
    rows = (row for batch in batches for row in batch.to_pylist())
    for _, pages in itertools.groupby(rows, key=lambda row: row["pdf"]):
        document = [(row["key"], row["kind"], (row["text"] or "").split("\n")) for row in pages]
        headers_and_footers = layout.running_lines([lines for _, _, lines in document])
        for key, kind, lines in document:
            if kind in layout.ANSWERS:
                body = [lines[number] for number in layout.body_lines(lines, headers_and_footers)]
                yield key, tokens(" ".join(body))
