"""Fuse the elementwise arithmetic between a model's matrix products, by torch.compile.

Under autocast a Qwen3-VL computes norms, activations and rotations in float32, kernel by kernel. On
a card that took longer than the products. Whole blocks cannot be compiled: attention asks the card
for the pages' lengths, which breaks the graph.
"""

import functools
import logging
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

log = logging.getLogger(__name__)

# How the modules of transformers' models that hold such arithmetic are named, and its functions.
MODULES = ("MLP", "RMSNorm")
FUNCTIONS = ("apply_rotary_pos_emb", "apply_rotary_pos_emb_vision")
# Of one function's code: a norm has one for each of three kinds of input, with and without
# gradients and in dev scores. Beyond the limit, 8 by default, it would run uncompiled.
VERSIONS = 24


def compile_parts(network: nn.Module, device: str) -> None:
    """Compile norms, MLPs and rotations of a model of transformers; results differ by rounding.

    Where torch.compile does not work, the model is left as it is, and a warning says so.

    Args:
        network: The model; one without such parts is left as it is.
        device: What it computes on.
    """
    parts = [each for each in network.modules() if type(each).__name__.endswith(MODULES)]
    if not parts or not _compiles(device):
        return
    torch._dynamo.config.recompile_limit = VERSIONS
    for part in parts:
        part.compile(dynamic=True)
    for source in {sys.modules[type(part).__module__] for part in parts}:
        for name in FUNCTIONS:
            function = getattr(source, name, None)
            if function is not None and not hasattr(function, "plain"):
                setattr(source, name, _compiled_on(device, function))
    log.info(
        "%d norms and MLPs are compiled, and rotations: the first steps are slower", len(parts)
    )


def _compiled_on(device: str, plain: Callable[..., Any]) -> Callable[..., Any]:
    """A function of tensors, compiled where the first one lies on a device of this type.

    Models on another device of this process keep the plain one.
    """
    compiled = torch.compile(plain, dynamic=True)
    kind = device.partition(":")[0]

    @functools.wraps(plain)
    def function(*arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401
        first = next(iter((*arguments, *keywords.values())))
        chosen = compiled if first.device.type == kind else plain
        return chosen(*arguments, **keywords)

    function.plain = plain  # type: ignore[attr-defined]
    return function


def _compiles(device: str) -> bool:
    """Whether torch.compile works here: it needs a C compiler, and on a card Python's headers."""
    try:
        torch.compile(lambda tensor: tensor.sin() * 2 + tensor)(torch.ones(64, device=device))
    except Exception as error:  # the kinds are many, all meaning that it does not work here
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        log.warning(
            "compute.compile is true, but torch.compile does not work here, so training is slower "
            "(%s): install a C compiler and Python's headers, or set it to false",
            reason,
        )
        return False
    return True
