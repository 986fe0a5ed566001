"""The embedded default: yearly reports of invented companies, and questions about them.

Every page is a slide of 32 by 12 characters. A metric stands on one kind of page in each report, so
that a question has exactly one right page; its near-misses are built in: the same slide of another
quarter, the same metric in another year or at another company, a company with the same first or
second name. Nothing here is true of any company.
"""

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PIL import Image

from pagefinder import drawing
from pagefinder.params import Generated

FIRST_NAMES = (
    "Alder Birch Cobalt Delta Ember Falcon Granite Harbor Ivory Juniper Kestrel Lumen Marble "
    "Nimbus Opal Pioneer Quartz Raven Saffron Tundra"
).split()
LAST_NAMES = "Foods Motors Energy Rail Media Bank Steel Textiles".split()

# What a page calls a metric, what a question may call it, and its unit.
METRICS: dict[str, tuple[tuple[str, ...], str]] = {
    "revenue": (("sales", "turnover"), "m"),
    "net profit": (("earnings after tax", "bottom line"), "m"),
    "headcount": (("number of employees", "staff size"), ""),
    "free cash flow": (("cash left after investment", "spare cash"), "m"),
    "order intake": (("new orders", "bookings"), "m"),
    "research spend": (("development budget", "money for research"), "m"),
    "energy use": (("power consumption", "electricity used"), "GWh"),
    "CO2 emissions": (("carbon output", "greenhouse gases"), "kt"),
    "net debt": (("borrowings", "money owed"), "m"),
    "gross margin": (("margin before overheads", "markup"), "%"),
    "customer churn": (("lost customers", "clients leaving"), "%"),
    "store count": (("number of shops", "outlets"), ""),
    "web visits": (("site traffic", "online visitors"), "k"),
    "delivery time": (("days to ship", "shipping delay"), "d"),
    "return rate": (("goods sent back", "refunds"), "%"),
    "market share": (("slice of the market", "market position"), "%"),
    "dividend": (("payout to owners", "cash per share"), "ct"),
    "share price": (("stock quote", "value of a share"), "EUR"),
    "tax rate": (("taxes due", "fiscal burden"), "%"),
    "capex": (("capital spending", "plant investment"), "m"),
    "inventory": (("stock on hand", "goods in store"), "m"),
    "warranty claims": (("faults reported", "repair requests"), ""),
    "training hours": (("time in courses", "staff education"), "h"),
    "water use": (("water consumption", "water drawn"), "kl"),
    "sick leave": (("days off ill", "absence"), "d"),
    "accidents": (("injuries at work", "safety incidents"), ""),
}
QUARTERS = {1: "first", 2: "second", 3: "third", 4: "fourth"}
REGIONS = ("North", "South", "East", "West", "Centre")
SEGMENTS = ("Retail", "Online", "Export", "Leasing", "Service")
CAUSES = {
    "a new plant in Lyon": "a factory opened",
    "a strike in spring": "workers walked out",
    "higher fuel prices": "petrol cost more",
    "a cheaper supplier": "parts were bought for less",
    "the merger in May": "two firms were joined",
    "a wave of hiring": "many people were taken on",
    "a mild winter": "the weather was warm",
    "a lost lawsuit": "a court ruled against it",
    "software from Oslo": "a program was introduced",
    "a recall of brakes": "a part had to be replaced",
}
ACCENTS = ((32, 64, 128), (120, 40, 40), (24, 96, 72), (88, 56, 120), (112, 72, 16))


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


Question = tuple[str, str]  # origin, text
Slide = tuple[str, drawing.Canvas, list[Question]]  # kind, page, its questions


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
    for report in reports(settings, seed):
        rng = random.Random(f"{seed} {report.document_id}")
        slides = list(_slides(report, rng))
        asked = set(range(len(slides)))
        if report.split == "eval":
            asked = set(rng.sample(sorted(asked), min(settings.eval_queries, len(slides))))
        for number, (kind, canvas, questions) in enumerate(slides):
            key = f"{report.document_id}-{number + 1}"
            page = GeneratedPage(
                key, report.document_id, number + 1, report.split, kind, canvas.text, canvas.image
            )
            origin, text = rng.choice(questions)
            query = GeneratedQuery(key, text, report.split, origin, key)
            yield page, [query] if number in asked else []


def _slides(report: Report, rng: random.Random) -> Iterator[Slide]:
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
    value = rng.randint(11, 99) / 10 if unit == "%" else rng.randint(12, 980)
    return value, f"{value}{unit}" if unit in ("%", "") else f"{value} {unit}"


