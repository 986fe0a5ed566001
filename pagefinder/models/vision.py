"""Attend to all pages of one size in one product, and project all their patches in one.

Without flash-attn, transformers calls the attention of a vision tower once a page, and a small
model spends more time between the calls than in them. It hands over all pages at once to any
implementation whose name holds the word flash. These functions bear such names: they compute the
same sums, in one batch for each size of pages.

A tower's first layer is a convolution over patches, each as large as its kernel: that is a matrix
product. As a convolution it takes two to three times as long on a CPU.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import AttentionInterface, PreTrainedModel

Product = Callable[[Tensor, Tensor, Tensor, float | None], Tensor]

# By the tensor that bounds the pages of a batch, which takes its entry along when it goes.
_LENGTHS = WeakTensorKeyDictionary()

NAMES = {"eager": "flash_free_eager", "sdpa": "flash_free_sdpa"}


def join_pages(model: object, attention: str) -> None:
    """Let a model's vision tower see all pages of a batch at once.

    Args:
        model: Left alone unless it is a Qwen3-VL: other towers do not say where a page ends.
        attention: Implementation that the model was opened with; only eager and sdpa need help.
    """
    if (
        attention in NAMES
        and isinstance(model, PreTrainedModel)
        and model.config.model_type == "qwen3_vl"
    ):
        model.set_attn_implementation({"vision_config": NAMES[attention]})


def join_patches(model: nn.Module) -> None:
    """Compute convolutions over patches as products of matrices; results differ by rounding."""
    plain = {"groups": 1, "padding": (0, 0, 0), "dilation": (1, 1, 1)}
    for module in model.modules():
        # A class of its own may compute something else.
        if type(module) is nn.Conv3d and plain.items() <= vars(module).items():
            module.forward = partial(_product_of_patches, module)  # type: ignore[method-assign]


def _product_of_patches(convolution: nn.Conv3d, inputs: Tensor) -> Tensor:
    """What `convolution` makes of inputs, [patches, channels, and its kernel's three sizes].

    Of inputs larger than the kernel it is the convolution itself.

    Returns:
        [patches, channels out, 1, 1, 1]
    """
    if tuple(inputs.shape[2:]) != convolution.kernel_size:
        return type(convolution).forward(convolution, inputs)
    weight = convolution.weight.flatten(1)
    return linear(inputs.flatten(1), weight, convolution.bias)[..., None, None, None]


def _attend(
    product: Product,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    cu_seq_lens_q: Tensor,
    scaling: float | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Attention of each patch to the patches of its page, without dropout as in Qwen's towers.

    The mask that transformers passes is None: a page sees all of itself.

    Args:
        product: Attention of a batch, [pages, heads, patches, size of a head] in and out.
        module: Not used.
        query: [1, heads, patches of all pages, size of a head], as are key and value.
        key: See query.
        value: See query.
        cu_seq_lens_q: [pages + 1], where each page starts, and the end.
        scaling: Factor of query times key; None: one over the square root of a head's size.

    Returns:
        [1, patches of all pages, heads, size of a head], and no weights.
    """
    lengths = _page_lengths(cu_seq_lens_q)
    if len(set(lengths)) == 1:
        sizes = (-1, lengths[0])
        q, k, v = (
            torch.unflatten(heads[0], 1, sizes).transpose(0, 1) for heads in (query, key, value)
        )
        return product(q, k, v, scaling).transpose(1, 2).flatten(0, 1)[None], None
    # One product for all pages of a length.
    parts = [torch.split(heads, lengths, 2) for heads in (query, key, value)]
    outputs: dict[int, Tensor] = {}
    for length in dict.fromkeys(lengths):
        pages = [page for page, patches in enumerate(lengths) if patches == length]
        q, k, v = (torch.cat([part[page] for page in pages]) for part in parts)
        outputs |= dict(zip(pages, product(q, k, v, scaling).transpose(1, 2), strict=True))
    return torch.cat([outputs[page] for page in range(len(lengths))])[None], None


def _page_lengths(bounds: Tensor) -> list[int]:
    """How many patches each page has; `bounds` is [pages + 1], where each starts, and the end.

    A tower hands the same tensor to each of its layers. Reading it makes the processor wait for the
    card, so its values are kept while it exists.
    """
    if bounds not in _LENGTHS:
        _LENGTHS[bounds] = (bounds[1:] - bounds[:-1]).tolist()
    lengths: list[int] = _LENGTHS[bounds]
    return lengths


def _eager(query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
    weights = torch.softmax(query @ key.mT * (scaling or query.shape[-1] ** -0.5), -1)
    return weights.to(value.dtype) @ value


def _sdpa(query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
    return scaled_dot_product_attention(query, key, value, scale=scaling)


AttentionInterface.register(NAMES["eager"], partial(_attend, _eager))
AttentionInterface.register(NAMES["sdpa"], partial(_attend, _sdpa))
