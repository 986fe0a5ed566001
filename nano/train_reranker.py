"""Train the reranker's base model, on documents other than the default's.

Three stages, each the condition of the next: `read` (the vision encoder learns which characters
stand in and around each visual token), `match` (each piece of a query looks for itself on the page,
in the two lower layers) and `pairs` (words, then questions, with all layers).
Run as python -m nano.train_reranker; an interrupted run continues.
"""

import logging
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast, Qwen3VLForConditionalGeneration

from nano import documents
from nano.architecture import build_model
from nano.matching import (
    CODE,
    LEFT,
    WINDOW,
    Sheet,
    make_batch,
    question_sheets,
    sheet,
    word_queries,
    word_sheet,
)
from nano.matching_losses import MATCHING_LAYER, WIDTH, Helpers, matching_loss, reading_loss, see
from nano.reranker import SPACE, reranker_config, reranker_processor, write_reranker

log = logging.getLogger(__name__)
SCRATCH = Path(".work/nano/reranker")
TARGET = Path("nano/models/reranker")
GUIDE = 0.5  # weight of where to look and of the characters before a piece, against the labels


@dataclass(frozen=True)
class Stage:
    """One stage: its steps, how many layers it trains, how fast, and the share of questions."""

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


@dataclass
class Learner:
    """What is being trained, and its source of chance."""

    model: Qwen3VLForConditionalGeneration
    helpers: Helpers
    tokenizer: PreTrainedTokenizerFast
    rng: random.Random


def spell_embeddings(
    model: Qwen3VLForConditionalGeneration,
    helpers: Helpers,
    tokenizer: PreTrainedTokenizerFast,
    visual: Tensor,
) -> None:
    """Start the token embeddings in the code of the visual tokens.

    Each piece gets the vector that the reading head reads as its characters. The visual tokens are
    scaled to unit variance first. Output projections start small, so that the second layer sees
    both codes undisturbed, and queries start as keys in the matching layer: like looks at like.
    """
    merger, language = model.model.visual.merger.linear_fc2, model.model.language_model
    with torch.no_grad():
        scale = visual.std()
        merger.weight /= scale
        merger.bias /= scale
        helpers.read.weight *= scale
        for number, layer in enumerate(language.layers):
            layer.self_attn.o_proj.weight *= 0.1
            layer.mlp.down_proj.weight *= 0.1
            if number == MATCHING_LAYER:
                layer.self_attn.q_proj.weight.copy_(layer.self_attn.k_proj.weight)
                layer.self_attn.q_norm.weight.fill_(2.0)
    labels = torch.full((len(tokenizer), WINDOW), -1)
    for entry, number in tokenizer.get_vocab().items():
        text = entry.replace(SPACE, " ")
        first = LEFT - (text[0] == " ")
        fits = len(text) <= WINDOW - first  # a special token's name is longer than any piece
        if text.strip() and fits and all(character in CODE for character in text):
            labels[number, first : first + len(text)] = torch.tensor([CODE[c] for c in text])
    vectors = torch.nn.Parameter(torch.randn(len(tokenizer), WIDTH) * 0.3)
    optimizer = torch.optim.Adam([vectors], lr=0.03)
    weight, bias = helpers.read.weight.detach(), helpers.read.bias.detach()
    for _ in range(200):
        logits = (vectors @ weight.T + bias).view(len(tokenizer), 2, WINDOW, -1)[:, 0]
        loss = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-1)
        loss = loss + 1e-3 * vectors.pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    # A direction of their own tells pieces from visual tokens; attention by distance holds on it.
    start = vectors.detach() + torch.randn(WIDTH).sign() * 0.4
    # Two unrelated answers would start with scores of 20 and gradients that drown all others.
    yes, no = (tokenizer.convert_tokens_to_ids(word) for word in ("yes", "no"))
    start[yes] = start[no] + 0.02 * torch.randn(WIDTH)
    language.embed_tokens.weight.data.copy_(start)
    log.info("spelled %d embeddings, loss %.4f", len(tokenizer), loss.item())


def word_pages(rng: random.Random) -> list[Sheet]:
    """Return two thirds pages of random words and one third of the corpus."""
    sheets = [word_sheet(rng, rng.randint(8, 40)) for _ in range(16)]
    return sheets + [sheet(page.canvas) for _ in range(2) for page in documents.family(rng, 4)]


