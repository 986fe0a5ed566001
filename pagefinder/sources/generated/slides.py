"""The twelve pages of a generated report, each with questions that it answers.

A metric stands on one kind of page in each report, so that a question that names company, metric
and period has exactly one right page. Lookups name a figure instead and leave the company or the
period to be found.
"""

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pagefinder.sources.generated import drawing
from pagefinder.sources.generated.invented import CAUSES, METRICS, QUARTERS, REGIONS, SEGMENTS

ACCENTS = ((32, 64, 128), (120, 40, 40), (24, 96, 72), (88, 56, 120), (112, 72, 16))


@dataclass(frozen=True)
class Report:
    """One company's report of one year: what is on its pages."""

    company: str
    year: int
    split: str
    metrics: tuple[str, ...]  # in random order; each kind of page takes its own

    @property
    def document_id(self) -> str:
        """Name of the report, e.g. `alder-foods-2021`."""
        return f"{self.company}-{self.year}".lower().replace(" ", "-")


Fact = tuple[str | int, ...]  # what a lookup names, e.g. (company, metric, figure)


@dataclass(frozen=True)
class Question:
    """A question that a page answers; a lookup is asked only if its fact is on that page alone."""

    origin: str
    text: str
    fact: Fact = ()


@dataclass(frozen=True)
class Slide:
    """A page before it is drawn.

    Attributes:
        kind: The kind of page, e.g. `table`.
        draw: Draws it.
        questions: What it answers, lookups included.
        facts: Every fact that a lookup, of this or another page, might name.
    """

    kind: str
    draw: Callable[[], drawing.Canvas]
    questions: list[Question]
    facts: set[Fact]


def slides(report: Report, rng: random.Random) -> Iterator[Slide]:
    """The twelve pages of a report."""
    accent = rng.choice(ACCENTS)
    metrics = iter(report.metrics)
    key_figures = list(itertools.islice(metrics, 3))
    for quarter in QUARTERS:
        yield _key_figures(report, rng, accent, quarter, key_figures)
    makers: tuple[Callable[..., Slide], ...] = (_table, _bars, _line, _note)
    for maker, metric in zip(makers * 2, metrics, strict=True):
        yield maker(report, rng, accent, metric)


def _canvas(report: Report, accent: drawing.Colour, heading: str) -> drawing.Canvas:
    canvas = drawing.new_canvas(accent=accent)
    drawing.title(canvas, 0, report.company)
    drawing.title(canvas, 1, heading, band=False)
    return canvas


def _figure(rng: random.Random, unit: str) -> tuple[float, str]:
    """A value and how it is printed."""
    value = rng.randint(101, 998) / 100 if unit == "%" else rng.randint(12, 980)
    return value, f"{value}{unit}" if unit in ("%", "") else f"{value} {unit}"


def _named(metric: str, rng: random.Random) -> tuple[str, bool]:
    """A metric as a question names it, and whether that is a paraphrase."""
    if rng.random() < 0.35:
        return rng.choice(METRICS[metric][0]), True
    return metric, False


def _lookups(report: Report, metric: str, printed: str, rng: random.Random) -> list[Question]:
    """Questions that name a figure and ask where it is: only its digits tell the pages apart."""
    name, _ = _named(metric, rng)
    company, year = report.company, report.year
    when = rng.choice(
        (
            f"When was {name} of {company} {printed}?",
            f"{company}: {name} of {printed}",
            f"When did {company} report {name} of {printed}?",
        )
    )
    who = rng.choice(
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
    report: Report,
    metric: str,
    origin: str,
    figures: list[str],
    rng: random.Random,
    forms: tuple[str, ...],
    **words: str,
) -> list[Question]:
    """A question in one of `forms`, and lookups of one of the page's figures."""
    name, paraphrase = _named(metric, rng)
    form = rng.choice(forms)
    text = form.format(name=name, company=report.company, year=report.year, **words)
    question = Question("paraphrase" if paraphrase else origin, text)
    return [question, *_lookups(report, metric, rng.choice(figures), rng)]


def _facts(report: Report, metric: str, figures: list[str]) -> set[Fact]:
    """The facts of `_lookups` for every figure on a page."""
    whens: set[Fact] = {(report.company, metric, printed) for printed in figures}
    return whens | {(metric, printed, report.year) for printed in figures}


