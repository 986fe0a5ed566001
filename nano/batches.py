"""Batches for the embedder's pretraining: pages, their questions, and what stands where on a page.

A generated page tells for free which character stands in each cell and which piece of the
vocabulary ends in each visual token. Both are labels that make a small model read within minutes,
where the contrastive loss alone learns next to nothing.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from nano.documents import Sheet, family, word_sheet
from nano.reranker import SPACE
from pagefinder.sources.generated.drawing import COLUMNS, ROWS

VISUAL_TOKENS = (ROWS // 2) * (COLUMNS // 4)
GLYPHS = 95
QUESTIONS = 2  # a page costs more than a question, so each page is used with two


@dataclass
class Batch:
    """One step's input.

    Attributes:
        pixels: (pages * 192, 768) float patches in the order of Qwen's image processor, one frame.
        glyphs: (pages * 48, 8) characters of each visual token, as codes from 0 (a blank) to 94.
        pieces: (pages * 48, vocabulary) shares of the pieces that end in each visual token,
            or of a blank where none does.
        page_words: (pages, vocabulary) shares of the pieces on each page.
        question_ids: (pages * QUESTIONS, length) token ids, prompt and padding included.
        question_ends: (pages * QUESTIONS,) index of the last token.
        question_words: (pages * QUESTIONS, vocabulary) shares of the pieces of each question.
    """

    pixels: Tensor
    glyphs: Tensor
    pieces: Tensor
    page_words: Tensor
    question_ids: Tensor
    question_ends: Tensor
    question_words: Tensor


def draw_sheets(rng: random.Random, pages: int, easy: float, reading: bool) -> list[Sheet]:
    """`pages` pages, a share of `easy` scattered words, the rest in families of near-misses."""
    scattered = round(pages * easy)
    # While only reading is learned, full pages teach the most; a vector holds but a few words.
    fewest, most = (25, 45) if reading else (1, 8)
    sheets = [word_sheet(rng, rng.randint(fewest, most)) for _ in range(scattered)]
    while len(sheets) < pages:
        sheets += family(rng, rng.choice((1, 1, 2, 4)))
    return sheets[:pages]


def build_batch(
    sheets: Sequence[Sheet],
    rng: random.Random,
    tokenizer: PreTrainedTokenizerFast,
    frame: tuple[list[int], list[int]],
) -> Batch:
    """Turn pages into tensors; `frame` holds the token ids before and after a question's own."""
    vocabulary = len(tokenizer)
    pieces, page_words = piece_shares(sheets, tokenizer)
    # The same question twice would be its own false negative, so draw without putting back.
    questions = [text for sheet in sheets for text in rng.sample(sheet.questions, QUESTIONS)]
    blanked = [f" {text}" for text in questions]
    rows = tokenizer(blanked, add_special_tokens=False)["input_ids"]
    ids = torch.full((len(rows), max(map(len, rows)) + len(frame[0]) + len(frame[1])), 0)
    for number, row in enumerate(rows):
        whole = torch.tensor(frame[0] + row + frame[1])
        ids[number, : len(whole)] = whole
    ends = torch.tensor([len(frame[0]) + len(row) + len(frame[1]) - 1 for row in rows])
    words = torch.zeros(len(rows), vocabulary)
    for number, row in enumerate(rows):
        words[number, row] = 1
    glyphs = np.array([[[ord(c) - 32 for c in row] for row in s.canvas.glyphs] for s in sheets])
    pixels = np.stack([np.asarray(sheet.canvas.image) for sheet in sheets])
    return Batch(
        patches(pixels),
        torch.from_numpy(tokens_of_cells(glyphs)),
        pieces,
        page_words,
        ids,
        ends,
        words / words.sum(1, keepdim=True),
    )


def patches(pixels: np.ndarray) -> Tensor:
    """Cut (pages, 192, 256, 3) bytes into (pages * 192, 768) patches.

    Qwen's processor makes the same values, each patch twice: once for either frame of a video.
    """
    pages = len(pixels)
    scaled = torch.from_numpy(pixels).float() / 127.5 - 1
    cut = scaled.reshape(pages, ROWS // 2, 2, 16, COLUMNS // 4, 2, 16, 3)
    return cut.permute(0, 1, 4, 2, 5, 7, 3, 6).reshape(-1, 768)


def tokens_of_cells(cells: np.ndarray) -> np.ndarray:
    """Regroup (pages, 12, 32) cells as (pages * 48, 8): two rows of four to a visual token."""
    cut = cells.reshape(-1, ROWS // 2, 2, COLUMNS // 4, 4)
    return cut.transpose(0, 1, 3, 2, 4).reshape(-1, 8)


@lru_cache(maxsize=100_000)
def word_pieces(tokenizer: PreTrainedTokenizerFast, word: str) -> tuple[tuple[int, int], ...]:
    """Pieces of a word as it stands inside a question, with the place of their last character."""
    # The blank before it counts as place -1.
    encoding = tokenizer.backend_tokenizer.encode(f" {word}", add_special_tokens=False)
    places = zip(encoding.ids, encoding.offsets, strict=True)
    return tuple((piece, end - 2) for piece, (_, end) in places)


def piece_shares(
    sheets: Sequence[Sheet], tokenizer: PreTrainedTokenizerFast
) -> tuple[Tensor, Tensor]:
    """Shares of vocabulary pieces that end in each visual token, and on each page."""
    where, what = [], []
    for page, sheet in enumerate(sheets):
        for line, row in enumerate(sheet.canvas.glyphs):
            first = page * VISUAL_TOKENS + line // 2 * (COLUMNS // 4)
            for word in re.finditer(r"\S+", "".join(row)):
                for piece, last in word_pieces(tokenizer, word.group()):
                    where.append(first + (word.start() + max(0, last)) // 4)
                    what.append(piece)
    shares = torch.zeros(len(sheets) * VISUAL_TOKENS, len(tokenizer))
    shares[where, what] = 1
    pages = shares.reshape(len(sheets), VISUAL_TOKENS, -1).amax(1)
    # Without a name of their own, blanks would drown the few words in any mean over a page.
    shares[shares.sum(1) == 0, tokenizer.convert_tokens_to_ids(SPACE)] = 1
    return (
        shares / shares.sum(1, keepdim=True),
        pages / pages.sum(1, keepdim=True).clamp(min=1),
    )
