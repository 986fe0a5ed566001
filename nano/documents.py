"""The pretraining corpus: endless pages with questions, drawn from a seed.

Two kinds: `word_sheet` scatters words and asks for some of them (the easy beginning), `family`
draws near-misses of one another: reports of weather, farming, sport or schools that differ in a
name, a measure or a period, each with questions in many forms.

words.json holds everyday English, syllables for names that nobody bears, and forms of questions.
The embedded default's companies and metrics are left out on purpose (a test compares the two), so
that fine-tuning on the default has something to teach.
"""

import json
import random
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from nano.sheets import Sheet
from pagefinder.sources.generated import drawing
from pagefinder.sources.generated.drawing import Canvas

WORDS: dict[str, Any] = json.loads(Path(__file__).with_name("words.json").read_text("utf-8"))
MEASURES: dict[str, list[str]] = WORDS["measures"]  # what is measured: other ways to ask for it
PERIODS: dict[str, str] = WORDS["quarters"] | WORDS["halves"]


@dataclass(frozen=True)
class Subject:
    """What one page is about."""

    who: str
    what: str
    year: int
    period: str  # "", or a key of PERIODS


def invented_word(rng: random.Random) -> str:
    """Return a pronounceable word of one or two syllables that means nothing."""
    sounds = [WORDS[part] for part in ("onsets", "vowels", "codas")]
    syllables = rng.choice((1, 2, 2))
    parts = [rng.choice(choices) for _ in range(syllables) for choices in sounds]
    return "".join([*parts, rng.choice(WORDS["endings"])])[:9]


def any_word(rng: random.Random) -> str:
    """Return an English or an invented word."""
    return rng.choice(WORDS["nouns"]) if rng.random() < 0.4 else invented_word(rng)


def name(rng: random.Random) -> str:
    """Return the name of a place or an institution, at most 24 characters."""
    first = any_word(rng).capitalize()
    form = rng.random()
    if form < 0.45:
        return f"{first} {rng.choice(WORDS['places'])}"
    if form < 0.9:
        return f"{first} {any_word(rng).capitalize()}"
    return first


def figure(rng: random.Random, unit: str) -> tuple[float, str]:
    """Return a value and its text with the unit."""
    value = rng.choice((rng.randint(2, 99), rng.randint(100, 999), rng.randint(11, 999) / 10))
    return value, f"{value}%" if unit == "%" else f"{value} {unit}".strip()


