"""The embedded default: yearly reports of invented companies, and questions about them.

Every page is a slide of 32 by 12 characters. Its near-misses are built in: the same slide of
another quarter, the same metric in another year or at another company, a company with the same
first or second name. Nothing here is true of any company.
"""

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pagefinder.data import pixels
from pagefinder.params import Generated, Params
from pagefinder.sources.generated.reports import reports
from pagefinder.sources.generated.slides import Fact, Question, Slide, slides
from pagefinder.sources.storing import Row, Source, SourcePage, SourceQuery

LOOKUPS = 0.45  # share of questions that name a figure


def open_source(params: Params, root: Path) -> Source:
    """The source `generated`: pages are drawn while they are stored; `root` is not read."""
    settings, seed = params.data.generated, params.seed

    def rows(start: int) -> Iterator[Row]:
        return itertools.islice(pages_and_queries(settings, seed), start, None)

    return Source("generated", {"pages": rows}, {"settings": settings.model_dump(), "seed": seed})


def pages_and_queries(settings: Generated, seed: int) -> Iterator[Row]:
    """A row for each page: the page and, unless it has none, its question.

    Each page of a train report has a question; of an eval report `eval_queries` pages have one.
    """
    documents = reports(settings, seed)
    # Slides are cheap until they are drawn, so all are made first: to see which facts are unique.
    decks = [
        list(slides(report, random.Random(f"{seed} {report.document_id}"))) for report in documents
    ]
    counts = Counter(fact for deck in decks for slide in deck for fact in slide.facts)
    for report, deck in zip(documents, decks, strict=True):
        rng = random.Random(f"questions {seed} {report.document_id}")
        with_query = set(range(len(deck)))
        if report.split == "eval":
            count = min(settings.eval_queries, len(deck))
            with_query = set(rng.sample(sorted(with_query), count))
        for number, slide in enumerate(deck):
            page = _page(slide, report.document_id, number + 1, report.split)
            question = _choose(slide.questions, counts, rng)
            yield [page, _query(question, page)] if number in with_query else [page]


def _page(slide: Slide, document_id: str, number: int, split: str) -> SourcePage:
    """The page that the slide draws; `number` counts from 1 in its document."""
    canvas = slide.draw()
    key = f"{document_id}-{number}"
    return SourcePage(
        key=key,
        origin=f"generated {key}",
        image=pixels.encode_png(canvas.image),
        document_id=document_id,
        page_number=number,
        split=split,
        kind=slide.kind,
        text=canvas.text,
    )


def _query(question: Question, page: SourcePage) -> SourceQuery:
    """The question as a query whose only answer is the page."""
    return SourceQuery(
        text=question.text,
        origin=question.origin,
        where=page.origin,
        relevance={page.key: 1},
        split=page.split,
    )


def _choose(questions: list[Question], counts: Counter[Fact], rng: random.Random) -> Question:
    """Choose a question of a page: with probability LOOKUPS a lookup, if one has a single answer.

    `counts`: on how many pages each fact stands.
    """
    lookups = [question for question in questions if question.fact and counts[question.fact] == 1]
    if lookups and rng.random() < LOOKUPS:
        return rng.choice(lookups)
    return rng.choice([question for question in questions if not question.fact])
