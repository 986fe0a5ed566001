"""Find the largest mini-batch that the device's memory holds: the meaning of `mini_batch: auto`."""

import contextlib
import gc
import logging
import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from accelerate.utils import convert_to_fp32
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import batch_to_device

from pagefinder.errors import InputError
from pagefinder.models.device import DeviceSettings
from pagefinder.runtime import processes
from pagefinder.training.trainers import EmbedderTrainer

log = logging.getLogger(__name__)

# Share of the card that a probe may fill: the rest is for fragmentation and longer queries.
SHARE = 0.92
# What Adam keeps for every trained float32 weight: two moments.
ADAM_BYTES = 8
# What several processes add to it: the buckets in which gradients are exchanged.
BUCKET_BYTES = 4


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
    trainer: EmbedderTrainer,
    examples: list[dict[str, Any]],
    make_loss: Callable[[int], torch.nn.Module],
    device_settings: DeviceSettings,
) -> int:
    """The largest mini-batch with which a training step on `examples` fits into memory.

    0 stands for all examples, uncached. Weights and random states stay as they were; gradients are
    cleared. The optimiser's state does not exist yet, so its bytes are set aside meanwhile. Several
    processes agree on the smallest size.

    Args:
        trainer: Has the model, and makes its inputs from examples.
        examples: One process's rows of a batch, with texts and images.
        make_loss: Returns the loss for a mini-batch size.
        device_settings: What the model runs on.
    """
    model = trainer.model
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    several = processes.count() > 1
    reserved = trained * (ADAM_BYTES + (BUCKET_BYTES if several else 0))
    columns, labels = trainer.collect_features(trainer.data_collator(examples))
    features = [batch_to_device(column, device_settings.device) for column in columns]

    def attempt(mini_batch: int) -> None:
        """Run a step's forward and backward pass, to see whether it fits; drop its gradients."""
        with _room(device_settings.device, reserved):
            try:
                make_loss(mini_batch)(features, labels).backward()
            finally:
                model.zero_grad(set_to_none=True)

    with as_in_training(model, device_settings), _same_random(device_settings.device):
        size = largest_mini_batch(attempt, len(examples)) or len(examples)
    agreed = processes.smallest(size)
    return 0 if agreed == len(examples) else agreed


@contextlib.contextmanager
def as_in_training(model: SentenceTransformer, device_settings: DeviceSettings) -> Iterator[None]:
    """Within the block, run `model` in train mode and in the trainer's precision.

    This is for measurements made before the trainer has wrapped the model. Autocast goes into
    `forward`, as Accelerate does, not around the whole step. The cached loss calls the model again
    during backward, when an autocast around the first pass alone has ended. With one autocast
    around the step, casts of weights made in its first pass, without gradients, would be used again
    in the second, which needs gradients (pytorch#112583).
    """
    was_training, plain_forward = model.training, model.forward
    earlier_override = model.__dict__.get("forward")

    def forward(*arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401
        with device_settings.precision():
            output = plain_forward(*arguments, **keywords)
        return convert_to_fp32(output)

    model.train()
    if device_settings.autocast is not None:
        model.forward = forward
    try:
        yield
    finally:
        if earlier_override is None:
            model.__dict__.pop("forward", None)
        else:
            model.forward = earlier_override
        model.train(was_training)


@contextlib.contextmanager
def _same_random(device: str) -> Iterator[None]:
    """Restore the random states of Python, torch and the card after the block."""
    python_state = random.getstate()
    cards = [torch.cuda.current_device()] if device.startswith("cuda") else []
    try:
        with torch.random.fork_rng(cards):
            yield
    finally:
        random.setstate(python_state)


@contextlib.contextmanager
def _room(device: str, reserved: int) -> Iterator[None]:
    """Within the block, limit memory to SHARE of the card less `reserved` bytes; then free it.

    Without CUDA it does nothing.
    """
    if not device.startswith("cuda"):
        yield
        return
    # A device that is named just "cuda" has no index, and here torch wants one.
    card = torch.cuda.current_device()
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(card)
    torch.cuda.set_per_process_memory_fraction(SHARE, card)
    try:
        set_aside = torch.empty(reserved, dtype=torch.uint8, device=device)
        yield
        peak = torch.cuda.max_memory_allocated(card) / 2**30
        log.info("probe: peak %.1f GiB of the card", peak)
        del set_aside
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, card)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(card)
