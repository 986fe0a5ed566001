"""The three-table layout of BEIR, MTEB and ViDoRe: configs `corpus`, `queries` and `qrels`."""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pagefinder.errors import InputError
from pagefinder.params import Hub
from pagefinder.sources import cells, hub_splits, images
from pagefinder.sources.hub_splits import Configs, OpenSplit
from pagefinder.sources.images import Access
from pagefinder.sources.storing import Row, SourcePage, SourceQuery

log = logging.getLogger(__name__)

UNKNOWN = "unknown query: a judgement names it, and nothing in the source has this id"
IDS = ("_id", "id", "corpus-id", "query-id", "corpus_id", "query_id")
QUERY_IDS, PAGE_IDS = ("query-id", "query_id"), ("corpus-id", "corpus_id")
GRADES = ("score", "relevance")
TEXTS = ("text", "markdown")
DOCUMENTS = ("document_id", "doc-id", "doc_id")
NUMBERS = ("page_number", "page_number_in_doc", "page-number", "page_num", "page")


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
    used = {split: by_query for split, by_query in relevance.items() if split in roles or not roles}
    if not roles:
        log.info("%s judges %s only: train and eval are drawn", settings.path, ", ".join(relevance))
    elif unused := sorted(set(relevance) - set(used)):
        log.warning("%s: the judgements of %s are not used", settings.path, ", ".join(unused))

    def pages(start: int) -> Iterator[Row]:
        columns = (*IDS, settings.image, *TEXTS, *DOCUMENTS, *NUMBERS)
        for number, row in _numbered(configs, "corpus", start, columns):
            yield [_page(row, f"corpus:{number}", settings, access)]

    def queries(start: int) -> Iterator[Row]:
        text_columns = (settings.query, "text")
        for number, row in _numbered(configs, "queries", start, (*IDS, *text_columns)):
            query_id, text = str(_cell(row, IDS)), str(_cell(row, text_columns) or "")
            where = f"queries:{number}"
            judged = [
                SourceQuery(text, "given", where, by_query[query_id], roles.get(split))
                for split, by_query in used.items()
                if query_id in by_query
            ]
            # A question that nobody judges is stored all the same, so that it is counted.
            yield judged or [SourceQuery(text, "given", where, {})]

    def unknown(start: int) -> Iterator[Row]:
        query_ids = {str(_cell(row, IDS)) for _, row in _numbered(configs, "queries", 0, IDS)}
        missing = [
            SourceQuery(query_id, "given", f"qrels {split}", by_query[query_id], problem=UNKNOWN)
            for split, by_query in used.items()
            for query_id in by_query
            if query_id not in query_ids
        ]
        yield from ([query] for query in missing[start:])

    return {"corpus": pages, "queries": queries, "unknown queries": unknown}


def _relevance(qrels: dict[str, OpenSplit]) -> dict[str, dict[str, dict[str, int]]]:
    """Split -> query -> page -> relevance, from the qrels of each split."""
    relevance: dict[str, dict[str, dict[str, int]]] = {}
    columns = (*QUERY_IDS, *PAGE_IDS, *GRADES)
    for split in qrels:
        for number, row in _numbered({"qrels": {split: qrels[split]}}, "qrels", 0, columns):
            query_id, page_id = str(_cell(row, QUERY_IDS)), str(_cell(row, PAGE_IDS))
            grade = _grade(_cell(row, GRADES), f"qrels {split}:{number}")
            relevance.setdefault(split, {}).setdefault(query_id, {})[page_id] = grade
    return relevance


def _grade(value: Any, where: str) -> int:  # noqa: ANN401  # a cell
    """The relevance in a cell, 0 for an empty one; InputError for what is no small whole number."""
    try:
        grade = float(value or 0)
    except (ValueError, TypeError, OverflowError):
        grade = 0.5
    if not grade.is_integer() or abs(grade) >= 2**31:
        raise InputError(f"{where} has the relevance {value!r}: write a whole number, 0 for none")
    return int(grade)


def _roles(splits: set[str], settings: Hub) -> dict[str, str]:
    """Publisher's split -> train, eval or dev; empty unless train and eval are there."""
    roles: dict[str, str] = {}
    for role, name in (("train", settings.train), ("eval", settings.eval), ("dev", "dev")):
        aliases = [alias for alias in (name, *hub_splits.ALIASES[role]) if alias in splits]
        free = [alias for alias in aliases if alias not in roles]
        if free:
            roles[free[0]] = role
    return roles if set(roles.values()) >= {"train", "eval"} else {}


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
    number = _cell(row, NUMBERS)
    return SourcePage(
        key=key,
        origin=where,
        image=image,
        text=str(text) if text else None,
        document_id=None if document is None else str(document),
        page_number=cells.page_number(number),
    )


def _cell(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:  # noqa: ANN401  # a cell
    """The cell of the first column in `names` that the row has; None if it has no such column."""
    return next((row[name] for name in names if name in row), None)