def _key_figures(
    report: Report,
    rng: random.Random,
    accent: drawing.Colour,
    quarter: int,
    metrics: list[str],
) -> Slide:
    figures = [_figure(rng, METRICS[metric][1])[1] for metric in metrics]
    questions, facts = [], set[Fact]()
    for metric, printed in zip(metrics, figures, strict=True):
        name, paraphrase = _named(metric, rng)
        spoken = rng.random() < 0.4
        when = f"the {QUARTERS[quarter]} quarter of" if spoken else f"Q{quarter}"
        text = rng.choice(
            (
                f"What was the {name} of {report.company} in {when} {report.year}?",
                f"{report.company} {name} {when} {report.year}",
                f"How high was {name} at {report.company} in {when} {report.year}?",
            )
        )
        questions.append(Question("paraphrase" if paraphrase else "what", text))
        questions += _lookups(report, metric, printed, rng)
        facts |= _facts(report, metric, [printed])

    def draw() -> drawing.Canvas:
        canvas = _canvas(report, accent, f"Key figures Q{quarter} {report.year}")
        for place, (metric, printed) in enumerate(zip(metrics, figures, strict=True)):
            drawing.write(canvas, 3 + 3 * place, 2, printed, accent)
            drawing.write(canvas, 4 + 3 * place, 2, metric)
        return canvas

    return Slide("key figures", draw, questions, facts)


def _table(report: Report, rng: random.Random, accent: drawing.Colour, metric: str) -> Slide:
    rows = rng.sample(REGIONS, 4)
    unit = METRICS[metric][1]
    lines = [["Region", "H1", "H2"]]
    lines += [[region, _figure(rng, unit)[1], _figure(rng, unit)[1]] for region in rows]
    region, half = rng.choice(rows), rng.choice(("first", "second"))
    figures = [figure for line in lines[1:] for figure in line[1:]]
    forms = (
        "How much {name} did {company} report for {region} in {year}?",
        "What was {name} in the {region} at {company}, {half} half of {year}?",
        "{company} {year}: {name} in {region}",
    )
    questions = _questions(
        report, metric, "how much", figures, rng, forms, region=region, half=half
    )

    def draw() -> drawing.Canvas:
        canvas = _canvas(report, accent, f"{metric} by region {report.year}")
        drawing.table(canvas, 3, lines, (0, 12, 22))
        return canvas

    return Slide("table", draw, questions, _facts(report, metric, figures))


def _bars(report: Report, rng: random.Random, accent: drawing.Colour, metric: str) -> Slide:
    names = rng.sample(SEGMENTS, 4)
    pairs = [_figure(rng, METRICS[metric][1]) for _ in names]
    values, figures = [value for value, _ in pairs], [text for _, text in pairs]
    forms = (
        "Which segment of {company} had the highest {name} in {year}?",
        "Which part of {company} was weakest in {name} in {year}?",
        "How does {name} of {company} split by segment in {year}?",
    )
    questions = _questions(report, metric, "which", figures, rng, forms)

    def draw() -> drawing.Canvas:
        canvas = _canvas(report, accent, f"{metric} by segment {report.year}")
        drawing.horizontal_bars(canvas, 4, names, values, figures, 10)
        return canvas

    return Slide("bar chart", draw, questions, _facts(report, metric, figures))


def _line(report: Report, rng: random.Random, accent: drawing.Colour, metric: str) -> Slide:
    pairs = [_figure(rng, METRICS[metric][1]) for _ in QUARTERS]
    values, figures = [value for value, _ in pairs], [text for _, text in pairs]
    forms = (
        "Did {name} at {company} rise or fall over {year}?",
        "Was {name} of {company} higher in Q4 than in Q1 of {year}?",
        "In which quarter of {year} did {name} peak at {company}?",
    )
    questions = _questions(report, metric, "comparison", figures, rng, forms)

    def draw() -> drawing.Canvas:
        canvas = _canvas(report, accent, f"{metric} per quarter {report.year}")
        labels = [f"Q{quarter}" for quarter in QUARTERS]
        # Four figures to a page leave no room for their units.
        drawing.line_chart(canvas, 3, labels, values, [text.split()[0] for text in figures], 9)
        return canvas

    return Slide("line chart", draw, questions, _facts(report, metric, figures))


def _note(report: Report, rng: random.Random, accent: drawing.Colour, metric: str) -> Slide:
    up = rng.random() < 0.5
    cause = rng.choice(list(CAUSES))
    share = f"{rng.randint(2, 98)}%"
    name, paraphrase = _named(metric, rng)
    text = rng.choice(
        (
            f"Why did {name} of {report.company} go {'up' if up else 'down'} in {report.year}?",
            f"What happened to {name} at {report.company} in {report.year} after {cause}?",
            f"{report.company} {report.year}: {name} once {CAUSES[cause]}",
        )
    )
    change = "rose" if up else "fell"
    lookup = rng.choice(
        (f"What {change} by {share} at {report.company}?", f"{report.company} {change} by {share}")
    )
    fact = (report.company, change, share)
    questions = [
        Question("paraphrase" if paraphrase else "why", text),
        Question("lookup", lookup, fact),
    ]

    def draw() -> drawing.Canvas:
        canvas = _canvas(report, accent, f"Note on {metric} {report.year}")
        words = f"In {report.year} {metric} of {report.company} {change} by {share} after {cause}."
        hope = "hold" if up else "recover"
        drawing.paragraph(canvas, 3, f"{words} We expect it to {hope}.")
        return canvas

    return Slide("note", draw, questions, {fact})
