"""What the reranker learns from a batch: a packed forward pass and the losses of every token."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb

from nano.architecture import WIDTH
from nano.reranker_batches import CHARACTERS, FIRST_VISUAL, PREFIX, WINDOW, Batch, windows
from nano.sheets import GRID, Sheet, patches
from nano.training import Loss

MATCHING_LAYER = 1
GUIDE = 0.5  # weight of where to look and of the characters before a piece, against the labels


class Heads(nn.Module):
    """Linear heads that only training uses."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(WIDTH, 2 * WINDOW * len(CHARACTERS))
        self.context = nn.Linear(WIDTH, WINDOW * len(CHARACTERS))
        self.piece = nn.Linear(WIDTH, 1)
        self.word = nn.Linear(WIDTH, 1)


def see(model: Qwen3VLForConditionalGeneration, sheets: Sequence[Sheet]) -> Tensor:
    """Return the visual tokens of the sheets: (pages * 48, width)."""
    grid = torch.tensor([[1, 2 * GRID[0], 2 * GRID[1]]] * len(sheets))
    return model.model.visual(both_frames(sheets), grid_thw=grid).pooler_output


def both_frames(sheets: Sequence[Sheet]) -> Tensor:
    """Return the (pages * 192, 1536) patches of still pictures as videos of two equal frames."""
    return patches(sheets).view(-1, 3, 1, 256).expand(-1, 3, 2, 256).flatten(1)


def packed_forward(
    model: Qwen3VLForConditionalGeneration, visual: Tensor, batch: Batch
) -> tuple[list[Tensor], Tensor]:
    """Run the language model over every page once, followed by all of its queries side by side.

    A query sees the page and itself, at the positions that it would have alone. So its hidden
    states are the same as if the model ran on the pair of page and query alone.

    Returns:
        Hidden states after each layer, each (pairs, length, width), the last one normalised; and
        the matching layer's attention to the page, (pairs, heads, length, PREFIX).
    """
    pages, queries, length = batch.pages, batch.queries, batch.tokens.shape[1]
    language, ids = model.model.language_model, model.config
    end, start = batch.tokens[0, batch.ends[0] - 1 :][:2].tolist()
    frame = torch.tensor([start, ids.vision_start_token_id, ids.vision_end_token_id, end])
    frame = language.embed_tokens(frame).expand(pages, 4, WIDTH)
    tokens = language.embed_tokens(batch.tokens).view(pages, queries * length, WIDTH)
    cells = visual.view(pages, -1, WIDTH).to(tokens.dtype)
    inputs = torch.cat([frame[:, :2], cells, frame[:, 2:], tokens], 1)
    positions, mask = _layout(queries, length)
    size = inputs.shape[1]
    # Hooks of our own: output_hidden_states sees only the layers of the model's first call.
    outputs: list[Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda _layer, _input, output: outputs.append(output))
        for layer in language.layers
    ]
    last = language(
        inputs_embeds=inputs,
        position_ids=positions[:, None].expand(3, pages, size),
        attention_mask=mask[None, None].expand(pages, 1, size, size),
        visual_pos_masks=torch.zeros(pages, size, dtype=torch.bool),
        use_cache=False,
    ).last_hidden_state
    for hook in hooks:
        hook.remove()
    rotation = language.rotary_emb(inputs, positions[:, None])
    layer = language.layers[MATCHING_LAYER]
    attention = _page_attention(layer, outputs[MATCHING_LAYER - 1], rotation)
    attention = attention.view(pages, -1, queries, length, PREFIX).transpose(1, 2)
    states = [
        state[:, PREFIX:].reshape(pages * queries, length, WIDTH) for state in [*outputs[:-1], last]
    ]
    return states, attention.flatten(0, 1)


