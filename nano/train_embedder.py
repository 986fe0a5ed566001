"""Pretrain the embedder base of `nano` on generated pages, from nothing, on a CPU.

First the model learns to read: each visual token names its characters and the vocabulary pieces
that end in it. Then questions and pages are drawn together by the contrastive loss that fine-tuning
uses as well, while reading stays on as a side task. Run from the project's root:

    python -m nano.train_embedder --steps 1400 --threads 2

A stopped run goes on from its last checkpoint in .work/nano.
"""

import argparse
import logging
import math
import random
import time
from pathlib import Path

import torch
from tokenizers import AddedToken
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    PreTrainedTokenizerFast,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)

from nano.architecture import (
    PROMPTS,
    SPECIALS,
    build_config,
    build_model,
    build_processor,
    write_embedder,
)
from nano.batches import GLYPHS, VISUAL_TOKENS, Batch, build_batch, draw_sheets
from nano.equal_pages import speed_up
from nano.reranker import SPACE, pair_tokenizer

Losses = dict[str, Tensor]

log = logging.getLogger("nano.train_embedder")

SEED = 5
READING_PAGES, PAGES = 32, 48
READING = 900  # steps before the contrastive loss sets in: most characters are read by then
READING_RATE, RATE, WARM_UP = 1e-3, 4e-4, 60
SCALE = 20.0
FRAME = sorted({prompt.lower() for prompt in PROMPTS.values()}) + ["system", "user"]
NEWLINE = "\u010a"  # how byte-level BPE writes a line end
RESERVED = 16
DIMENSIONS = (192, 96, 48, 24)
CHECKPOINT_EVERY, LOG_EVERY = 50, 10


def embedder_tokenizer() -> PreTrainedTokenizerFast:
    """The reranker's pairs of letters, plus one token for each prompt and role of a chat.

    What stands in every input says nothing; as a single token it costs next to nothing as well.
    """
    tokenizer = pair_tokenizer()
    tokenizer.padding_side = "right"
    tokenizer.add_tokens([AddedToken(word, lstrip=True, normalized=True) for word in FRAME])
    return tokenizer


def start_as_average(
    model: Qwen3VLForConditionalGeneration, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Start the language model as a plain average of its input, so that training need not find it.

    All layers pass their input on unchanged but the last, whose attention adds the mean of all
    tokens seen so far. Tokens of the chat format live in RESERVED dimensions of their own, which
    the mean leaves out. With random weights the last token holds next to nothing of the others,
    all vectors are alike, and hundreds of steps go by before they part.
    """
    layers = model.model.language_model.layers
    for layer in layers:
        nn.init.zeros_(layer.mlp.down_proj.weight)
        nn.init.zeros_(layer.self_attn.o_proj.weight)
    last = layers[-1].self_attn
    nn.init.eye_(last.v_proj.weight)
    nn.init.eye_(last.o_proj.weight)
    structure = [*SPECIALS, *FRAME, "yes", "no", SPACE, NEWLINE]
    embeddings = model.get_input_embeddings().weight
    with torch.no_grad():
        last.v_proj.weight[:, -RESERVED:] = 0
        chat = tokenizer.convert_tokens_to_ids(structure)
        kept = embeddings[chat, -RESERVED:].clone()
        embeddings[:, -RESERVED:] = 0
        embeddings[chat] = 0
        embeddings[chat, -RESERVED:] = kept


def chat_frame(
    processor: Qwen3VLProcessor, prompt: str, content: str | dict[str, str], shown: str
) -> tuple[list[int], list[int]]:
    """Token ids before and after `content`, which the chat template shows as `shown`."""
    body = content if isinstance(content, str) else [content]
    messages = [{"role": "system", "content": prompt}, {"role": "user", "content": body}]
    text = processor.apply_chat_template(messages, tokenize=False)
    before, after = text.split(shown)
    tokenizer = processor.tokenizer
    return tokenizer(before)["input_ids"], tokenizer(after)["input_ids"]


def page_inputs(model: nn.Module, processor: Qwen3VLProcessor, pages: int) -> dict[str, Tensor]:
    """The inputs that all batches of `pages` pages have in common: everything but the pixels."""
    before, after = chat_frame(processor, PROMPTS["image"], {"type": "image"}, "<|image_pad|>")
    image = processor.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    ids = torch.tensor([before + [image] * VISUAL_TOKENS + after])
    grid = torch.tensor([[1, 12, 16]])
    kinds = (ids == image).int()
    positions, _ = model.get_rope_index(ids, mm_token_type_ids=kinds, image_grid_thw=grid)
    return {
        "input_ids": ids.expand(pages, -1),
        "image_grid_thw": grid.expand(pages, -1),
        "position_ids": positions.expand(-1, pages, -1),
    }


def reading_losses(model: nn.Module, head: nn.Linear, visual: Tensor, batch: Batch) -> Losses:
    """What `visual`, the vision tower's output of shape (pages * 48, width), should say.

    `glyph`: the eight characters of each visual token, through a linear head of its own. `piece`
    and `code`: the token embeddings of the pieces that end there, told apart from all others and
    added up. So a mean over a page's visual tokens and one over a question's tokens lie close
    where both hold the same words, before any question has been seen.
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
    likeness = functional.cosine_similarity(codes, batch.pieces @ embeddings)
    return {
        "glyph": functional.cross_entropy(glyphs, batch.glyphs.flatten(), weight=weight),
        "piece": (pieces * rows).sum(),
        "code": ((1 - likeness) * rows).sum(),
    }


def contrastive_loss(questions: Tensor, pages: Tensor) -> tuple[Tensor, Tensor]:
    """In-batch loss in both directions, mean over DIMENSIONS, and the share of hits."""
    each = len(questions) // len(pages)
    own = torch.arange(len(pages)).repeat_interleave(each)
    losses, hits = [], None
    for width in DIMENSIONS:
        left = functional.normalize(questions[:, :width].float(), dim=1)
        right = functional.normalize(pages[:, :width].float(), dim=1)
        scores = SCALE * left @ right.T
        losses.append(functional.cross_entropy(scores, own))
        back = scores[::each].T
        losses.append(0.3 * functional.cross_entropy(back, torch.arange(len(pages))))
        hits = (scores.argmax(1) == own).float().mean() if hits is None else hits
    return torch.stack(losses).sum() / len(DIMENSIONS), hits


def losses(
    model: nn.Module, head: nn.Linear, batch: Batch, shared: dict[str, Tensor], contrast: bool
) -> Losses:
    """All losses of one batch by name; `hits` is the share of questions that find their page."""
    seen: list[Tensor] = []
    hook = model.visual.merger.register_forward_hook(lambda _m, _i, output: seen.append(output))
    if contrast:
        states = model(pixel_values=batch.pixels, **shared, use_cache=False).last_hidden_state
    else:
        model.visual(batch.pixels, grid_thw=shared["image_grid_thw"])
    hook.remove()
    result = reading_losses(model, head, seen[0], batch)
    if contrast:
        asked = model(input_ids=batch.question_ids, use_cache=False).last_hidden_state
        questions = asked[torch.arange(len(asked)), batch.question_ends]
        result["match"], result["hits"] = contrastive_loss(questions, states[:, -1])
    return result


def total_loss(parts: Losses) -> Tensor:
    """Weigh the losses: reading alone at first, then on the side of matching."""
    reading = parts["glyph"] + parts["piece"] + parts["code"]
    return parts["match"] + 0.5 * reading if "match" in parts else reading


def rate(step: int, steps: int) -> float:
    """READING_RATE while reading, then a warm-up to RATE and a cosine to nearly nothing.

    The warm-up is long because the language model is updated for the first time then, and large
    first steps undo the reading within ten batches.
    """
    if step < READING:
        return READING_RATE * min(1.0, (step + 1) / 30)
    share = (step - READING) / max(1, steps - READING)
    warm = min(1.0, (step - READING + 1) / WARM_UP)
    return RATE * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))


