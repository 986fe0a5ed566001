"""The pretraining corpus: endless pages with questions, drawn from a seed.

Two kinds: `word_sheet` scatters words and asks for some of them (the easy beginning), `family`
draws near-misses of one another: reports of weather, farming, sport or schools that differ in a
name, a measure or a period, each with questions in many forms.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from nano.words import (
    CODAS,
    ENDINGS,
    GROUPS,
    MEASURES,
    NOUNS,
    ONSETS,
    PLACES,
    REASONS,
    UNITS,
    VOWELS,
)
from pagefinder.sources.generated import drawing
from pagefinder.sources.generated.drawing import Canvas

ORDINALS = ("first", "second", "third", "fourth")
QUARTERS = {f"Q{n}": f"{word} quarter" for n, word in enumerate(ORDINALS, 1)}
HALVES = {"H1": "first half", "H2": "second half"}
FORMS = (
    "What was the {what} of {who} in {when}?",
    "What is the {what} at {who} for {when}?",
    "How high was {what} at {who} in {when}?",
    "How much {what} did {who} record in {when}?",
    "{who} {what} {when}",
    "{when} {who}: {what}",
    "{what} {who} {when}",
    "Which figure shows the {what} of {who} in {when}?",
    "Did {what} at {who} rise or fall during {when}?",
    "Tell me the {what} that {who} had in {when}.",
    "Where can I find {what} for {who}, {when}?",
    "In {when}, how many {what} were there at {who}?",
    "Show {what} of {who} over {when}",
    "Why did {what} of {who} change in {when}?",
)
DETAIL_FORMS = (
    "What was the {what} of {who} for {part} in {when}?",
    "{who} {when}: {what} {part}",
    "How much {what} came from {part} at {who} in {when}?",
    "Was {what} at {who} highest for {part} in {when}?",
    "{part} {what} {who} {when}",
)
FIGURE_FORMS = (  # only the figure tells its page from the near-misses
    "At {who}, {what} came to {figure}",
    "{figure} {what} {who}",
    "{who} counted {figure} as {what}: in what year?",
    "Where does {what} stand at {figure} for {when}?",
    "Whose {what} was {figure} during {when}?",
    "{what} {figure} {when}",
)


@dataclass(frozen=True)
class Sheet:
    """A page and questions that it answers."""

    canvas: Canvas
    questions: tuple[str, ...]


@dataclass(frozen=True)
class Subject:
    """What one page is about."""

    who: str
    what: str
    year: int
    period: str  # "", or a key of QUARTERS or HALVES


def invented_word(rng: random.Random) -> str:
    """A pronounceable word of one or two syllables that means nothing."""
    syllables = rng.choice((1, 2, 2))
    parts = [rng.choice(sounds) for _ in range(syllables) for sounds in (ONSETS, VOWELS, CODAS)]
    return "".join([*parts, rng.choice(ENDINGS)])[:9]


def any_word(rng: random.Random) -> str:
    """An English or an invented word."""
    return rng.choice(NOUNS) if rng.random() < 0.4 else invented_word(rng)


def name(rng: random.Random) -> str:
    """The name of a place or an institution, at most 24 characters."""
    first = any_word(rng).capitalize()
    form = rng.random()
    if form < 0.45:
        return f"{first} {rng.choice(PLACES)}"
    if form < 0.9:
        return f"{first} {any_word(rng).capitalize()}"
    return first


def figure(rng: random.Random, unit: str) -> tuple[float, str]:
    """A value and how it is printed."""
    value = rng.choice((rng.randint(2, 99), rng.randint(100, 999), rng.randint(11, 999) / 10))
    return value, f"{value}%" if unit == "%" else f"{value} {unit}".strip()


def word_sheet(rng: random.Random, words: int) -> Sheet:
    """`words` words and numbers at random places; the questions name one to four of them."""
    canvas = drawing.new_canvas(accent=_accent(rng))
    chosen = []
    rows = list(range(canvas.rows))
    rng.shuffle(rows)
    for row in rows[: max(1, words // 2)]:
        column = rng.choice((0, 0, 2, 4))
        while len(chosen) < words:
            word = any_word(rng) if rng.random() < 0.85 else str(rng.randint(1, 2999))
            if column + len(word) > canvas.columns:
                break
            drawing.write(canvas, row, column, word, rng.choice((drawing.INK, canvas.accent)))
            chosen.append(word)
            # Words begin in even columns, as drawing.write puts them.
            column += len(word) + 2 - len(word) % 2 + rng.choice((0, 0, 0, 2, 4))
    questions = [
        " ".join(rng.sample(chosen, min(len(chosen), rng.randint(2, 4)))) for _ in range(2)
    ]
    return Sheet(canvas, tuple(questions))


def family(rng: random.Random, size: int, figures: float = 0.0) -> list[Sheet]:
    """`size` pages that are near-misses of one another: they differ in name, measure or period.

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
    periods = rng.choice(([""], [""], list(QUARTERS), list(QUARTERS), list(HALVES)))
    subjects = {
        Subject(rng.choice(whos), rng.choice(whats), rng.choice(years), rng.choice(periods))
        for _ in range(size * 3)
    }
    chosen = sorted(subjects, key=lambda subject: (subject.who, subject.what, subject.year))
    chosen.sort(key=lambda subject: subject.period)
    pages = rng.sample(chosen, min(size, len(chosen)))
    return [report_sheet(subject, rng, figures) for subject in pages]


