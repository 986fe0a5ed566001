"""Batches for the embedder's pretraining: pages, their questions, and what stands where on a page.

A generated page tells for free which character stands in each cell and which piece of the
vocabulary ends in each visual token. Both are labels that make a small model read within minutes,
where the contrastive loss alone learns next to nothing.
"""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerFast, Qwen3VLProcessor

from nano.architecture import STATIC
from nano.documents import family, word_sheet
from nano.sheets import GRID, VISUAL_TOKENS, Sheet, patches
from nano.tokenizer import SPACE, word_pieces

# The prompts are short: at 48 visual tokens a page, every token of a prompt is a measurable cost.
SETTINGS = json.loads((STATIC / "embedder/config_sentence_transformers.json").read_text())
PROMPTS: dict[str, str] = SETTINGS["prompts"]
GLYPHS = 95  # printable ASCII characters
QUESTIONS = 2  # a page costs more than a question, so each page is used with two


@dataclass
class Batch:
    """One step's input: pages, QUESTIONS questions for each, and the labels of reading."""

    pixels: Tensor  # (pages * 192, 768) patches of one frame
    glyphs: Tensor  # (pages * 48, 8) characters of each visual token, from 0 (a blank) to 94
    pieces: Tensor  # (pages * 48, vocabulary) shares of the pieces that end in each visual token
    question_ids: Tensor  # (questions, length) token ids, prompt and padding included
    question_ends: Tensor  # (questions,) index of the last token


def draw_sheets(rng: random.Random, pages: int, easy: float, reading: bool) -> list[Sheet]:
    """Draw `pages` pages: a share of `easy` word sheets, the rest in families of near-misses.

    `reading`: whether the batch teaches reading alone.
    """
    # While only reading is learned, full pages teach the most; a vector holds but a few words.
    fewest, most = (25, 45) if reading else (1, 8)
    sheets = [word_sheet(rng, rng.randint(fewest, most)) for _ in range(round(pages * easy))]
    while len(sheets) < pages:
        sheets += family(rng, rng.choice((1, 1, 2, 4)))
    return sheets[:pages]


def build_batch(
    sheets: Sequence[Sheet],
    rng: random.Random,
    tokenizer: PreTrainedTokenizerFast,
    frame: tuple[list[int], list[int]],
) -> Batch:
    """Turn pages into a batch, with QUESTIONS random questions of each page.

    `frame` is that of `chat_frame` for a query.
    """
    # The same question twice would be its own false negative, so draw without putting back.
    questions = [f" {text}" for sheet in sheets for text in rng.sample(sheet.questions, QUESTIONS)]
    before, after = frame
    rows = [
        torch.tensor(before + row + after)
        for row in tokenizer(questions, add_special_tokens=False)["input_ids"]
    ]
    glyphs = np.array([[[ord(c) - 32 for c in row] for row in s.canvas.glyphs] for s in sheets])
    return Batch(
        patches(sheets),
        torch.from_numpy(tokens_of_cells(glyphs)),
        piece_shares(sheets, tokenizer),
        pad_sequence(rows, batch_first=True),
        torch.tensor([len(row) - 1 for row in rows]),
    )


def tokens_of_cells(cells: np.ndarray) -> np.ndarray:
    """Regroup (pages, 12, 32) cells as (pages * 48, 8): two rows of four to a visual token."""
    cut = cells.reshape(-1, GRID[0], 2, GRID[1], 4)
    return cut.transpose(0, 1, 3, 2, 4).reshape(-1, 8)


def piece_shares(sheets: Sequence[Sheet], tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """Return (pages * 48, vocabulary) shares of the pieces that end in each visual token.

    The shares of a visual token add up to 1. Where no piece ends, all of it is the blank's.
    """
    where, what = [], []
    for page, sheet in enumerate(sheets):
        for line, row in enumerate(sheet.canvas.glyphs):
            first = page * VISUAL_TOKENS + line // 2 * GRID[1]
            for word in re.finditer(r"\S+", "".join(row)):
                for piece, (_, end) in word_pieces(tokenizer, word.group()):
                    # `end` counts a blank before the word, which may be a piece of its own.
                    where.append(first + (word.start() + max(0, end - 2)) // 4)
                    what.append(piece)
    shares = torch.zeros(len(sheets) * VISUAL_TOKENS, len(tokenizer))
    shares[where, what] = 1
    # Without a name of their own, blanks would drown the few words in any mean over a page.
    shares[shares.sum(1) == 0, tokenizer.convert_tokens_to_ids(SPACE)] = 1
    return shares / shares.sum(1, keepdim=True)


def chat_frame(processor: Qwen3VLProcessor, kind: str) -> tuple[list[int], list[int]]:
    """Return the token ids of the chat template before and after the user's content.

    `kind` is "query" or "image". `rendered` is the content as the template writes it: it puts a
    space before a text.
    """
    content, rendered = {
        "query": ("CONTENT", " CONTENT"),
        "image": ([{"type": "image"}], "<|image_pad|>"),
    }[kind]
    messages = [
        {"role": "system", "content": PROMPTS[kind]},
        {"role": "user", "content": content},
    ]
    before, after = processor.apply_chat_template(messages, tokenize=False).split(rendered)
    return processor.tokenizer(before)["input_ids"], processor.tokenizer(after)["input_ids"]


def page_inputs(model: nn.Module, processor: Qwen3VLProcessor, pages: int) -> dict[str, Tensor]:
    """Return the model's inputs for `pages` pages without their pixels: alike in all batches."""
    before, after = chat_frame(processor, "image")
    image = processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    ids = torch.tensor([before + [image] * VISUAL_TOKENS + after])
    grid = torch.tensor([[1, 2 * GRID[0], 2 * GRID[1]]])
    kinds = (ids == image).int()
    positions, _ = model.get_rope_index(ids, mm_token_type_ids=kinds, image_grid_thw=grid)
    return {
        "input_ids": ids.expand(pages, -1),
        "image_grid_thw": grid.expand(pages, -1),
        "position_ids": positions.expand(-1, pages, -1),
    }
