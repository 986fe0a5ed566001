"""Find the largest mini-batch that the device's memory holds: the meaning of `mini_batch: auto`."""

import contextlib
import logging
import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from pagefinder import launching
from pagefinder.errors import InputError
from pagefinder.models import Hardware

log = logging.getLogger(__name__)

# Share of the card that a probe may fill: the rest is for fragmentation and longer queries.
SHARE = 0.92
# What Adam keeps for every trained float32 weight: two moments.
ADAM_BYTES = 8


def largest_mini_batch(attempt: Callable[[int], None], batch: int) -> int:
    """The largest of batch, batch/2, batch/4 ... 1 for which `attempt` does not run out of memory.

    Args:
        attempt: Does the forward and backward pass of a training step with a mini-batch; 0 stands
            for the uncached loss over the whole batch.
        batch: Examples per device and step.

    Returns:
        0 where the whole batch fits uncached, which spares the cached loss its second forward pass.

    Raises:
        InputError: not even a mini-batch of 1 fits.
    """
    size = batch
    while size:
        mini_batch = 0 if size == batch else size
        try:
            attempt(mini_batch)
        except torch.OutOfMemoryError:
            log.info("mini-batch %d of batch %d: out of memory", size, batch)
            size //= 2
            continue
        log.info(
            "mini-batch %d of batch %d fits%s", size, batch, "" if mini_batch else ", uncached"
        )
        return mini_batch
    raise InputError(
        "embedder.mini_batch is auto, and not even one example at a time fits into memory: lower "
        "pixels.max, set embedder.gradient_checkpointing to true, or embedder.lora_rank above 0"
    )


def probe(
    model: SentenceTransformer,
    examples: list[dict[str, Any]],
    make_loss: Callable[[int], torch.nn.Module],
    collate: Callable[[list[dict[str, Any]]], dict[str, Any]],
    collect: Callable[[dict[str, Any]], tuple[list[dict[str, Any]], Any]],
    hardware: Hardware,
) -> int:
    """Settle `mini_batch: auto` with real training steps on the largest pages.

    The optimiser's state does not exist yet, so its bytes are set aside meanwhile. Weights, random
    states and gradients are as before afterwards. Several processes agree on the smallest answer.
    """
    states, python_state = torch.get_rng_state(), random.getstate()
    reserved = ADAM_BYTES * sum(p.numel() for p in model.parameters() if p.requires_grad)
    features, labels = collect(collate(examples))
    features = [_to_device(column, hardware.device) for column in features]

    def attempt(mini_batch: int) -> None:
        with _room(hardware.device, reserved):
            try:
                with hardware.precision():
                    loss = make_loss(mini_batch)(features, labels)
                loss.backward()
            finally:
                model.zero_grad(set_to_none=True)

    was_training = model.training
    model.train()
    try:
        fitting = largest_mini_batch(attempt, len(examples)) or len(examples)
    finally:
        model.train(was_training)
        torch.set_rng_state(states)
        random.setstate(python_state)
    agreed = launching.smallest(fitting)
    return 0 if agreed == len(examples) else agreed


@contextlib.contextmanager
def _room(device: str, reserved: int) -> Iterator[None]:
    """Let a probe use SHARE of the card beside `reserved` bytes, and leave none of it occupied."""
    if not device.startswith("cuda"):
        yield
        return
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(SHARE, torch.device(device))
    try:
        held = torch.empty(reserved, dtype=torch.uint8, device=device)
        yield
        peak = torch.cuda.max_memory_allocated(device) / 2**30
        log.info("probe: peak %.1f GiB of the card", peak)
        del held
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, torch.device(device))
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _to_device(column: dict[str, Any], device: str) -> dict[str, Any]:
    return {
        key: value.to(device) if isinstance(value, torch.Tensor) else value
        for key, value in column.items()
    }