def report_sheet(subject: Subject, rng: random.Random, figures: float = 0.0) -> Sheet:
    """Draw one page on `subject` in a random layout, with three questions."""
    unit = rng.choice(UNITS)
    canvas = drawing.new_canvas(accent=_accent(rng))
    row = _heading(canvas, subject, rng)
    part, printed = rng.choice(LAYOUTS)(canvas, row, subject, unit, rng)
    named = [bool(printed) and figures > 0 and rng.random() < figures for _ in range(3)]
    questions = [
        _question(subject, part, rng.choice(printed) if by_figure else "", rng)
        for by_figure in named
    ]
    return Sheet(canvas, tuple(questions))


def _question(subject: Subject, part: str, figure: str, rng: random.Random) -> str:
    what = subject.what
    if rng.random() < 0.35:
        what = rng.choice(MEASURES.get(what, (what,)))
    when = str(subject.year)
    if subject.period:
        spoken = (QUARTERS | HALVES)[subject.period]
        forms = (f"{subject.period} {when}", f"the {spoken} of {when}", f"{when} {subject.period}")
        when = rng.choice(forms)
    forms = DETAIL_FORMS if part and rng.random() < 0.4 else FORMS
    form = rng.choice(FIGURE_FORMS if figure else forms)
    text = form.format(what=what, who=subject.who, when=when, part=part, figure=figure)
    return text[0].upper() + text[1:] if rng.random() < 0.7 else text.lower()


def _accent(rng: random.Random) -> drawing.Colour:
    return rng.randint(0, 140), rng.randint(0, 110), rng.randint(0, 140)


def _heading(canvas: Canvas, subject: Subject, rng: random.Random) -> int:
    """Name, measure and period in a random arrangement; returns the row below."""
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
    banded = rng.choice((0, 1, 1, 3))
    for number, line in enumerate(lines):
        row = drawing.title(canvas, row, line, band=number < banded)
    return row + rng.choice((0, 1, 1))


Drawn = tuple[str, list[str]]  # a part that a question may name, and the subject's figures


def _parts(rng: random.Random, count: int) -> list[str]:
    kind = rng.choice(list(GROUPS))
    if rng.random() < 0.3:
        return [any_word(rng)[:9] for _ in range(count)]
    return [part[:10] for part in rng.sample(GROUPS[kind], min(count, len(GROUPS[kind])))]


def _table(canvas: Canvas, row: int, subject: Subject, unit: str, rng: random.Random) -> Drawn:
    parts = _parts(rng, min(canvas.rows - row - 1, rng.randint(2, 5)))
    lines = [[rng.choice(("place", "group", "type", "row")), "old", "new"]]
    lines += [[part, figure(rng, "")[1], figure(rng, unit)[1]] for part in parts]
    drawing.table(canvas, row, lines, (0, 12, 22), header=rng.random() < 0.7)
    return rng.choice(parts), [cell for line in lines[1:] for cell in line[1:]]


def _bars(canvas: Canvas, row: int, subject: Subject, unit: str, rng: random.Random) -> Drawn:
    parts = _parts(rng, min(canvas.rows - row, rng.randint(2, 5)))
    figures = [figure(rng, unit) for _ in parts]
    values = [value for value, _ in figures]
    drawing.horizontal_bars(canvas, row, parts, values, [text for _, text in figures], 12)
    return rng.choice(parts), [text for _, text in figures]


def _chart(canvas: Canvas, row: int, subject: Subject, unit: str, rng: random.Random) -> Drawn:
    years = [str(subject.year - back) for back in (3, 2, 1, 0)]
    labels = rng.choice((list(QUARTERS), years, ["a", "b", "c"]))
    figures = [figure(rng, "") for _ in labels]
    draw = rng.choice((drawing.line_chart, drawing.vertical_bars))
    values = [value for value, _ in figures]
    draw(canvas, row, labels, values, [text for _, text in figures], canvas.rows - row)
    return "", [text for _, text in figures]


def _note(canvas: Canvas, row: int, subject: Subject, unit: str, rng: random.Random) -> Drawn:
    reason = rng.choice(list(REASONS))
    up = rng.choice(("rose", "fell", "doubled", "shrank", "recovered"))
    by = figure(rng, unit)[1]
    change = f"{up} by {by} after {reason}"
    drawing.paragraph(canvas, row, f"The {subject.what} of {subject.who} {change}.")
    return rng.choice((reason, *REASONS[reason])), [by]


def _tiles(canvas: Canvas, row: int, subject: Subject, unit: str, rng: random.Random) -> Drawn:
    others = rng.sample(list(MEASURES), 2)
    whats = rng.sample([subject.what, *others], 3)
    column, gap = rng.choice((0, 2, 4)), rng.choice((2, 3))
    own = []
    for what in whats[: (canvas.rows - row) // gap]:
        printed = figure(rng, rng.choice(UNITS))[1]
        drawing.write(canvas, row, column, printed, canvas.accent)
        drawing.write(canvas, row + 1, column, what)
        own += [printed] if what == subject.what else []
        row += gap
    return "", own


Layout = Callable[[Canvas, int, Subject, str, random.Random], Drawn]
LAYOUTS: tuple[Layout, ...] = (_table, _bars, _chart, _note, _tiles)