def word_sheet(rng: random.Random, words: int) -> Sheet:
    """Draw `words` words and numbers at random places; the questions name one to four of them."""
    canvas = drawing.new_canvas(accent=_accent(rng))
    drawn: list[str] = []
    rows = list(range(canvas.rows))
    rng.shuffle(rows)
    for row in rows[: max(1, words // 2)]:
        column = rng.choice((0, 0, 2, 4))
        while len(drawn) < words:
            word = any_word(rng) if rng.random() < 0.85 else str(rng.randint(1, 2999))
            if column + len(word) > canvas.columns:
                break
            drawing.write(canvas, row, column, word, rng.choice((drawing.INK, canvas.accent)))
            drawn.append(word)
            # Words begin in even columns, as drawing.write puts them.
            column += len(word) + 2 - len(word) % 2 + rng.choice((0, 0, 0, 2, 4))
    questions = (" ".join(rng.sample(drawn, min(len(drawn), rng.randint(2, 4)))) for _ in range(2))
    return Sheet(canvas, tuple(questions))


def family(rng: random.Random, size: int, figures: float = 0.0) -> list[Sheet]:
    """Draw `size` pages that are near-misses of one another: name, measure or period differ.

    A share of `figures` of the questions name a figure and leave out who or when.
    """
    whos = [name(rng) for _ in range(2)]
    if rng.random() < 0.5:  # half a name in common
        whos[1] = " ".join([*whos[1].split()[:-1], whos[0].split()[-1]])
    whats = rng.sample(list(MEASURES), 2)
    if rng.random() < 0.3:
        whats[0] = f"{invented_word(rng)} {rng.choice(whats[0].split())}"
    year = rng.randint(1995, 2028)
    years = [year, year + rng.choice((-2, -1, 1, 2))]
    quarters, halves = list(WORDS["quarters"]), list(WORDS["halves"])
    periods = rng.choice(([""], [""], quarters, quarters, halves))
    subjects = {
        Subject(rng.choice(whos), rng.choice(whats), rng.choice(years), rng.choice(periods))
        for _ in range(size * 3)
    }
    # A set has no order of its own; sorted, the same seed draws the same pages.
    ordered = sorted(subjects, key=attrgetter("period", "who", "what", "year"))
    pages = rng.sample(ordered, min(size, len(ordered)))
    return [report_sheet(subject, rng, figures) for subject in pages]


def report_sheet(subject: Subject, rng: random.Random, figures: float = 0.0) -> Sheet:
    """Draw one page on `subject` in a random layout, with three questions.

    `figures` is the share of questions that name a printed figure and leave out who or when.
    """
    unit = rng.choice(WORDS["units"])
    canvas = drawing.new_canvas(accent=_accent(rng))
    row = _heading(canvas, subject, rng)
    part, printed = rng.choice(LAYOUTS)(canvas, row, subject, unit, rng)
    by_figure = [bool(printed) and figures > 0 and rng.random() < figures for _ in range(3)]
    questions = [
        _question(subject, part, rng.choice(printed) if named else "", rng) for named in by_figure
    ]
    return Sheet(canvas, tuple(questions))


def _question(subject: Subject, part: str, printed: str, rng: random.Random) -> str:
    """Return a question about `subject` that may name `part`, or one about the figure `printed`."""
    what = subject.what
    if rng.random() < 0.35:
        what = rng.choice(MEASURES.get(what, [what]))
    when = str(subject.year)
    if subject.period:
        spoken = PERIODS[subject.period]
        forms = (f"{subject.period} {when}", f"the {spoken} of {when}", f"{when} {subject.period}")
        when = rng.choice(forms)
    kind = "questions about a part" if part and rng.random() < 0.4 else "questions"
    form = rng.choice(WORDS["questions about a figure" if printed else kind])
    text = form.format(what=what, who=subject.who, when=when, part=part, figure=printed)
    return text[0].upper() + text[1:] if rng.random() < 0.7 else text.lower()


def _accent(rng: random.Random) -> drawing.Colour:
    return rng.randint(0, 140), rng.randint(0, 110), rng.randint(0, 140)


def _heading(canvas: Canvas, subject: Subject, rng: random.Random) -> int:
    """Write name, measure and period in a random arrangement and return the row below."""
    when = f"{subject.period} {subject.year}".strip()
    lines = rng.choice(
        (
            [subject.who, f"{subject.what} {when}"],
            [f"{when} {subject.what}", subject.who],
            [subject.who, subject.what, when],
            [subject.what, f"{subject.who} {when}"],
            [f"{subject.who} {subject.year}", f"{subject.what} {subject.period}".strip()],
        )
    )
    row = rng.choice((0, 0, 0, 1))
    bands = rng.choice((0, 1, 1, 3))
    for number, line in enumerate(lines):
        row = drawing.title(canvas, row, line, band=number < bands)
    return row + rng.choice((0, 1, 1))


def _parts(rng: random.Random, count: int) -> list[str]:
    """Return up to `count` names for the parts of a table or a chart."""
    group = rng.choice(list(WORDS["groups"].values()))
    if rng.random() < 0.3:
        return [any_word(rng)[:9] for _ in range(count)]
    return [part[:10] for part in rng.sample(group, min(count, len(group)))]


# A layout draws below a row and returns what the page says about its subject.
Facts = tuple[str, list[str]]  # a part that a question may name, and the subject's figures


def _table(canvas: Canvas, row: int, subject: Subject, unit: str, rng: random.Random) -> Facts:
    parts = _parts(rng, min(canvas.rows - row - 1, rng.randint(2, 5)))
    lines = [[rng.choice(("place", "group", "type", "row")), "old", "new"]]
    lines += [[part, figure(rng, "")[1], figure(rng, unit)[1]] for part in parts]
    drawing.table(canvas, row, lines, (0, 12, 22), header=rng.random() < 0.7)
    return rng.choice(parts), [cell for line in lines[1:] for cell in line[1:]]


def _bars(canvas: Canvas, row: int, subject: Subject, unit: str, rng: random.Random) -> Facts:
    parts = _parts(rng, min(canvas.rows - row, rng.randint(2, 5)))
    values, figures = zip(*(figure(rng, unit) for _ in parts), strict=True)
    drawing.horizontal_bars(canvas, row, parts, values, figures, 12)
    return rng.choice(parts), list(figures)


def _chart(canvas: Canvas, row: int, subject: Subject, unit: str, rng: random.Random) -> Facts:
    years = [str(subject.year - back) for back in (3, 2, 1, 0)]
    labels = rng.choice((list(WORDS["quarters"]), years, ["a", "b", "c"]))
    values, figures = zip(*(figure(rng, "") for _ in labels), strict=True)
    draw = rng.choice((drawing.line_chart, drawing.vertical_bars))
    draw(canvas, row, labels, values, figures, canvas.rows - row)
    return "", list(figures)


def _note(canvas: Canvas, row: int, subject: Subject, unit: str, rng: random.Random) -> Facts:
    reason, other_words = rng.choice(list(WORDS["reasons"].items()))
    verb = rng.choice(("rose", "fell", "doubled", "shrank", "recovered"))
    change = figure(rng, unit)[1]
    text = f"The {subject.what} of {subject.who} {verb} by {change} after {reason}."
    drawing.paragraph(canvas, row, text)
    return rng.choice((reason, *other_words)), [change]


def _tiles(canvas: Canvas, row: int, subject: Subject, unit: str, rng: random.Random) -> Facts:
    others = rng.sample(list(MEASURES), 2)
    whats = rng.sample([subject.what, *others], 3)
    column, gap = rng.choice((0, 2, 4)), rng.choice((2, 3))
    figures = []
    for what in whats[: (canvas.rows - row) // gap]:
        printed = figure(rng, rng.choice(WORDS["units"]))[1]
        drawing.write(canvas, row, column, printed, canvas.accent)
        drawing.write(canvas, row + 1, column, what)
        figures += [printed] if what == subject.what else []
        row += gap
    return "", figures


LAYOUTS = (_table, _bars, _chart, _note, _tiles)
