"""The three-table layout of BEIR, MTEB and ViDoRe: configs `corpus`, `queries` and `qrels`."""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pagefinder.errors import InputError
from pagefinder.params import Hub
from pagefinder.sources import hub_splits, images
from pagefinder.sources.hub_splits import Configs, OpenSplit
from pagefinder.sources.images import Access
from pagefinder.sources.storing import Row, SourcePage, SourceQuery

log = logging.getLogger(__name__)

IDS = ("_id", "id", "corpus-id", "query-id", "corpus_id", "query_id")
TEXTS = ("text", "markdown")
DOCUMENTS = ("document_id", "doc-id", "doc_id")


def parts(
    configs: Configs, settings: Hub, access: Access
) -> dict[str, Callable[[int], Iterator[Row]]]:
    """Part (corpus, queries) -> function that yields its rows from a row number on.

    Args:
        configs: The configs of the dataset.
        settings: Params that name the columns.
        access: What the cells may open.

    Raises:
        InputError: the dataset has no qrels.
    """
    qrels = configs.get("qrels") or configs.get("default")
    if qrels is None:
        raise InputError(
            f"{settings.path!r} has corpus and queries, but no qrels: {hub_splits.listing(configs)}"
        )
    relevance = _relevance(qrels)
    roles = _roles(set(relevance), settings)
    if not roles:
        log.info("%s judges %s only: train and eval are drawn", settings.path, ", ".join(relevance))

    def pages(start: int) -> Iterator[Row]:
        columns = (*IDS, settings.image, *TEXTS, *DOCUMENTS)
        for number, row in _numbered(configs, "corpus", start, columns):
            yield [_page(row, f"corpus:{number}", settings, access)]

    def queries(start: int) -> Iterator[Row]:
        text_columns = (settings.query, "text")
        for number, row in _numbered(configs, "queries", start, (*IDS, *text_columns)):
            query_id, text = str(_cell(row, IDS)), str(_cell(row, text_columns) or "")
            where = f"queries:{number}"
            yield [
                SourceQuery(text, "given", where, by_query[query_id], roles.get(split))
                for split, by_query in relevance.items()
                if query_id in by_query and (split in roles or not roles)
            ]

    return {"corpus": pages, "queries": queries}


def _relevance(qrels: dict[str, OpenSplit]) -> dict[str, dict[str, dict[str, int]]]:
    """Split -> query -> page -> relevance, from the qrels of each split."""
    relevance: dict[str, dict[str, dict[str, int]]] = {}
    for split, open_split in qrels.items():
        for row in open_split():
            query_id = str(_cell(row, ("query-id", "query_id")))
            page_id = str(_cell(row, ("corpus-id", "corpus_id")))
            grade = int(_cell(row, ("score", "relevance")) or 0)
            relevance.setdefault(split, {}).setdefault(query_id, {})[page_id] = grade
    return relevance


def _roles(splits: set[str], settings: Hub) -> dict[str, str]:
    """Publisher's split -> train or eval; empty unless both are there."""
    roles = {}
    for role, name in (("train", settings.train), ("eval", settings.eval)):
        aliases = [alias for alias in (name, *hub_splits.ALIASES[role]) if alias in splits]
        if aliases:
            roles[aliases[0]] = role
    return roles if set(roles.values()) == {"train", "eval"} else {}


def _numbered(
    configs: Configs, config: str, start: int, columns: tuple[str, ...]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of all splits of a config with `columns` only, numbered from 1, without the first."""
    number = 0
    for split, open_split in configs[config].items():
        dataset = hub_splits.undecoded(open_split())
        present = [name for name in dataset.features if name in columns]
        rows = hub_splits.numbered(dataset.select_columns(present), f"{config} {split}", 0)
        for _, row in rows:
            number += 1
            if number > start:
                yield number, row


def _page(row: Mapping[str, Any], where: str, settings: Hub, access: Access) -> SourcePage:
    """The page of a corpus row; `where` is its origin. An unreadable image becomes a problem."""
    key, text = str(_cell(row, IDS)), _cell(row, TEXTS)
    try:
        image = images.read(row.get(settings.image), access)
    except images.BadCellError as error:
        return SourcePage(key=key, origin=where, problem=str(error))
    document = _cell(row, DOCUMENTS)
    return SourcePage(
        key=key,
        origin=where,
        image=image,
        text=str(text) if text else None,
        document_id=None if document is None else str(document),
    )


def _cell(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:  # noqa: ANN401  # a cell
    """The cell of the first column in `names` that the row has; None if it has no such column."""
    return next((row[name] for name in names if name in row), None)
