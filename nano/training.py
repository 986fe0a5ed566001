"""The training loop of both base models: steps, checkpoints, and going on after a stop."""

import logging
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from nano.architecture import write_checkpoint

log = logging.getLogger(__name__)

MODELS, SCRATCH = Path("nano/models"), Path(".work/nano")
CHECKPOINT_EVERY = 25

Loss = tuple[Tensor, dict[str, Tensor]]  # the loss of one step, and figures for the log


@dataclass
class Learner:
    """What is trained, and its source of chance."""

    model: Qwen3VLForConditionalGeneration
    heads: nn.Module  # linear heads that only training uses
    processor: Qwen3VLProcessor
    rng: random.Random  # draws all pages and questions


def main(name: str, train: Callable[[], Learner], threads: int) -> None:
    """Train and write nano/models/NAME, on OMP_NUM_THREADS threads or else on `threads`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", threads)))
    learner = train()
    write_checkpoint(MODELS / name, learner.model, learner.processor, name)
    log.info("wrote %s", MODELS / name)


def run(
    learner: Learner,
    weights: Sequence[nn.Parameter],
    loss_of_step: Callable[[int], Loss],
    rates: Sequence[float],
    checkpoint: Path,
) -> None:
    """Train `weights` for one step per rate, from `checkpoint` if that file exists.

    Args:
        learner: Models and random state that the checkpoint holds; trained in place.
        weights: The parameters that this part of the training changes.
        loss_of_step: Takes the number of a step, from 0, and returns its loss and log figures.
        rates: Learning rate of each step.
        checkpoint: File that is read at the start and written every CHECKPOINT_EVERY steps.
    """
    optimizer = torch.optim.AdamW(weights, betas=(0.9, 0.98), weight_decay=0.01)
    done = restore(learner, optimizer, checkpoint)
    log.info("%s: from step %d of %d", checkpoint.stem, done, len(rates))
    started, rows = time.monotonic(), []
    for step in range(done, len(rates)):
        for group in optimizer.param_groups:
            group["lr"] = rates[step]
        with torch.autocast(learner.model.device.type, torch.bfloat16):
            loss, figures = loss_of_step(step)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        rows.append({name: value.item() for name, value in figures.items()})
        if (step + 1) % CHECKPOINT_EVERY == 0 or step + 1 == len(rates):
            means = pd.DataFrame(rows).mean()  # each figure over the steps that have it
            text = " ".join(f"{name} {value:.3f}" for name, value in means.items())
            seconds = time.monotonic() - started
            log.info("%s: step %d, %.0f s, %s", checkpoint.stem, step + 1, seconds, text)
            save(learner, optimizer, step + 1, checkpoint)
            rows = []


def save(learner: Learner, optimizer: torch.optim.Optimizer, step: int, path: Path) -> None:
    """Write to `path` what training needs to go on after `step` steps.

    The old file stays until the new one is complete.
    """
    state = {
        "step": step,
        "model": learner.model.state_dict(),
        "heads": learner.heads.state_dict(),
        "optimizer": optimizer.state_dict(),
        "random": learner.rng.getstate(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def restore(learner: Learner, optimizer: torch.optim.Optimizer, path: Path) -> int:
    """Load a checkpoint, if there is one, and return the number of steps that it has done."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    learner.model.load_state_dict(state["model"])
    learner.heads.load_state_dict(state["heads"])
    optimizer.load_state_dict(state["optimizer"])
    learner.rng.setstate(state["random"])
    return state["step"]
