"""Batches for the reranker: one page with many queries, and labels for every token of each.

One label a pair teaches a model this small nothing in the time there is. A generated page says more
for free: which character stands where, where each piece of a query starts on the page, and whether
each word of the query is on it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from nano import documents
from nano.reranker import SPACE
from pagefinder.sources.generated.drawing import (
    COLUMNS,
    ROWS,
    Canvas,
    fill_cells,
    new_canvas,
    write,
)

CHARACTERS = " " + "".join(sorted({chr(code).lower() for code in range(33, 127)}))
CODE = {character: number for number, character in enumerate(CHARACTERS)}
CELLS = 48  # visual tokens a page: 6 rows of 8, each two rows of four characters
PREFIX = CELLS + 4  # <|im_start|> <|vision_start|> cells <|vision_end|> <|im_end|>
FIRST_CELL = 2
LEFT, WINDOW = 4, 9  # a visual token reads its own four columns, four to the left, one to the right
CONSONANTS = [*"bcdfghjklmnprstvwxyz", "st", "tr", "pr", "ch", "sh", "gr", "ph", "qu"]
VOWELS = [*"aeiou", "ea", "io", "ou", "ai"]
ENDINGS = ["", "", "n", "r", "s", "l", "t", "ng", "ment", "er", "ed", "y", "ck", "d"]
FIGURES = 0.35  # share of questions that only a figure answers
WRONG_FIGURES = 0.6  # share of pages that are asked for a figure that is not quite theirs


@dataclass
class Sheet:
    """A page: RGB pixels (192, 256, 3) and its lower-cased rows, framed by blanks, in one line."""

    pixels: np.ndarray
    line: str
    words: list[str]


@dataclass
class Batch:
    """Tensors of `pages` times `queries` pairs.

    Attributes:
        tokens: (pages * queries, length) ids, <|im_start|> the query <|im_end|> <|im_start|>.
        ends: (pages * queries,) index of the last token.
        context: (pages * queries, length, WINDOW) characters of a piece and before it, or -1.
        targets: (pages * queries, length, PREFIX) where a piece starts; the first token: nowhere.
        found: (pages * queries, length) 1 or 0 at a word's last piece: it is on the page; else -1.
        relevant: (pages * queries,) the label of the pair.
        answers: Token ids of yes and no.
    """

    pages: int
    queries: int
    tokens: torch.Tensor
    ends: torch.Tensor
    context: torch.Tensor
    targets: torch.Tensor
    found: torch.Tensor
    relevant: torch.Tensor
    answers: tuple[int, int]


def sheet(canvas: Canvas) -> Sheet:
    """Read a canvas."""
    line = "".join(" " + "".join(row).lower() + " " for row in canvas.glyphs)
    return Sheet(np.asarray(canvas.image), line, line.split())


def random_word(rng: random.Random) -> str:
    """Return a made-up word or a number such as stands in reports."""
    kind = rng.random()
    if kind < 0.1:
        return str(rng.randint(1990, 2039))
    if kind < 0.18:
        return str(rng.randint(1, 9999))
    if kind < 0.26:
        return f"{rng.randint(1, 99)}.{rng.randint(0, 9)}{rng.choice(['', '%', 'm'])}"
    if kind < 0.3:
        return f"{rng.choice('qhabcx')}{rng.randint(1, 9)}"
    syllables = rng.choice([1, 1, 2, 2, 2, 3])
    word = "".join(rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(syllables))
    return (word + rng.choice(ENDINGS))[:10]


def near_miss(word: str, rng: random.Random) -> str:
    """Return the word with one letter or digit changed."""
    places = [place for place, character in enumerate(word) if character.isalnum()]
    place = rng.choice(places)
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


def word_sheet(rng: random.Random, count: int) -> Sheet:
    """Draw a page of up to `count` random words in random places, inks and bands."""
    ink = [tuple(rng.randrange(0, 120) for _ in range(3)) for _ in range(3)]
    paper = (255, 255, 255) if rng.random() < 0.7 else (rng.randint(225, 255),) * 3
    canvas = new_canvas(paper=paper, accent=ink[0])
    for row in rng.sample(range(ROWS), rng.randint(0, 4)):
        dark = rng.random() < 0.5
        colour = ink[0] if dark else tuple(rng.randrange(215, 250) for _ in range(3))
        fill_cells(canvas, row, 0, 1, COLUMNS, colour)
        if dark:
            canvas.glyphs[row][0] = "\0"  # remembered until the words of this row are white
    dark_rows = {row for row in range(ROWS) if canvas.glyphs[row][0] == "\0"}
    for row in dark_rows:
        canvas.glyphs[row][0] = " "
    words = []
    for _ in range(count):
        word = random_word(rng)
        styled = rng.choice([word, word.capitalize(), word.upper()])
        row, column = rng.randrange(ROWS), rng.randrange(COLUMNS - len(word) + 1)
        taken = canvas.glyphs[row][max(0, column - 1) : column + len(word) + 1]
        if set(taken) == {" "}:
            colour = (255, 255, 255) if row in dark_rows else rng.choice(ink)
            write(canvas, row, column, styled, colour)
            words.append(word)
    return sheet(canvas)


def word_queries(sheets: Sequence[Sheet], rng: random.Random, each: int) -> list[tuple[str, float]]:
    """Return `each` queries a page: do all of these one to three words stand on it?"""
    queries = []
    for page in sheets:
        for _ in range(each):
            words = [rng.choice(page.words) for _ in range(rng.choice([1, 1, 2, 3]))]
            if rng.random() < 0.55:
                place = rng.randrange(len(words))
                other = rng.choice(rng.choice(sheets).words)
                words[place] = other if rng.random() < 0.7 else near_miss(words[place], rng)
            found = all(f" {word} " in page.line for word in words)
            queries.append((" ".join(words), float(found)))
    return queries


def question_sheets(
    rng: random.Random, families: int, size: int, strangers: int
) -> tuple[list[Sheet], list[tuple[str, float]]]:
    """Return the pages of `families` near-miss families, and eight questions a page.

    Three are its own, `strangers` of another family's pages, the rest of its near-misses: of the
    family's other pages, or one of its own with a digit changed.
    """
    groups = [documents.family(rng, size, FIGURES) for _ in range(families)]
    sheets, queries = [], []
    for number, group in enumerate(groups):
        foreign = [text for other in groups[number - 1] for text in other.questions]
        for place, page in enumerate(group):
            sheets.append(sheet(page.canvas))
            near = [
                text for other in group[:place] + group[place + 1 :] for text in other.questions
            ]
            wrong = [miss for text in page.questions if (miss := wrong_figure(text, rng)) != text]
            hard = wrong[: rng.random() < WRONG_FIGURES]
            hard += rng.sample(near, min(len(near), 5 - strangers - len(hard)))
            easy = rng.choices(foreign, k=5 - len(hard))
            queries += [(text, 1.0) for text in rng.sample(page.questions, 3)]
            queries += [(text, 0.0) for text in hard + easy]
    return sheets, queries


def make_batch(
    sheets: Sequence[Sheet],
    queries: Sequence[tuple[str, float]],
    tokenizer: PreTrainedTokenizerFast,
) -> Batch:
    """Join pages and their queries (as many for each page, in page order) with all labels."""
    each = len(queries) // len(sheets)
    rows = [pieces(tokenizer, text.lower()) for text, _ in queries]
    shape = (len(rows), max(len(row) for row in rows) + 3)
    start, end = (tokenizer.convert_tokens_to_ids(t) for t in ("<|im_start|>", "<|im_end|>"))
    tokens = np.zeros(shape, np.int64)
    context = np.full((*shape, WINDOW), -1, np.int64)
    targets = np.zeros((*shape, PREFIX), np.float32)
    found = np.full(shape, -1, np.float32)
    ends = np.zeros(len(rows), np.int64)
    for number, row in enumerate(rows):
        line = sheets[number // each].line
        cells = _cell_finder(line)
        tokens[number, : len(row) + 3] = [start, *(piece[0] for piece in row), end, start]
        ends[number] = len(row) + 2
        for place, (_, text, shift, whole) in enumerate(row, start=1):
            if not text:
                continue
            first = LEFT - shift
            context[number, place, first : first + len(text)] = [CODE[c] for c in text]
            targets[number, place, cells(text, shift)] = 1
            if whole:
                found[number, place] = whole in line
    labels = np.array([label for _, label in queries], np.float32)
    arrays = (tokens, ends, context, targets, found, labels)
    tensors = [torch.from_numpy(array) for array in arrays]
    yes, no = (tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no"))
    return Batch(len(sheets), each, *tensors, answers=(yes, no))


def _cell_finder(line: str):  # noqa: ANN202
    known: dict[tuple[str, int], list[int]] = {}

    def cells(text: str, shift: int) -> list[int]:
        if (text, shift) not in known:
            places, at = set(), line.find(text)
            while at >= 0:
                row, column = divmod(at + shift, COLUMNS + 2)
                places.add(FIRST_CELL + row // 2 * 8 + (column - 1) // 4)
                at = line.find(text, at + 1)
            known[text, shift] = sorted(places) or [0]
        return known[text, shift]

    return cells


def pieces(tokenizer: PreTrainedTokenizerFast, text: str) -> list[tuple[int, str, int, str]]:
    """Return each token of a lower-cased text as (id, characters, shift, whole word).

    The characters are the piece and up to four before it in its word, the blank before the word
    included; `shift` is where the piece starts in them. The whole word, framed by blanks, stands at
    its last piece.
    """
    return [piece for word in text.split() for piece in _word_pieces(tokenizer, word)]


@lru_cache(maxsize=200_000)
def _word_pieces(
    tokenizer: PreTrainedTokenizerFast, word: str
) -> tuple[tuple[int, str, int, str], ...]:
    framed, at, result = f" {word}", 0, []
    if not all(character in CODE for character in word):
        ids = tokenizer(framed, add_special_tokens=False)["input_ids"]
        return tuple((token, "", 0, "") for token in ids)
    for token in tokenizer.tokenize(framed):
        clean = token.replace(SPACE, " ")
        start, at = at + len(clean) - len(clean.lstrip()), at + len(clean)
        low = max(0, start - LEFT)
        text = framed[low:at] if clean.strip() else ""
        number = tokenizer.convert_tokens_to_ids(token)
        result.append((number, text, start - low, f"{framed} " if at == len(framed) else ""))
    return tuple(result)


def patches(sheets: Sequence[Sheet]) -> torch.Tensor:
    """Cut pages into (pages * 192, 1536) patches, as Qwen's processor does."""
    pages, pixels = len(sheets), np.stack([page.pixels for page in sheets])
    scaled = pixels.astype(np.float32) / 127.5 - 1
    cut = scaled.reshape(pages, 6, 2, 16, 8, 2, 16, 3).transpose(0, 1, 4, 2, 5, 7, 3, 6)
    flat = cut.reshape(pages * 192, 3, 1, 256)
    both = np.broadcast_to(flat, (pages * 192, 3, 2, 256)).reshape(pages * 192, -1)
    return torch.from_numpy(both)


def windows(sheets: Sequence[Sheet]) -> torch.Tensor:
    """Return the (pages * 48, 2 * WINDOW) character codes in and around each visual token."""
    codes = np.array([[CODE[c] for c in page.line] for page in sheets], np.int64)
    grid = np.pad(
        codes.reshape(len(sheets), ROWS, COLUMNS + 2)[:, :, 1:-1], ((0, 0), (0, 0), (4, 4))
    )
    views = [grid[:, :, 4 * cell + 4 - LEFT : 4 * cell + 4 - LEFT + WINDOW] for cell in range(8)]
    stacked = np.stack(views, 2).reshape(len(sheets), 6, 2, 8, WINDOW)
    return torch.from_numpy(stacked.transpose(0, 1, 3, 2, 4).reshape(-1, 2 * WINDOW))
