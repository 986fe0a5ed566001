"""Which weights a training changes: adapters are added, parts are frozen."""

import logging

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer

from pagefinder.errors import InputError
from pagefinder.params import Training

log = logging.getLogger(__name__)


def choose_weights(model: SentenceTransformer | CrossEncoder, knobs: Training, seed: int) -> None:
    """Add LoRA adapters, freeze parts and turn on gradient checkpointing, as the params say.

    Raises:
        InputError: `freeze` or `learning_rates` names a part that the model does not have.
    """
    names = [name for name, _ in model.named_parameters()]
    for part in [*knobs.freeze, *knobs.learning_rates]:
        if not any(part in name for name in names):
            raise InputError(f"no parameter's name contains {part!r}; one is named {names[0]!r}")
    if knobs.lora_rank:
        _add_adapters(model, knobs.lora_rank, seed)
    if knobs.gradient_checkpointing:
        model[0].model.activation_checkpointing_enable({"use_reentrant": False})
    for name, parameter in model.named_parameters():
        if any(part in name for part in knobs.freeze):
            parameter.requires_grad_(False)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    log.info("training %.2fM of %.2fM parameters", trained / 1e6, total / 1e6)


def _add_adapters(model: SentenceTransformer | CrossEncoder, rank: int, seed: int) -> None:
    from peft import LoraConfig  # takes a second, which a training without adapters can save

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    with torch.random.fork_rng(devices=[]):  # adapters start at random, before trainers seed
        torch.manual_seed(seed)
        model.add_adapter(config)
