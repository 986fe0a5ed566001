"""What the reranker learns from a batch: a packed forward pass and the losses of every token."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb

from nano.matching import CHARACTERS, PREFIX, WINDOW, Batch, Sheet, patches, windows

WIDTH, HEADS = 192, 8
MATCHING_LAYER = 1


class Helpers(nn.Module):
    """Linear heads that only training uses."""

    def __init__(self) -> None:
        super().__init__()
        self.read = nn.Linear(WIDTH, 2 * WINDOW * len(CHARACTERS))
        self.context = nn.Linear(WIDTH, WINDOW * len(CHARACTERS))
        self.piece = nn.Linear(WIDTH, 1)
        self.word = nn.Linear(WIDTH, 1)


def see(model: Qwen3VLForConditionalGeneration, sheets: Sequence[Sheet]) -> Tensor:
    """Return (pages * 48, width) visual tokens."""
    grid = torch.tensor([[1, 12, 16]] * len(sheets))
    return model.model.visual(patches(sheets), grid_thw=grid, return_dict=True).pooler_output


def packed_forward(
    model: Qwen3VLForConditionalGeneration, visual: Tensor, batch: Batch
) -> tuple[list[Tensor], Tensor]:
    """Run the language model over every page once, followed by all of its queries side by side.

    A query sees the page and itself, at the positions it would have alone, so that its hidden
    states are those of the pair.

    Returns:
        Hidden states after each layer, each (pairs, length, width), the last one normalised; and
        the matching layer's attention to the page, (pairs, heads, length, PREFIX).
    """
    ids = model.config
    pages, each, length = batch.pages, batch.queries, batch.tokens.shape[1]
    embed = model.model.language_model.embed_tokens
    end, start = batch.tokens[0, batch.ends[0] - 1 :][:2].tolist()
    frame = embed(torch.tensor([start, ids.vision_start_token_id, ids.vision_end_token_id, end]))
    frame = frame.expand(pages, 4, WIDTH)
    queries = embed(batch.tokens).view(pages, each * length, WIDTH)
    cells = visual.view(pages, -1, WIDTH).to(queries.dtype)
    inputs = torch.cat([frame[:, :2], cells, frame[:, 2:], queries], 1)
    positions, mask = _layout(each, length)
    size = inputs.shape[1]
    seen = torch.zeros(pages, size, dtype=torch.bool)
    # Hooks of our own: output_hidden_states sees only the layers of the model's first call.
    outputs: list[Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda _layer, _input, output: outputs.append(output))
        for layer in model.model.language_model.layers
    ]
    out = model.model.language_model(
        inputs_embeds=inputs,
        position_ids=positions[:, None].expand(3, pages, size),
        attention_mask=mask[None, None].expand(pages, 1, size, size),
        visual_pos_masks=seen,
        use_cache=False,
    )
    for hook in hooks:
        hook.remove()
    rotation = model.model.language_model.rotary_emb(inputs, positions[:, None])
    attention = _page_attention(model, outputs[MATCHING_LAYER - 1], rotation)
    attention = attention.view(pages, HEADS, each, length, PREFIX).transpose(1, 2)
    states = [*outputs[:-1], out.last_hidden_state]
    states = [state[:, PREFIX:].reshape(pages * each, length, WIDTH) for state in states]
    return states, attention.flatten(0, 1)


def _page_attention(
    model: Qwen3VLForConditionalGeneration, state: Tensor, rotation: tuple[Tensor, Tensor]
) -> Tensor:
    """Return how the matching layer spreads each query token's attention over the page alone.

    Shape (pages, heads, query tokens, PREFIX). Computed a second time: the fast kernels keep no
    attention.
    """
    layer = model.model.language_model.layers[MATCHING_LAYER]
    block, state = layer.self_attn, layer.input_layernorm(state)
    shape = (*state.shape[:2], HEADS, -1)
    queries = block.q_norm(block.q_proj(state).view(shape)).transpose(1, 2)
    keys = block.k_norm(block.k_proj(state).view(shape)).transpose(1, 2)
    queries, keys = apply_rotary_pos_emb(queries, keys, *rotation)
    logits = queries[:, :, PREFIX:] @ keys[:, :, :PREFIX].transpose(-1, -2)
    return (logits.float() * block.scaling).softmax(-1)


def _layout(each: int, length: int) -> tuple[Tensor, Tensor]:
    """Return positions (3, size) and the additive attention mask (size, size) of a packed page."""
    rows, columns = torch.meshgrid(torch.arange(6), torch.arange(8), indexing="ij")
    cells = torch.stack([torch.zeros(48, dtype=torch.long), rows.flatten(), columns.flatten()]) + 2
    before = torch.tensor([0, 1]).expand(3, 2)
    after = torch.tensor([10, 11]).expand(3, 2)
    query = (torch.arange(length) + 12).repeat(each).expand(3, -1)
    positions = torch.cat([before, cells, after, query], 1)
    size = positions.shape[1]
    owner = torch.cat([torch.full((PREFIX,), -1), torch.arange(each).repeat_interleave(length)])
    order = torch.arange(size)
    visible = (order[:, None] >= order) & ((owner[:, None] == owner) | (owner == -1))
    return positions, torch.where(visible, 0.0, torch.finfo(torch.float32).min)


def reading_loss(
    helpers: Helpers, visual: Tensor, sheets: Sequence[Sheet]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the cross-entropy of the characters in and around each visual token."""
    logits = helpers.read(visual).view(-1, len(CHARACTERS)).float()
    labels = windows(sheets).flatten()
    weights = torch.where(labels == 0, 0.1, 1.0)  # blanks are most of a page and teach little
    loss = functional.cross_entropy(logits, labels, reduction="none")
    right = (logits.argmax(-1) == labels)[labels > 0].float().mean()
    return (loss * weights).sum() / weights.sum(), {"read": right}


