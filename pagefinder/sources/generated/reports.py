"""The embedded default: yearly reports of invented companies, and questions about them.

Every page is a slide of 32 by 12 characters. Its near-misses are built in: the same slide of
another quarter, the same metric in another year or at another company, a company with the same
first or second name. Nothing here is true of any company.
"""

import itertools
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from pagefinder.params import Generated
from pagefinder.sources.generated.invented import FIRST_NAMES, LAST_NAMES, METRICS
from pagefinder.sources.generated.slides import Fact, Question, Report, slides

LOOKUPS = 0.45  # share of questions that name a figure


@dataclass(frozen=True)
class GeneratedPage:
    """A page as drawn, with the text that stands on it."""

    key: str
    document_id: str
    page_number: int
    split: str
    kind: str
    text: str
    image: Image.Image


@dataclass(frozen=True)
class GeneratedQuery:
    """A question and the key of the one page that answers it."""

    key: str
    text: str
    split: str
    origin: str
    page: str


def companies(count: int) -> list[str]:
    """`count` names such that each first and each last name is shared by several companies."""
    if count > len(FIRST_NAMES) * len(LAST_NAMES):
        raise ValueError(f"{count} companies, but there are names for 160 only")
    # Walk diagonally through the table of names, so that few companies already share both parts.
    pairs = (
        (FIRST_NAMES[number // 2 % len(FIRST_NAMES)], LAST_NAMES[(number * 3 + lap) % 8])
        for lap in range(8)
        for number in range(2 * len(FIRST_NAMES))
    )
    names = dict.fromkeys(f"{first} {last}" for first, last in pairs)
    return list(itertools.islice(names, count))


def reports(settings: Generated, seed: int) -> list[Report]:
    """All reports, `eval_share` of them in the eval split."""
    names = companies(settings.companies)
    years = range(2024 - settings.years, 2024)
    pairs = [(company, year) for company in names for year in years]
    rng = random.Random(f"reports {seed}")
    held_out = set(rng.sample(pairs, max(1, round(len(pairs) * settings.eval_share))))
    return [
        Report(
            company,
            year,
            "eval" if (company, year) in held_out else "train",
            tuple(rng.sample(list(METRICS), 11)),
        )
        for company, year in pairs
    ]


def pages_and_queries(
    settings: Generated, seed: int
) -> Iterator[tuple[GeneratedPage, list[GeneratedQuery]]]:
    """Every page with its questions: one for a train page, `eval_queries` a report for eval."""
    documents = reports(settings, seed)
    # Slides are cheap until they are drawn, so all are made first: to see which facts are unique.
    decks = [list(slides(report, _rng(seed, report))) for report in documents]
    counts = Counter(fact for deck in decks for slide in deck for fact in slide.facts)
    for report, deck in zip(documents, decks, strict=True):
        rng = random.Random(f"questions {seed} {report.document_id}")
        asked = set(range(len(deck)))
        if report.split == "eval":
            asked = set(rng.sample(sorted(asked), min(settings.eval_queries, len(deck))))
        for number, slide in enumerate(deck):
            key = f"{report.document_id}-{number + 1}"
            canvas = slide.draw()
            page = GeneratedPage(
                key,
                report.document_id,
                number + 1,
                report.split,
                slide.kind,
                canvas.text,
                canvas.image,
            )
            question = _choose(slide.questions, counts, rng)
            query = GeneratedQuery(key, question.text, report.split, question.origin, key)
            yield page, [query] if number in asked else []


def _rng(seed: int, report: Report) -> random.Random:
    return random.Random(f"{seed} {report.document_id}")


def _choose(questions: list[Question], counts: Counter[Fact], rng: random.Random) -> Question:
    """A lookup with probability LOOKUPS, where one has a single answer, else another question."""
    lookups = [question for question in questions if question.fact and counts[question.fact] == 1]
    if lookups and rng.random() < LOOKUPS:
        return rng.choice(lookups)
    return rng.choice([question for question in questions if not question.fact])