def _named(metric: str, rng: random.Random) -> tuple[str, bool]:
    """A metric as a question names it, and whether that is a paraphrase."""
    if rng.random() < 0.35:
        return rng.choice(METRICS[metric][0]), True
    return metric, False


def _key_figures(
    report: Report,
    rng: random.Random,
    accent: drawing.Colour,
    quarter: int,
    metrics: list[str],
) -> Slide:
    canvas = _canvas(report, accent, f"Key figures Q{quarter} {report.year}")
    for place, metric in enumerate(metrics):
        _, printed = _figure(rng, METRICS[metric][1])
        drawing.write(canvas, 3 + 3 * place, 2, printed, accent)
        drawing.write(canvas, 4 + 3 * place, 2, metric)
    questions = []
    for metric in metrics:
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
        questions.append(("paraphrase" if paraphrase else "what", text))
    return "key figures", canvas, questions


def _table(report: Report, rng: random.Random, accent: drawing.Colour, metric: str) -> Slide:
    canvas = _canvas(report, accent, f"{metric} by region {report.year}")
    rows = rng.sample(REGIONS, 4)
    unit = METRICS[metric][1]
    lines = [["Region", "H1", "H2"]]
    lines += [[region, _figure(rng, unit)[1], _figure(rng, unit)[1]] for region in rows]
    drawing.table(canvas, 3, lines, (0, 12, 22))
    region, half = rng.choice(rows), rng.choice(("first", "second"))
    name, paraphrase = _named(metric, rng)
    text = rng.choice(
        (
            f"How much {name} did {report.company} report for {region} in {report.year}?",
            f"What was {name} in the {region} at {report.company}, {half} half of {report.year}?",
            f"{report.company} {report.year}: {name} in {region}",
        )
    )
    return "table", canvas, [("paraphrase" if paraphrase else "how much", text)]


def _bars(report: Report, rng: random.Random, accent: drawing.Colour, metric: str) -> Slide:
    canvas = _canvas(report, accent, f"{metric} by segment {report.year}")
    names = rng.sample(SEGMENTS, 4)
    figures = [_figure(rng, METRICS[metric][1]) for _ in names]
    drawing.horizontal_bars(
        canvas, 4, names, [value for value, _ in figures], [text for _, text in figures], 10
    )
    name, paraphrase = _named(metric, rng)
    text = rng.choice(
        (
            f"Which segment of {report.company} had the highest {name} in {report.year}?",
            f"Which part of {report.company} was weakest in {name} in {report.year}?",
            f"How does {name} of {report.company} split by segment in {report.year}?",
        )
    )
    return "bar chart", canvas, [("paraphrase" if paraphrase else "which", text)]


def _line(report: Report, rng: random.Random, accent: drawing.Colour, metric: str) -> Slide:
    canvas = _canvas(report, accent, f"{metric} per quarter {report.year}")
    figures = [_figure(rng, METRICS[metric][1]) for _ in QUARTERS]
    drawing.line_chart(
        canvas,
        3,
        [f"Q{quarter}" for quarter in QUARTERS],
        [value for value, _ in figures],
        [text.split()[0] for _, text in figures],
        9,
    )
    name, paraphrase = _named(metric, rng)
    text = rng.choice(
        (
            f"Did {name} at {report.company} rise or fall over {report.year}?",
            f"Was {name} of {report.company} higher in Q4 than in Q1 of {report.year}?",
            f"In which quarter of {report.year} did {name} peak at {report.company}?",
        )
    )
    return "line chart", canvas, [("paraphrase" if paraphrase else "comparison", text)]


def _note(report: Report, rng: random.Random, accent: drawing.Colour, metric: str) -> Slide:
    canvas = _canvas(report, accent, f"Note on {metric} {report.year}")
    up = rng.random() < 0.5
    cause = rng.choice(list(CAUSES))
    share = rng.randint(2, 38)
    text = (
        f"In {report.year} {metric} of {report.company} {'rose' if up else 'fell'} by {share}% "
        f"after {cause}. We expect it to {'hold' if up else 'recover'}."
    )
    drawing.paragraph(canvas, 3, text)
    name, paraphrase = _named(metric, rng)
    direction = "go up" if up else "go down"
    text = rng.choice(
        (
            f"Why did {name} of {report.company} {direction} in {report.year}?",
            f"What happened to {name} at {report.company} in {report.year} after {cause}?",
            f"{report.company} {report.year}: {name} once {CAUSES[cause]}",
        )
    )
    return "note", canvas, [("paraphrase" if paraphrase else "why", text)]
