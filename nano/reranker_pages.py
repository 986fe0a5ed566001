"""Pages and queries for the reranker's pretraining: scattered words, then questions."""

import random
from collections.abc import Sequence

from nano import documents
from nano.documents import WORDS
from nano.sheets import Sheet
from pagefinder.sources.generated.drawing import COLUMNS, ROWS, fill_cells, new_canvas, write

FAMILIES, FAMILY_SIZE = 6, 4
WORD_QUERIES, QUESTIONS = 10, 8  # per page
FIGURES = 0.35  # share of questions that only a figure answers
WRONG_FIGURES = 0.6  # share of pages with a query for a figure that is not quite theirs

Query = tuple[str, float]  # a text, and 1 if its page is relevant, else 0


def random_word(rng: random.Random) -> str:
    """Return an invented word or a number such as stands in reports."""
    kind = rng.random()
    if kind < 0.1:
        return str(rng.randint(1990, 2039))
    if kind < 0.18:
        return str(rng.randint(1, 9999))
    if kind < 0.26:
        return f"{rng.randint(1, 99)}.{rng.randint(0, 9)}{rng.choice(['', '%', 'm'])}"
    if kind < 0.3:
        return f"{rng.choice('qhabcx')}{rng.randint(1, 9)}"
    starts, ends = WORDS["syllable starts"], WORDS["syllable ends"]
    syllables = rng.choice([1, 1, 2, 2, 2, 3])
    word = "".join(rng.choice(starts) + rng.choice(ends) for _ in range(syllables))
    return (word + rng.choice(WORDS["word ends"]))[:10]


def near_miss(word: str, rng: random.Random) -> str:
    """Return the word with one letter or digit changed."""
    place = rng.choice([n for n, character in enumerate(word) if character.isalnum()])
    pool = "0123456789" if word[place].isdigit() else "abcdefghijklmnoprstuvwy"
    other = rng.choice([character for character in pool if character != word[place]])
    return word[:place] + other + word[place + 1 :]


def wrong_figure(question: str, rng: random.Random) -> str:
    """Return the question with a digit of one number changed, or as it is where it has none."""
    words = question.split()
    numbers = [
        place
        for place, word in enumerate(words)
        if sum(map(str.isdigit, word)) > 1 and not any(map(str.isalpha, word))
    ]
    if numbers:
        place = rng.choice(numbers)
        words[place] = near_miss(words[place], rng)
    return " ".join(words)


def scattered_words(rng: random.Random, count: int) -> Sheet:
    """Draw a page of up to `count` random words in random places, inks and bands."""
    inks = [tuple(rng.randrange(0, 120) for _ in range(3)) for _ in range(3)]
    paper = (255, 255, 255) if rng.random() < 0.7 else (rng.randint(225, 255),) * 3
    canvas = new_canvas(paper=paper, accent=inks[0])
    dark_rows = set()
    for row in rng.sample(range(ROWS), rng.randint(0, 4)):
        dark = rng.random() < 0.5
        band = inks[0] if dark else tuple(rng.randrange(215, 250) for _ in range(3))
        fill_cells(canvas, row, 0, 1, COLUMNS, band)
        if dark:
            dark_rows.add(row)
    for _ in range(count):
        word = random_word(rng)
        styled = rng.choice([word, word.capitalize(), word.upper()])
        row, column = rng.randrange(ROWS), rng.randrange(COLUMNS - len(word) + 1)
        if set(canvas.glyphs[row][max(0, column - 1) : column + len(word) + 1]) == {" "}:
            ink = (255, 255, 255) if row in dark_rows else rng.choice(inks)
            write(canvas, row, column, styled, ink)
    return Sheet(canvas)


def word_sheets(rng: random.Random) -> list[Sheet]:
    """Draw 24 pages or less: 16 of random words, and the reports of two families."""
    sheets = [scattered_words(rng, rng.randint(8, 40)) for _ in range(16)]
    return sheets + [sheet for _ in range(2) for sheet in documents.family(rng, FAMILY_SIZE)]


def word_queries(rng: random.Random, sheets: Sequence[Sheet]) -> list[Query]:
    """Return WORD_QUERIES queries a page, of one to three words; relevant if it holds them all."""
    queries = []
    for sheet in sheets:
        for _ in range(WORD_QUERIES):
            words = [rng.choice(sheet.words) for _ in range(rng.choice([1, 1, 2, 3]))]
            if rng.random() < 0.55:
                place = rng.randrange(len(words))
                other = rng.choice(rng.choice(sheets).words)
                words[place] = other if rng.random() < 0.7 else near_miss(words[place], rng)
            relevant = all(f" {word} " in sheet.line for word in words)
            queries.append((" ".join(words), float(relevant)))
    return queries


def question_sheets(rng: random.Random, foreign: int) -> tuple[list[Sheet], list[Query]]:
    """Return the pages of FAMILIES near-miss families, and QUESTIONS questions for each page.

    Three are the page's own, and relevant. At least `foreign` are of another family's pages. The
    rest are near-misses: questions of other pages of its family, or one of its own questions with a
    digit changed.
    """
    families = [documents.family(rng, FAMILY_SIZE, FIGURES) for _ in range(FAMILIES)]
    queries: list[Query] = []
    for number, family in enumerate(families):
        far = [text for sheet in families[number - 1] for text in sheet.questions]
        for sheet in family:
            near = [text for other in family if other is not sheet for text in other.questions]
            wrong = [miss for text in sheet.questions if (miss := wrong_figure(text, rng)) != text]
            hard = wrong[:1] if rng.random() < WRONG_FIGURES else []
            hard += rng.sample(near, min(len(near), QUESTIONS - 3 - foreign - len(hard)))
            easy = rng.choices(far, k=QUESTIONS - 3 - len(hard))
            queries += [(text, 1.0) for text in rng.sample(sheet.questions, 3)]
            queries += [(text, 0.0) for text in hard + easy]
    return [sheet for family in families for sheet in family], queries