def train_reading(learner: Learner, stage: Stage, step: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of one step of reading alone."""
    sheets = word_pages(learner.rng)
    return reading_loss(learner.helpers, see(learner.model, sheets), sheets)


def train_matching(learner: Learner, stage: Stage, step: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of one step of the language model on what the vision encoder reads.

    A share of the steps asks questions, among ever more near-misses; the others ask for words.
    """
    rng = learner.rng
    share = stage.questions if step < 0.6 * stage.steps else stage.questions * 1.75
    asks = rng.random() < share
    if asks:
        strangers = 2 if step < 0.5 * stage.steps else 1
        sheets, queries = question_sheets(rng, families=6, size=4, strangers=strangers)
    else:
        sheets = word_pages(rng)
        queries = word_queries(sheets, rng, each=10)
    with torch.no_grad():  # reading is learned by now, and would only be disturbed
        visual = see(learner.model, sheets)
    batch = make_batch(sheets, queries, learner.tokenizer)
    loss, figures = matching_loss(learner.model, learner.helpers, visual, batch, GUIDE)
    return loss, {f"{'q' if asks else 'w'}.{name}": value for name, value in figures.items()}


def rate(stage: Stage, step: int) -> float:
    """Return the learning rate: 20 steps of warm-up, level, then linear to a tenth from 60% on."""
    rising = min(1.0, (step + 1) / 20)
    falling = min(1.0, 0.1 + 0.9 * (stage.steps - step) / (0.4 * stage.steps))
    return stage.rate * rising * falling


def run_stage(learner: Learner, stage: Stage, checkpoint: Path) -> None:
    """Train one stage, from its checkpoint where there is one."""
    language = learner.model.model.language_model
    every = language.layers
    parameters = [*learner.helpers.parameters()]
    parameters += (learner.model.model.visual if stage.name == "read" else language).parameters()
    optimizer = torch.optim.AdamW(parameters, lr=stage.rate, weight_decay=0.01, betas=(0.9, 0.98))
    loss_of = train_reading if stage.name == "read" else train_matching
    begun, recent = time.monotonic(), []
    for step in range(restore(learner, optimizer, checkpoint), stage.steps):
        language.layers = every[: stage.layers]  # upper layers come in once there is what to read
        with torch.autocast(learner.model.device.type, dtype=torch.bfloat16):
            loss, figures = loss_of(learner, stage, step)
        for group in optimizer.param_groups:
            group["lr"] = rate(stage, step)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        language.layers = every
        recent.append({name: value.item() for name, value in figures.items()})
        if (step + 1) % 25 == 0 or step + 1 == stage.steps:
            log.info("%s %d %.0fs %s", stage.name, step + 1, time.monotonic() - begun, mean(recent))
            recent = []
            save(learner, optimizer, step + 1, checkpoint)


def mean(recent: Sequence[dict[str, float]]) -> str:
    """Return each figure's mean over the steps that have it, for the log."""
    values: dict[str, list[float]] = {}
    for figures in recent:
        for name, value in figures.items():
            values.setdefault(name, []).append(value)
    return " ".join(f"{name} {sum(v) / len(v):.3f}" for name, v in sorted(values.items()))


def save(learner: Learner, optimizer: torch.optim.Optimizer, step: int, path: Path) -> None:
    """Write all that continuing needs, through a temporary neighbour."""
    state = {
        "step": step,
        "model": learner.model.state_dict(),
        "helpers": learner.helpers.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": learner.rng.getstate(),
    }
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def restore(learner: Learner, optimizer: torch.optim.Optimizer | None, path: Path) -> int:
    """Load a checkpoint if there is one and return the number of steps already done."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    learner.model.load_state_dict(state["model"])
    learner.helpers.load_state_dict(state["helpers"])
    if optimizer is not None:
        optimizer.load_state_dict(state["optimizer"])
    version, numbers, gauss = state["random"]
    learner.rng.setstate((version, tuple(numbers), gauss))
    return state["step"]


def train(stages: Sequence[Stage] = STAGES, scratch: Path = SCRATCH) -> Learner:
    """Run all stages; one that is finished is only loaded."""
    scratch.mkdir(parents=True, exist_ok=True)
    processor = reranker_processor()
    learner = Learner(
        build_model(reranker_config(processor.tokenizer)).train(),
        Helpers(),
        processor.tokenizer,
        random.Random(1),
    )
    for number, stage in enumerate(stages):
        path = scratch / f"{number}_{stage.name}.pt"
        if stage.name == "match" and not path.exists():
            with torch.no_grad():
                visual = see(learner.model, word_pages(learner.rng))
            spell_embeddings(learner.model, learner.helpers, learner.tokenizer, visual)
        run_stage(learner, stage, path)
    return learner


def main() -> None:
    """Train and write nano/models/reranker."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    learner = train()
    write_reranker(TARGET, learner.model, reranker_processor())
    log.info("wrote %s", TARGET)


if __name__ == "__main__":
    main()