def train(steps: int, folder: Path, scratch: Path) -> None:
    """Train for `steps` steps, going on from a checkpoint in `scratch`, and write `folder`."""
    scratch.mkdir(parents=True, exist_ok=True)
    processor = build_processor(embedder_tokenizer())
    whole = build_model(build_config(processor.tokenizer), SEED)
    start_as_average(whole, processor.tokenizer)
    speed_up(whole.model)
    head = nn.Linear(whole.config.text_config.hidden_size, 8 * GLYPHS)
    weights = [*whole.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=READING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    path, done = scratch / "embedder.pt", 0
    if path.exists():
        state = torch.load(path)
        whole.load_state_dict(state["model"])
        head.load_state_dict(state["head"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["step"]
    log.info(
        "%d parameters, from step %d of %d", sum(w.numel() for w in whole.parameters()), done, steps
    )
    shared = {n: page_inputs(whole.model, processor, n) for n in (READING_PAGES, PAGES)}
    frame = chat_frame(processor, PROMPTS["query"], "CONTENT", " CONTENT")
    for step in range(done, steps):
        began = time.monotonic()
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps)
        rng = random.Random(f"{SEED} {step}")
        easy = 0.5 if step < READING else 0.2
        pages = READING_PAGES if step < READING else PAGES
        sheets = draw_sheets(rng, pages, easy, step < READING)
        batch = build_batch(sheets, rng, processor.tokenizer, frame)
        with torch.autocast("cpu", torch.bfloat16):
            parts = losses(whole.model, head, batch, shared[pages], step >= READING)
        optimizer.zero_grad()
        total_loss(parts).backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        if step % LOG_EVERY == 0:
            text = " ".join(f"{name} {value.item():.3f}" for name, value in parts.items())
            log.info("step %d %.2f s %s", step, time.monotonic() - began, text)
        if (step + 1) % CHECKPOINT_EVERY == 0:
            save(path, whole, head, optimizer, step + 1)
    write_embedder(folder, whole, processor)
    log.info("wrote %s", folder)


def save(
    path: Path,
    model: Qwen3VLForConditionalGeneration,
    head: nn.Linear,
    optimizer: torch.optim.Optimizer,
    step: int,
) -> None:
    """Write a checkpoint through a temporary neighbour."""
    state = {
        "model": model.state_dict(),
        "head": head.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
    }
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("nano/models/embedder"))
    parser.add_argument("--scratch", type=Path, default=Path(".work/nano"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    train(arguments.steps, arguments.folder, arguments.scratch)


if __name__ == "__main__":
    main()
