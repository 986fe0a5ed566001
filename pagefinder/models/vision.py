"""Attend to many pages in one product where they are of one size.

Without flash-attn, transformers calls the attention of a vision tower once a page, and a small
model spends more time between the calls than in them. It hands over all pages at once to any
implementation whose name holds the word flash. These functions bear such names: they compute the
same sums, in one batch of equal pages.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

Product = Callable[[Tensor, Tensor, Tensor, float | None], Tensor]

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
    lengths = (cu_seq_lens_q[1:] - cu_seq_lens_q[:-1]).tolist()
    equal = len(set(lengths)) == 1
    # Pages of several sizes go one by one, as they do in transformers.
    sizes = [sum(lengths)] if equal else lengths
    parts = zip(*(torch.split(heads, sizes, 2) for heads in (query, key, value)), strict=True)
    outputs = []
    for part in parts:
        patches = lengths[0] if equal else part[0].shape[2]
        q, k, v = (heads[0].unflatten(1, (-1, patches)).transpose(0, 1) for heads in part)
        outputs.append(product(q, k, v, scaling).transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs)[None], None


def _eager(query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
    weights = torch.softmax(query @ key.mT * (scaling or query.shape[-1] ** -0.5), -1)
    return weights.to(value.dtype) @ value


def _sdpa(query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
    return scaled_dot_product_attention(query, key, value, scale=scaling)


AttentionInterface.register(NAMES["eager"], partial(_attend, _eager))
AttentionInterface.register(NAMES["sdpa"], partial(_attend, _sdpa))
