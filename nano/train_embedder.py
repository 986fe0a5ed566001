"""Pretrain the embedder base of `nano` on generated pages, from nothing, on a CPU.

First the model learns to read: each visual token names its characters and the vocabulary pieces
that end in it. Then questions and pages are drawn together by the contrastive loss that fine-tuning
uses as well, while reading stays on as a side task.
Run from the project's root as python -m nano.train_embedder; an interrupted run continues.
"""

import math
import random
from pathlib import Path
from types import MethodType

import torch
from tokenizers import AddedToken
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, Qwen3VLForConditionalGeneration

from nano.architecture import WIDTH, build_config, build_model, build_processor
from nano.embedder_batches import (
    GLYPHS,
    PROMPTS,
    Batch,
    build_batch,
    chat_frame,
    draw_sheets,
    page_inputs,
)
from nano.tokenizer import NEWLINE, SPACE, SPECIALS, pair_tokenizer
from nano.training import SCRATCH, Learner, Loss, main, run
from pagefinder.models.vision import join_pages

SEED = 5
STEPS = 1400
READING = 900  # steps before the contrastive loss sets in: most characters are read by then
READING_PAGES, PAGES = 32, 48
READING_RATE, RATE, WARM_UP = 1e-3, 4e-4, 60
SCALE = 20.0
PAGE_TO_QUESTION_WEIGHT = 0.3
DIMENSIONS = (192, 96, 48, 24)
FRAME = sorted({prompt.lower() for prompt in PROMPTS.values()}) + ["system", "user"]
RESERVED = 16  # dimensions for the tokens of the chat format


def embedder_tokenizer() -> PreTrainedTokenizerFast:
    """Return the pair tokenizer with one token for each prompt and role of a chat.

    Prompts and roles stand in every input and so tell nothing: each should cost a single token.
    """
    tokenizer = pair_tokenizer(padding_side="right")
    tokenizer.add_tokens([AddedToken(word, lstrip=True, normalized=True) for word in FRAME])
    return tokenizer


