"""The generated documents as a source: the pages of `generated`, encoded and numbered."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from pagefinder.data import pixels
from pagefinder.params import Params
from pagefinder.sources.generated.reports import GeneratedPage, GeneratedQuery, pages_and_queries
from pagefinder.sources.storing import Row, Source, SourcePage, SourceQuery


def open_source(params: Params, root: Path) -> Source:
    """Pages that are drawn while they are stored; nothing in `root` is read."""
    settings, seed = params.data.generated, params.seed

    def rows(start: int) -> Iterator[Row]:
        drawn = itertools.islice(pages_and_queries(settings, seed), start, None)
        return ([_page(page), *map(_query, queries)] for page, queries in drawn)

    return Source("generated", {"pages": rows}, {"settings": settings.model_dump(), "seed": seed})


def _page(page: GeneratedPage) -> SourcePage:
    return SourcePage(
        key=page.key,
        origin=f"generated {page.key}",
        image=pixels.encode_png(page.image),
        document_id=page.document_id,
        page_number=page.page_number,
        split=page.split,
        kind=page.kind,
        text=page.text,
    )


def _query(query: GeneratedQuery) -> SourceQuery:
    return SourceQuery(
        text=query.text,
        origin=query.origin,
        where=f"generated {query.key}",
        relevance={query.page: 1},
        split=query.split,
    )
