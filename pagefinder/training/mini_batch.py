"""Find the cheapest way to train that the device's memory holds: what `mini_batch: auto` means."""

import contextlib
import gc
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from accelerate.utils import convert_to_fp32
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import batch_to_device

from pagefinder.errors import InputError
from pagefinder.models.device import DeviceSettings
from pagefinder.runtime import processes
from pagefinder.training.trainers import EmbedderTrainer, set_checkpointing

log = logging.getLogger(__name__)

# Share of the card that a probe may fill: the rest is for fragmentation and longer queries.
SHARE = 0.92
# What Adam keeps for every trained float32 weight: two moments.
ADAM_BYTES = 8
# What several processes add to it: the buckets in which gradients are exchanged.
BUCKET_BYTES = 4


class Way(NamedTuple):
    """How a training step is computed."""

    mini_batch: int  # examples at a time, of the cached loss; 0: the whole batch, uncached
    checkpointing: bool  # compute activations again in the backward pass, to spare their memory


def ways(batch: int, *, checkpointing: bool) -> list[Way]:
    """The ways to compute a step on a batch, the cheapest first.

    A step is worth three passes forward: one forward and two backward. The cached loss and
    checkpointing each add one. Small mini-batches leave a card idle: the share is taken as one over
    their size.

    Args:
        batch: Examples per device and step.
        checkpointing: Allow gradient checkpointing too.
    """
    sizes = [0, *(batch >> halvings for halvings in range(1, batch.bit_length()))]
    found = [Way(size, on) for on in (False, True)[: 1 + checkpointing] for size in sizes]

    def cost(way: Way) -> float:
        passes = 3 + way.checkpointing + (way.mini_batch > 0)
        return passes * (1 + 1 / (way.mini_batch or batch))

    return sorted(found, key=cost)


def first_that_fits(attempt: Callable[[Way], None], tries: Sequence[Way]) -> Way:
    """The first of `tries` for which `attempt` runs out of memory on no process.

    Args:
        attempt: Does the forward and backward pass of a training step.
        tries: Ways to compute it.

    Raises:
        InputError: none of them fits.
    """
    for way in tries:
        words = f"mini-batch {way.mini_batch}" if way.mini_batch else "the whole batch, uncached"
        words += f", {'with' if way.checkpointing else 'without'} gradient checkpointing"
        try:
            attempt(way)
            fits = True
        except torch.OutOfMemoryError:
            fits = False
        if processes.smallest(int(fits)):
            log.info("%s: fits", words)
            return way
        log.info("%s: out of memory", words)
    raise InputError(
        "embedder.mini_batch is auto, and not even one example at a time fits into memory: lower "
        "pixels.max, set embedder.gradient_checkpointing to true, or embedder.lora_rank above 0"
    )


def probe(
    trainer: EmbedderTrainer,
    examples: list[dict[str, Any]],
    make_loss: Callable[[int], torch.nn.Module],
    device_settings: DeviceSettings,
    *,
    checkpointing: bool,
) -> Way:
    """The cheapest way to compute a training step on `examples` that fits into memory.

    Weights and random states stay as they were; gradients are cleared. The optimiser's state does
    not exist yet, so its bytes are set aside meanwhile. Several processes try the same at a time.
    The model is left with gradient checkpointing as the way says.

    Args:
        trainer: Has the model, and makes its inputs from examples.
        examples: One process's rows of a batch, with texts and images.
        make_loss: Returns the loss for a mini-batch size.
        device_settings: What the model runs on.
        checkpointing: Allow gradient checkpointing too.
    """
    model = trainer.model
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    several = processes.count() > 1
    reserved = trained * (ADAM_BYTES + (BUCKET_BYTES if several else 0))
    columns, labels = trainer.collect_features(trainer.data_collator(examples))
    features = [batch_to_device(column, device_settings.device) for column in columns]

    def attempt(way: Way) -> None:
        """Run a step's forward and backward pass, to see whether it fits; drop its gradients."""
        set_checkpointing(model, on=way.checkpointing)
        with _room(device_settings.device, reserved):
            try:
                # Copies: a model writes its outputs into its inputs, where they would hold the
                # graph of a try that failed.
                copies = [dict(column) for column in features]
                make_loss(way.mini_batch)(copies, labels).backward()
            finally:
                model.zero_grad(set_to_none=True)

    tries = ways(len(examples), checkpointing=checkpointing)
    with as_in_training(model, device_settings), _same_random(device_settings.device):
        way = first_that_fits(attempt, tries)
    set_checkpointing(model, on=way.checkpointing)
    return way


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