def matching_loss(
    model: Qwen3VLForConditionalGeneration,
    helpers: Helpers,
    visual: Tensor,
    batch: Batch,
    guide: float,
) -> tuple[Tensor, dict]:
    """Return the loss of the pairs, plus what every token of every query can be taught."""
    states, attention = packed_forward(model, visual, batch)
    labelled = batch.targets.sum(-1) > 0
    absent = batch.targets[..., 0] > 0
    mass = (attention * batch.targets[:, None]).sum(-1).clamp_min(1e-5)
    # Present: some head should look there. Absent: all of them should look at the first token.
    present_loss = -mass.mean(1).log()[labelled & ~absent].mean()
    absent_loss = -mass.log().mean(1)[absent].mean()
    context = helpers.context(_even(states[0])).view(-1, len(CHARACTERS)).float()
    letters = batch.context.flatten()
    context_loss = functional.cross_entropy(context, letters, ignore_index=-1)
    bce = functional.binary_cross_entropy_with_logits
    piece = helpers.piece(_even(states[MATCHING_LAYER]))[..., 0].float()[labelled]
    piece_loss = bce(piece, (~absent).float()[labelled])
    judged = batch.found >= 0
    word = helpers.word(states[-1])[..., 0].float()[judged]
    word_loss = bce(word, batch.found[judged])
    score = pair_scores(model, states[-1], batch).float()
    pair_loss = bce(score, batch.relevant)
    loss = piece_loss + guide * (present_loss + absent_loss + context_loss)
    if len(states) > MATCHING_LAYER + 1:
        loss = loss + word_loss + pair_loss
    figures = {
        "pair_loss": pair_loss,
        "pair": ((score > 0) == (batch.relevant > 0)).float().mean(),
        "word": ((word > 0) == (batch.found[judged] > 0)).float().mean(),
        "piece": ((piece > 0) == ~absent[labelled]).float().mean(),
        "absent": absent[labelled].float().mean(),
        "context": (context.argmax(-1) == letters)[letters >= 0].float().mean(),
        "there": present_loss,
        "nowhere": absent_loss,
    }
    return loss, figures


def _even(state: Tensor) -> Tensor:
    return functional.rms_norm(state, (WIDTH,))


def pair_scores(model: Qwen3VLForConditionalGeneration, states: Tensor, batch: Batch) -> Tensor:
    """Return the (pairs,) logits of yes minus those of no at the last token."""
    embeddings = model.model.language_model.embed_tokens.weight
    direction = embeddings[batch.answers[0]] - embeddings[batch.answers[1]]
    return (states[torch.arange(len(states)), batch.ends] * direction).sum(-1)
