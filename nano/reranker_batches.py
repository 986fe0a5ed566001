"""Batches for the reranker: one page with many queries, and labels for every token of each.

One label a pair teaches a model this small nothing in the time there is. A generated page says more
for free: which character stands where, where each piece of a query starts on the page, and whether
each word of the query is on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from nano.reranker_pages import Query
from nano.sheets import GRID, VISUAL_TOKENS, Sheet
from nano.tokenizer import word_pieces
from pagefinder.sources.generated.drawing import COLUMNS, ROWS

CHARACTERS = " " + "".join(sorted({chr(code).lower() for code in range(33, 127)}))
CODE = {character: number for number, character in enumerate(CHARACTERS)}
PREFIX = VISUAL_TOKENS + 4  # <|im_start|> <|vision_start|> visual tokens <|vision_end|> <|im_end|>
FIRST_VISUAL = 2  # where the visual tokens start
LEFT, WINDOW = 4, 9  # a visual token reads its own four columns, four to the left, one to the right


@dataclass
class Batch:
    """Tensors of `pages` times `queries` pairs; a query has up to `length` tokens."""

    pages: int
    queries: int
    tokens: Tensor  # (pairs, length) ids, <|im_start|> the query <|im_end|> <|im_start|>
    ends: Tensor  # (pairs,) index of the last token
    context: Tensor  # (pairs, length, WINDOW) characters of a piece and before it, or -1
    targets: Tensor  # (pairs, length, PREFIX) 1 where a piece starts; at the first token: nowhere
    words: Tensor  # (pairs, length) at a word's last piece 1 or 0: it is on the page; else -1
    relevant: Tensor  # (pairs,) label of the pair
    answers: tuple[int, int]  # token ids of yes and no


class Piece(NamedTuple):
    """A token of a query."""

    token: int
    text: str  # the piece and up to four characters before it in ` word`; empty for a blank piece
    shift: int  # where the piece starts in `text`
    word: str  # at a word's last piece the word, framed by blanks; else empty


def pieces(tokenizer: PreTrainedTokenizerFast, query: str) -> list[Piece]:
    """Return the pieces of a lower-cased query, in its order."""
    result = []
    for word in query.split():
        framed = f" {word} "
        for token, (start, end) in word_pieces(tokenizer, word):
            start += framed[start] == " "
            first = max(0, start - LEFT)
            text = framed[first:end] if start < end else ""
            last = end == len(framed) - 1
            result.append(Piece(token, text, start - first, framed if last else ""))
    return result


def make_batch(
    sheets: Sequence[Sheet], queries: Sequence[Query], tokenizer: PreTrainedTokenizerFast
) -> Batch:
    """Join pages and their queries (as many for each page, in page order) with all labels."""
    queries_per_page = len(queries) // len(sheets)
    rows = [pieces(tokenizer, text.lower()) for text, _ in queries]
    shape = (len(rows), max(len(row) for row in rows) + 3)
    start, end, yes, no = tokenizer.convert_tokens_to_ids(
        ["<|im_start|>", "<|im_end|>", "yes", "no"]
    )
    tokens = np.zeros(shape, np.int64)
    context = np.full((*shape, WINDOW), -1, np.int64)
    targets = np.zeros((*shape, PREFIX), np.float32)
    words = np.full(shape, -1, np.float32)
    for number, row in enumerate(rows):
        line = sheets[number // queries_per_page].line
        tokens[number, : len(row) + 3] = [start, *(piece.token for piece in row), end, start]
        for place, piece in enumerate(row, start=1):
            if not piece.text:
                continue
            first = LEFT - piece.shift
            context[number, place, first : first + len(piece.text)] = [CODE[c] for c in piece.text]
            targets[number, place, list(starts(line, piece.text, piece.shift))] = 1
            if piece.word:
                words[number, place] = piece.word in line
    ends = np.array([len(row) + 2 for row in rows])
    relevant = np.array([label for _, label in queries], np.float32)
    arrays = (tokens, ends, context, targets, words, relevant)
    tensors = (torch.from_numpy(array) for array in arrays)
    return Batch(len(sheets), queries_per_page, *tensors, answers=(yes, no))


@lru_cache(maxsize=10_000)
def starts(line: str, text: str, shift: int) -> tuple[int, ...]:
    """Return the visual tokens where a piece starts, as places in the prefix; (0,) for nowhere.

    `line` is a sheet's line, `text` and `shift` are a piece's.
    """
    places, at = set(), line.find(text)
    while at >= 0:
        row, column = divmod(at + shift, COLUMNS + 2)
        places.add(FIRST_VISUAL + row // 2 * GRID[1] + (column - 1) // 4)
        at = line.find(text, at + 1)
    return tuple(sorted(places)) or (0,)


def windows(sheets: Sequence[Sheet]) -> Tensor:
    """Return the (pages * 48, 2 * WINDOW) character codes in and around each visual token."""
    codes = np.array([[CODE[c] for c in sheet.line] for sheet in sheets])
    cells = codes.reshape(len(sheets), ROWS, COLUMNS + 2)[:, :, 1:-1]
    padded = np.pad(cells, ((0, 0), (0, 0), (LEFT, LEFT)))
    views = np.lib.stride_tricks.sliding_window_view(padded, WINDOW, axis=2)[:, :, ::4]
    by_token = views.reshape(len(sheets), GRID[0], 2, GRID[1], WINDOW).transpose(0, 1, 3, 2, 4)
    return torch.from_numpy(by_token.reshape(-1, 2 * WINDOW))
