"""The twelve pages of a generated report, each with questions that it answers.

A metric stands on one kind of page in each report, so that a question that names company, metric
and period has exactly one answer. Lookups name a figure instead and leave the company or the
period to be found.
"""

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pagefinder.sources.generated import drawing
from pagefinder.sources.generated.invented import CAUSES, METRICS, QUARTERS, REGIONS, SEGMENTS
from pagefinder.sources.generated.reports import Report

ACCENTS = ((32, 64, 128), (120, 40, 40), (24, 96, 72), (88, 56, 120), (112, 72, 16))


Fact = tuple[str | int, ...]  # what a lookup names, e.g. (company, metric, figure)


@dataclass(frozen=True)
class Question:
    """A question that a page answers. A lookup names a figure; only lookups have a fact.

    A lookup is asked only if no other page holds its fact.
    """

    origin: str
    text: str
    fact: Fact = ()


@dataclass(frozen=True)
class Slide:
    """A page before it is drawn.

    Attributes:
        kind: The kind of page, e.g. `table`.
        draw: Draws it.
        questions: Questions that the page answers, lookups included.
        facts: All facts on the page that a lookup of any page might name.
    """

    kind: str
    draw: Callable[[], drawing.Canvas]
    questions: list[Question]
    facts: set[Fact]


@dataclass(frozen=True)
class Deck:
    """A report whose slides are being made: its colour, and the draw of figures and words."""

    report: Report
    accent: drawing.Colour
    rng: random.Random


def slides(report: Report, rng: random.Random) -> Iterator[Slide]:
    """The twelve pages of a report."""
    deck = Deck(report, rng.choice(ACCENTS), rng)
    metrics = iter(report.metrics)
    key_figures = list(itertools.islice(metrics, 3))
    for quarter in QUARTERS:
        yield _key_figures(deck, quarter, key_figures)
    makers: tuple[Callable[[Deck, str], Slide], ...] = (_table, _bars, _line, _note)
    for make, metric in zip(makers * 2, metrics, strict=True):
        yield make(deck, metric)


def _canvas(deck: Deck, heading: str) -> drawing.Canvas:
    """A page with the company's name and a heading."""
    canvas = drawing.new_canvas(accent=deck.accent)
    drawing.title(canvas, 0, deck.report.company)
    drawing.title(canvas, 1, heading, band=False)
    return canvas


def _figure(metric: str, rng: random.Random) -> tuple[float, str]:
    """A random value of a metric, and the text that is printed for it."""
    unit = METRICS[metric].unit
    value = rng.randint(101, 998) / 100 if unit == "%" else rng.randint(12, 980)
    return value, f"{value}{unit}" if unit in ("%", "") else f"{value} {unit}"


def _alias(metric: str, rng: random.Random) -> tuple[str, bool]:
    """A metric's name in a question, and whether it is a paraphrase of the printed name."""
    if rng.random() < 0.35:
        return rng.choice(METRICS[metric].aliases), True
    return metric, False


def _lookups(deck: Deck, metric: str, printed: str) -> list[Question]:
    """Two questions that name the printed figure: one leaves out when, the other which company."""
    name, _ = _alias(metric, deck.rng)
    company, year = deck.report.company, deck.report.year
    when = deck.rng.choice(
        (
            f"When was {name} of {company} {printed}?",
            f"{company}: {name} of {printed}",
            f"When did {company} report {name} of {printed}?",
        )
    )
    who = deck.rng.choice(
        (
            f"Which company had {name} of {printed} in {year}?",
            f"{name} of {printed} in {year}",
            f"Who reported {name} of {printed} in {year}?",
        )
    )
    return [
        Question("lookup", when, (company, metric, printed)),
        Question("lookup", who, (metric, printed, year)),
    ]


def _questions(
    deck: Deck,
    metric: str,
    origin: str,
    figures: list[str],
    forms: tuple[str, ...],
    **words: str,
) -> list[Question]:
    """A question in one of `forms`, and lookups of one of the page's figures."""
    name, paraphrase = _alias(metric, deck.rng)
    form = deck.rng.choice(forms)
    text = form.format(name=name, company=deck.report.company, year=deck.report.year, **words)
    question = Question("paraphrase" if paraphrase else origin, text)
    return [question, *_lookups(deck, metric, deck.rng.choice(figures))]


def _facts(report: Report, metric: str, figures: list[str]) -> set[Fact]:
    """The facts that `_lookups` may name, of all figures of a metric on a page."""
    facts: set[Fact] = {(report.company, metric, printed) for printed in figures}
    return facts | {(metric, printed, report.year) for printed in figures}


