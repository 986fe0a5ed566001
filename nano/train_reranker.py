"""Pretrain the reranker base of `nano` on generated pages, from nothing, on a CPU.

Three choices make matching a question with a page learnable for three million parameters: the page
stands before the question, so that every token of the question can look for itself on the page;
letters and digits come in pairs from the start of each word; and text is lower-cased.

Three stages, each the condition of the next: `read` (the vision encoder learns which characters
stand in and around each visual token), `match` (each piece of a query looks for itself on the page,
in the two lower layers) and `pairs` (words, then questions, with all layers).
Run from the project's root as python -m nano.train_reranker; an interrupted run continues.
"""

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, Qwen3VLForConditionalGeneration

from nano.architecture import WIDTH, build_config, build_model, build_processor
from nano.reranker_batches import CODE, LEFT, WINDOW, make_batch
from nano.reranker_losses import MATCHING_LAYER, Heads, matching_loss, reading_loss, see
from nano.reranker_pages import question_sheets, word_queries, word_sheets
from nano.tokenizer import SPACE, pair_tokenizer
from nano.training import SCRATCH, Learner, Loss, main, run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """One stage: its steps, the lower language layers it runs, learning rate, question share."""

    name: str
    steps: int
    layers: int
    rate: float
    questions: float = 0.0


STAGES = (
    Stage("read", 1100, 0, 1e-3),
    Stage("match", 300, 2, 2e-3),
    Stage("pairs", 1000, 4, 1.5e-3, questions=0.5),
)
SPELLING_STEPS = 200


def spell_embeddings(
    model: Qwen3VLForConditionalGeneration,
    read: nn.Linear,
    tokenizer: PreTrainedTokenizerFast,
    visual: Tensor,
) -> None:
    """Start the token embeddings in the code of the visual tokens, and the layers to suit.

    Each piece gets the vector that the reading head `read` reads as its characters. The visual
    tokens, of which `visual` is a sample, are scaled to unit variance first. Output projections
    start small, so that the second layer sees both codes undisturbed. In the matching layer the
    query projection starts equal to the key projection: like looks at like.
    """
    merger, language = model.model.visual.merger.linear_fc2, model.model.language_model
    with torch.no_grad():
        scale = visual.std()
        merger.weight /= scale
        merger.bias /= scale
        read.weight *= scale
        for layer in language.layers:
            layer.self_attn.o_proj.weight *= 0.1
            layer.mlp.down_proj.weight *= 0.1
        matching = language.layers[MATCHING_LAYER].self_attn
        matching.q_proj.weight.copy_(matching.k_proj.weight)
        matching.q_norm.weight.fill_(2.0)
    vectors = fit_vectors(read, piece_labels(tokenizer))
    # A direction of their own tells pieces from visual tokens; attention by distance holds on it.
    vectors += torch.randn(WIDTH).sign() * 0.4
    # Two unrelated answers would start with scores of 20 and gradients that drown all others.
    yes, no = tokenizer.convert_tokens_to_ids(["yes", "no"])
    vectors[yes] = vectors[no] + 0.02 * torch.randn(WIDTH)
    language.embed_tokens.weight.data.copy_(vectors)


def piece_labels(tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """Return what a visual token shows where a piece starts: (vocabulary, WINDOW) codes or -1."""
    labels = torch.full((len(tokenizer), WINDOW), -1)
    for entry, number in tokenizer.get_vocab().items():
        text = entry.replace(SPACE, " ")
        first = LEFT - (text[0] == " ")
        fits = len(text) <= WINDOW - first  # a special token's name is longer than any piece
        if text.strip() and fits and all(character in CODE for character in text):
            labels[number, first : first + len(text)] = torch.tensor([CODE[c] for c in text])
    return labels


def fit_vectors(read: nn.Linear, labels: Tensor) -> Tensor:
    """Return the vectors that `read` reads as `labels` in the upper row: (vocabulary, width)."""
    vectors = nn.Parameter(torch.randn(len(labels), WIDTH) * 0.3)
    optimizer = torch.optim.Adam([vectors], lr=0.03)
    weight, bias = read.weight.detach(), read.bias.detach()
    for _ in range(SPELLING_STEPS):
        logits = (vectors @ weight.T + bias).view(len(labels), 2, WINDOW, -1)[:, 0]
        loss = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-1)
        loss = loss + 1e-3 * vectors.pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    log.info("spelled %d embeddings, loss %.4f", len(labels), loss.item())
    return vectors.detach()


def read(learner: Learner, step: int) -> Loss:
    """Return the loss of one step of reading alone."""
    sheets = word_sheets(learner.rng)
    return reading_loss(learner.heads, see(learner.model, sheets), sheets)


def match(learner: Learner, stage: Stage, step: int) -> Loss:
    """Return the loss of one step of the language model on what the vision encoder reads.

    A share of the steps has questions, with more near-misses in the later half; the rest has words.
    """
    rng, model = learner.rng, learner.model
    share = stage.questions if step < 0.6 * stage.steps else stage.questions * 1.75
    kind = "q" if rng.random() < share else "w"
    if kind == "q":
        sheets, queries = question_sheets(rng, foreign=2 if step < 0.5 * stage.steps else 1)
    else:
        sheets = word_sheets(rng)
        queries = word_queries(rng, sheets)
    with torch.no_grad():  # reading is learned by now, and would only be disturbed
        visual = see(model, sheets)
    batch = make_batch(sheets, queries, learner.processor.tokenizer)
    language = model.model.language_model
    layers = language.layers
    language.layers = layers[: stage.layers]  # upper layers come in once there is what to read
    loss, figures = matching_loss(model, learner.heads, visual, batch)
    language.layers = layers
    return loss, {f"{kind}.{name}": value for name, value in figures.items()}


def rate(stage: Stage, step: int) -> float:
    """Return a step's learning rate: 20 steps of warm-up, level, from 60% on linear to a tenth."""
    rising = min(1.0, (step + 1) / 20)
    falling = min(1.0, 0.1 + 0.9 * (stage.steps - step) / (0.4 * stage.steps))
    return stage.rate * rising * falling


def train(stages: Sequence[Stage] = STAGES, scratch: Path = SCRATCH / "reranker") -> Learner:
    """Return the learner after all stages; a finished stage is only loaded from `scratch`."""
    processor = build_processor(pair_tokenizer(padding_side="left"), "reranker")
    model = build_model(build_config(processor.tokenizer, "reranker"))
    learner = Learner(model, Heads(), processor, random.Random(1))
    for number, stage in enumerate(stages):
        path = scratch / f"{number}_{stage.name}.pt"
        if stage.name == "read":
            part, loss_of_step = model.model.visual, partial(read, learner)
        else:
            part, loss_of_step = model.model.language_model, partial(match, learner, stage)
        if stage.name == "match" and not path.exists():
            with torch.no_grad():
                visual = see(model, word_sheets(learner.rng))
            spell_embeddings(model, learner.heads.read, processor.tokenizer, visual)
        weights = [*learner.heads.parameters(), *part.parameters()]
        rates = [rate(stage, step) for step in range(stage.steps)]
        run(learner, weights, loss_of_step, rates, path)
    return learner


if __name__ == "__main__":
    main("reranker", train, threads=1)