def start_as_average(
    model: Qwen3VLForConditionalGeneration, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Start the language model as a plain average of its input, so that training need not find it.

    All layers pass their input on unchanged but the last, whose attention adds the mean of all
    tokens seen so far. Tokens of the chat format live in RESERVED dimensions of their own, which
    the mean leaves out. With random weights the last token holds next to nothing of the tokens
    before it, all vectors are alike, and hundreds of steps go by before they differ.
    """
    layers = model.model.language_model.layers
    for layer in layers:
        nn.init.zeros_(layer.mlp.down_proj.weight)
        nn.init.zeros_(layer.self_attn.o_proj.weight)
    last = layers[-1].self_attn
    nn.init.eye_(last.v_proj.weight)
    nn.init.eye_(last.o_proj.weight)
    chat = tokenizer.convert_tokens_to_ids([*SPECIALS, *FRAME, "yes", "no", SPACE, NEWLINE])
    embeddings = model.get_input_embeddings().weight
    with torch.no_grad():
        last.v_proj.weight[:, -RESERVED:] = 0
        reserved = embeddings[chat, -RESERVED:].clone()
        embeddings[:, -RESERVED:] = 0
        embeddings[chat] = 0
        embeddings[chat, -RESERVED:] = reserved


def speed_up(model: nn.Module) -> None:
    """Let a Qwen3-VL train faster on pages of one size, given as patches of one frame.

    The vision tower attends to all pages at once. Its patch embedding, a convolution over two
    frames, becomes a product with one: a still picture's frames are equal. With the convolution a
    step takes a third longer while reading and a fifth longer while matching (one thread).
    """
    model.set_attn_implementation("eager")
    join_pages(model, "eager")
    embedding = model.visual.patch_embed
    embedding.forward = MethodType(_embed_one_frame, embedding)


def _embed_one_frame(self: nn.Module, patches: Tensor) -> Tensor:
    """Embed (n, 768) patches as (n, width)."""
    return functional.linear(patches, self.proj.weight.sum(2).flatten(1), self.proj.bias)


def reading_losses(
    model: nn.Module, head: nn.Module, visual: Tensor, batch: Batch
) -> dict[str, Tensor]:
    """Return the losses of `visual`, the vision tower's output of shape (pages * 48, width).

    `glyph`: cross-entropy of the eight characters of each visual token, which `head` predicts.
    `piece`: cross-entropy of the pieces that end in the token, against the whole vocabulary, by
    dot product with the token embeddings. `code`: cosine distance to the mean of these pieces'
    embeddings. So a page's mean visual token and a question's mean token lie close where both hold
    the same words, before the model has seen a question.
    """
    # Most cells are blank: without a weight their class is learned first and the rest waits.
    weight = torch.ones(GLYPHS)
    weight[0] = 0.1
    glyphs = head(visual).view(-1, GLYPHS).float()
    rows = torch.where(batch.glyphs.amax(1) > 0, 1.0, 0.1)
    rows /= rows.sum()
    embeddings = model.get_input_embeddings().weight.detach()
    codes = functional.rms_norm(visual.float(), visual.shape[-1:])
    pieces = functional.cross_entropy(codes @ embeddings.T, batch.pieces, reduction="none")
    similarity = functional.cosine_similarity(codes, batch.pieces @ embeddings)
    return {
        "glyph": functional.cross_entropy(glyphs, batch.glyphs.flatten(), weight=weight),
        "piece": (pieces * rows).sum(),
        "code": ((1 - similarity) * rows).sum(),
    }


def contrastive_loss(questions: Tensor, pages: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss of matching questions with pages, and the share of questions that match.

    The loss is the in-batch cross-entropy from question to page, plus PAGE_TO_QUESTION_WEIGHT times
    that from page to question, averaged over DIMENSIONS. A question matches if its page scores
    highest at the full dimension.

    Args:
        questions: (questions, width) vectors, by page, with as many for each page.
        pages: (pages, width) vectors.
    """
    page_numbers = torch.arange(len(pages))
    questions_per_page = len(questions) // len(pages)
    positives = page_numbers.repeat_interleave(questions_per_page)
    losses, hits = [], []
    for width in DIMENSIONS:
        question_vectors = functional.normalize(questions[:, :width].float(), dim=1)
        page_vectors = functional.normalize(pages[:, :width].float(), dim=1)
        scores = SCALE * question_vectors @ page_vectors.T
        losses.append(functional.cross_entropy(scores, positives))
        # Page to question uses each page's first question.
        by_page = functional.cross_entropy(scores[::questions_per_page].T, page_numbers)
        losses.append(PAGE_TO_QUESTION_WEIGHT * by_page)
        hits.append((scores.argmax(1) == positives).float().mean())
    return torch.stack(losses).sum() / len(DIMENSIONS), hits[0]


def batch_loss(
    model: nn.Module, head: nn.Module, batch: Batch, inputs: dict[str, Tensor], reading: bool
) -> Loss:
    """Return the loss of one batch: of reading alone, or of matching with reading on the side.

    `model` is the Qwen3-VL without its language head. `inputs` come from `page_inputs`, for the
    number of pages in `batch`. Besides the loss the parts of it and the share of hits come back.
    """
    visual: list[Tensor] = []
    hook = model.visual.merger.register_forward_hook(lambda _m, _i, output: visual.append(output))
    if reading:
        model.visual(batch.pixels, grid_thw=inputs["image_grid_thw"])
    else:
        states = model(pixel_values=batch.pixels, **inputs, use_cache=False).last_hidden_state
    hook.remove()
    parts = reading_losses(model, head, visual[0], batch)
    loss = parts["glyph"] + parts["piece"] + parts["code"]
    if reading:
        return loss, parts
    tokens = model(input_ids=batch.question_ids, use_cache=False).last_hidden_state
    questions = tokens[torch.arange(len(tokens)), batch.question_ends]
    match, hits = contrastive_loss(questions, states[:, -1])
    return match + 0.5 * loss, parts | {"match": match, "hits": hits}


def rate(step: int, steps: int) -> float:
    """Return the learning rate of a step: READING_RATE while reading, then up to RATE and down.

    After reading it warms up to RATE and falls by a cosine to a fiftieth.

    The warm-up is long because the language model is updated for the first time then, and large
    first steps undo the reading within ten batches.
    """
    if step < READING:
        return READING_RATE * min(1.0, (step + 1) / 30)
    share = (step - READING) / max(1, steps - READING)
    warm = min(1.0, (step - READING + 1) / WARM_UP)
    return RATE * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))


def train(steps: int = STEPS, scratch: Path = SCRATCH) -> Learner:
    """Return a learner trained for `steps` steps, going on from a checkpoint in `scratch`."""
    processor = build_processor(embedder_tokenizer())
    model = build_model(build_config(processor.tokenizer), SEED)
    start_as_average(model, processor.tokenizer)
    speed_up(model.model)
    head = nn.Linear(WIDTH, 8 * GLYPHS)
    learner = Learner(model, head, processor, random.Random())
    frame = chat_frame(processor, "query")
    inputs = {pages: page_inputs(model.model, processor, pages) for pages in (READING_PAGES, PAGES)}

    def loss_of_step(step: int) -> Loss:
        reading = step < READING
        pages, easy = (READING_PAGES, 0.5) if reading else (PAGES, 0.2)
        learner.rng.seed(f"{SEED} {step}")
        sheets = draw_sheets(learner.rng, pages, easy, reading)
        batch = build_batch(sheets, learner.rng, processor.tokenizer, frame)
        return batch_loss(model.model, head, batch, inputs[pages], reading)

    weights = [*model.parameters(), *head.parameters()]
    rates = [rate(step, steps) for step in range(steps)]
    run(learner, weights, loss_of_step, rates, scratch / "embedder.pt")
    return learner


if __name__ == "__main__":
    main("embedder", train, threads=2)
