"""The three-table layout of BEIR, MTEB and ViDoRe: configs `corpus`, `queries` and `qrels`."""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pagefinder.errors import InputError
from pagefinder.params import Hub
from pagefinder.sources import cells, hub_splits
from pagefinder.sources.hub_splits import Open, Parts
from pagefinder.sources.storing import Row, SourcePage, SourceQuery

log = logging.getLogger(__name__)

IDS = ("_id", "id", "corpus-id", "query-id", "corpus_id", "query_id")


def tables(parts: Parts, settings: Hub) -> dict[str, Callable[[int], Iterator[Row]]]:
    """Pages, then queries with their judgements, of the three-table layout."""
    judged = parts.get("qrels") or parts.get("default")
    if judged is None:
        raise InputError(
            f"{settings.path!r} has corpus and queries, but no qrels: {hub_splits.listing(parts)}"
        )
    grades: dict[str, dict[str, dict[str, int]]] = {}  # split -> query -> page -> relevance
    for split, opened in judged.items():
        for row in opened():
            query, page = (str(_first(row, (name, name.replace("-", "_")))) for name in _KEYS)
            grade = int(_first(row, ("score", "relevance")) or 0)
            grades.setdefault(split, {}).setdefault(query, {})[page] = grade
    own = _own_splits(set(grades), settings)
    if not own:
        log.info("%s judges %s only: train and eval are drawn", settings.path, ", ".join(grades))

    def pages(start: int) -> Iterator[Row]:
        for number, row in _numbered(parts["corpus"], start):
            yield [_beir_page(row, f"corpus:{number}", settings)]

    def queries(start: int) -> Iterator[Row]:
        for number, row in _numbered(parts["queries"], start):
            key, text = str(_first(row, IDS)), str(_first(row, (settings.query, "text")) or "")
            yield [
                SourceQuery(text, "given", f"queries:{number}", graded[key], own.get(split))
                for split, graded in grades.items()
                if key in graded and (split in own or not own)
            ]

    return {"corpus": pages, "queries": queries}


_KEYS = ("query-id", "corpus-id")


def _own_splits(found: set[str], settings: Hub) -> dict[str, str]:
    """Publisher's split to ours, where both train and eval are there; else nothing."""
    result = {}
    for role, name in (("train", settings.train), ("eval", settings.eval)):
        known = [alias for alias in (name, *hub_splits.ALIASES[role]) if alias in found]
        if known:
            result[known[0]] = role
    return result if set(result.values()) == {"train", "eval"} else {}


def _numbered(splits: dict[str, Open], start: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of all splits of a config, numbered from 1, from row `start` on."""
    number = 0
    for opened in splits.values():
        for row in hub_splits.undecoded(opened()):
            number += 1
            if number > start:
                yield number, hub_splits.with_bytes(row)


def _beir_page(row: Mapping[str, Any], where: str, settings: Hub) -> SourcePage:
    key, text = str(_first(row, IDS)), _first(row, ("text", "markdown"))
    reading = cells.Reading("", "", "", None, settings.allow_urls)
    try:
        image = cells.read(row.get(settings.image), reading)
    except cells.BadCellError as error:
        return SourcePage(key=key, origin=where, problem=str(error))
    document = _first(row, ("document_id", "doc-id", "doc_id"))
    return SourcePage(
        key=key,
        origin=where,
        image=image,
        text=str(text) if text else None,
        document_id=None if document is None else str(document),
    )


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:  # noqa: ANN401  # a cell
    return next((row[name] for name in names if name in row), None)