def _key_figures(deck: Deck, quarter: int, metrics: list[str]) -> Slide:
    """Three metrics of a quarter, each with its figure."""
    company, year, rng = deck.report.company, deck.report.year, deck.rng
    figures = [_figure(metric, rng)[1] for metric in metrics]
    questions, facts = [], set[Fact]()
    for metric, printed in zip(metrics, figures, strict=True):
        name, paraphrase = _alias(metric, rng)
        in_words = rng.random() < 0.4
        when = f"the {QUARTERS[quarter]} quarter of" if in_words else f"Q{quarter}"
        text = rng.choice(
            (
                f"What was the {name} of {company} in {when} {year}?",
                f"{company} {name} {when} {year}",
                f"How high was {name} at {company} in {when} {year}?",
            )
        )
        questions.append(Question("paraphrase" if paraphrase else "what", text))
        questions += _lookups(deck, metric, printed)
        facts |= _facts(deck.report, metric, [printed])

    def draw() -> drawing.Canvas:
        canvas = _canvas(deck, f"Key figures Q{quarter} {year}")
        for place, (metric, printed) in enumerate(zip(metrics, figures, strict=True)):
            drawing.write(canvas, 3 + 3 * place, 2, printed, deck.accent)
            drawing.write(canvas, 4 + 3 * place, 2, metric)
        return canvas

    return Slide("key figures", draw, questions, facts)


def _table(deck: Deck, metric: str) -> Slide:
    """A table of a metric by region."""
    regions = deck.rng.sample(REGIONS, 4)
    lines = [["Region", "H1", "H2"]]
    lines += [[name, *(_figure(metric, deck.rng)[1] for _ in range(2))] for name in regions]
    region, half = deck.rng.choice(regions), deck.rng.choice(("first", "second"))
    figures = [figure for line in lines[1:] for figure in line[1:]]
    forms = (
        "How much {name} did {company} report for {region} in {year}?",
        "What was {name} in the {region} at {company}, {half} half of {year}?",
        "{company} {year}: {name} in {region}",
    )
    questions = _questions(deck, metric, "how much", figures, forms, region=region, half=half)

    def draw() -> drawing.Canvas:
        canvas = _canvas(deck, f"{metric} by region {deck.report.year}")
        drawing.table(canvas, 3, lines, (0, 12, 22))
        return canvas

    return Slide("table", draw, questions, _facts(deck.report, metric, figures))


def _bars(deck: Deck, metric: str) -> Slide:
    """A bar chart of a metric by segment."""
    segments = deck.rng.sample(SEGMENTS, 4)
    values, figures = zip(*(_figure(metric, deck.rng) for _ in segments), strict=True)
    forms = (
        "Which segment of {company} had the highest {name} in {year}?",
        "Which part of {company} was weakest in {name} in {year}?",
        "How does {name} of {company} split by segment in {year}?",
    )
    questions = _questions(deck, metric, "which", list(figures), forms)

    def draw() -> drawing.Canvas:
        canvas = _canvas(deck, f"{metric} by segment {deck.report.year}")
        drawing.horizontal_bars(canvas, 4, segments, values, figures, 10)
        return canvas

    return Slide("bar chart", draw, questions, _facts(deck.report, metric, list(figures)))


def _line(deck: Deck, metric: str) -> Slide:
    """A line chart of a metric by quarter."""
    values, figures = zip(*(_figure(metric, deck.rng) for _ in QUARTERS), strict=True)
    forms = (
        "Did {name} at {company} rise or fall over {year}?",
        "Was {name} of {company} higher in Q4 than in Q1 of {year}?",
        "In which quarter of {year} did {name} peak at {company}?",
    )
    questions = _questions(deck, metric, "comparison", list(figures), forms)

    def draw() -> drawing.Canvas:
        canvas = _canvas(deck, f"{metric} per quarter {deck.report.year}")
        labels = [f"Q{quarter}" for quarter in QUARTERS]
        # Four figures to a page leave no room for their units.
        drawing.line_chart(canvas, 3, labels, values, [text.split()[0] for text in figures], 9)
        return canvas

    return Slide("line chart", draw, questions, _facts(deck.report, metric, list(figures)))


def _note(deck: Deck, metric: str) -> Slide:
    """A text on why a metric rose or fell."""
    company, year, rng = deck.report.company, deck.report.year, deck.rng
    up = rng.random() < 0.5
    cause = rng.choice(list(CAUSES))
    share = f"{rng.randint(2, 98)}%"
    name, paraphrase = _alias(metric, rng)
    text = rng.choice(
        (
            f"Why did {name} of {company} go {'up' if up else 'down'} in {year}?",
            f"What happened to {name} at {company} in {year} after {cause}?",
            f"{company} {year}: {name} once {CAUSES[cause]}",
        )
    )
    change = "rose" if up else "fell"
    lookup = rng.choice(
        (f"What {change} by {share} at {company}?", f"{company} {change} by {share}")
    )
    fact = (company, change, share)
    questions = [
        Question("paraphrase" if paraphrase else "why", text),
        Question("lookup", lookup, fact),
    ]

    def draw() -> drawing.Canvas:
        canvas = _canvas(deck, f"Note on {metric} {year}")
        sentence = f"In {year} {metric} of {company} {change} by {share} after {cause}."
        outlook = f"We expect it to {'hold' if up else 'recover'}."
        drawing.paragraph(canvas, 3, f"{sentence} {outlook}")
        return canvas

    return Slide("note", draw, questions, {fact})