def _page_attention(layer: nn.Module, state: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Return how a layer spreads each query token's attention over the page alone.

    Shape (pages, heads, query tokens, PREFIX). Computed a second time: the fast kernels keep no
    attention.
    """
    block, state = layer.self_attn, layer.input_layernorm(state)
    shape = (*state.shape[:2], -1, block.head_dim)
    queries = block.q_norm(block.q_proj(state).view(shape)).transpose(1, 2)
    keys = block.k_norm(block.k_proj(state).view(shape)).transpose(1, 2)
    queries, keys = apply_rotary_pos_emb(queries, keys, *rotation)
    logits = queries[:, :, PREFIX:] @ keys[:, :, :PREFIX].transpose(-1, -2)
    return (logits.float() * block.scaling).softmax(-1)


def _layout(queries: int, length: int) -> tuple[Tensor, Tensor]:
    """Return positions (3, size) and the additive attention mask (size, size) of a packed page."""
    rows, columns = torch.meshgrid(*(torch.arange(size) for size in GRID), indexing="ij")
    cells = torch.stack([torch.zeros_like(rows), rows, columns]).flatten(1) + FIRST_VISUAL
    before = torch.tensor([0, 1]).expand(3, 2)
    after = torch.tensor([10, 11]).expand(3, 2)  # a page takes as many positions as it has columns
    query = (torch.arange(length) + 12).repeat(queries).expand(3, -1)
    positions = torch.cat([before, cells, after, query], 1)
    # Which query a token belongs to; -1 for the page, which all queries see.
    query_numbers = torch.arange(queries).repeat_interleave(length)
    owner = torch.cat([torch.full((PREFIX,), -1), query_numbers])
    order = torch.arange(len(owner))
    visible = (order[:, None] >= order) & ((owner[:, None] == owner) | (owner == -1))
    return positions, torch.where(visible, 0.0, torch.finfo(torch.float32).min)


def reading_loss(heads: Heads, visual: Tensor, sheets: Sequence[Sheet]) -> Loss:
    """Return the cross-entropy of the characters in and around each visual token.

    The figure `read` is the share of characters predicted right, blanks left out.
    """
    logits = heads.read(visual).view(-1, len(CHARACTERS)).float()
    labels = windows(sheets).flatten()
    weights = torch.where(labels == 0, 0.1, 1.0)  # blanks are most of a page and teach little
    loss = functional.cross_entropy(logits, labels, reduction="none")
    hits = (logits.argmax(-1) == labels)[labels > 0].float().mean()
    return (loss * weights).sum() / weights.sum(), {"read": hits}


def matching_loss(
    model: Qwen3VLForConditionalGeneration, heads: Heads, visual: Tensor, batch: Batch
) -> Loss:
    """Return the loss of the pairs and of their tokens, and figures for the log.

    The tokens learn where on the page their piece starts or that it is absent, which characters
    stand in it and before it, and whether their word is on the page. While the model runs no layer
    above the matching one, the losses of words and pairs are left out.
    """
    states, attention = packed_forward(model, visual, batch)
    labelled = batch.targets.sum(-1) > 0
    absent = batch.targets[..., 0] > 0
    mass = (attention * batch.targets[:, None]).sum(-1).clamp_min(1e-5)
    # Present: some head should look there. Absent: all of them should look at the first token.
    present_loss = -mass.mean(1).log()[labelled & ~absent].mean()
    absent_loss = -mass.log().mean(1)[absent].mean()
    context = heads.context(_normalised(states[0])).view(-1, len(CHARACTERS)).float()
    letters = batch.context.flatten()
    context_loss = functional.cross_entropy(context, letters, ignore_index=-1)
    bce = functional.binary_cross_entropy_with_logits
    piece = heads.piece(_normalised(states[MATCHING_LAYER]))[..., 0].float()[labelled]
    piece_loss = bce(piece, (~absent).float()[labelled])
    last_pieces = batch.words >= 0
    word = heads.word(states[-1])[..., 0].float()[last_pieces]
    word_labels = batch.words[last_pieces]
    score = pair_scores(model, states[-1], batch).float()
    pair_loss = bce(score, batch.relevant)
    loss = piece_loss + GUIDE * (present_loss + absent_loss + context_loss)
    if len(states) > MATCHING_LAYER + 1:
        loss = loss + bce(word, word_labels) + pair_loss
    figures = {
        "pair_loss": pair_loss,
        "pair": _accuracy(score, batch.relevant),
        "word": _accuracy(word, word_labels),
        "piece": _accuracy(piece, ~absent[labelled]),
        "absent": absent[labelled].float().mean(),
        "context": (context.argmax(-1) == letters)[letters >= 0].float().mean(),
        "there": present_loss,
        "nowhere": absent_loss,
    }
    return loss, figures


def _normalised(state: Tensor) -> Tensor:
    return functional.rms_norm(state, (WIDTH,))


def _accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    return ((logits > 0) == (labels > 0)).float().mean()


def pair_scores(model: Qwen3VLForConditionalGeneration, states: Tensor, batch: Batch) -> Tensor:
    """Return the scores of the pairs, (pairs,): the logit of yes minus that of no.

    Both are taken at the last token. `states` come after the last layer: (pairs, length, width).
    """
    embeddings = model.model.language_model.embed_tokens.weight
    direction = embeddings[batch.answers[0]] - embeddings[batch.answers[1]]
    return (states[torch.arange(len(states)), batch.ends] * direction).sum(-1)
