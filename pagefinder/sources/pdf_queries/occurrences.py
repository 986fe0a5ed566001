"""On which content pages of a folder wordings stand."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from pagefinder.sources import storing
from pagefinder.sources.pdf_queries import layout
from pagefinder.sources.pdf_queries.titles import tokens

Wording = tuple[str, ...]  # its tokens


def pages_with(wordings: set[Wording], folder: Path) -> dict[Wording, list[str]]:
    """Keys of the content pages on which each wording stands, in source order.

    Args:
        wordings: What is looked for, as whole tokens.
        folder: With the shards of pages.
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


def _content_pages(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Key and tokens, without running headers, of every page that may be an answer."""
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
    """Like `_content_pages`, from key, kind and lines of every page of a document."""
    running = layout.running_lines([lines for _, _, lines in document])
    for key, kind, lines in document:
        if kind in layout.ANSWERS:
            body = [lines[number] for number in layout.body_lines(lines, running)]
            yield key, tokens(" ".join(body))
