"""Norms, MLPs and rotations are compiled where that works, and only there."""

import logging

import pytest
import torch
from tiny import tiny_params
from transformers.models.qwen3_vl import modeling_qwen3_vl

from pagefinder.models import compiling
from pagefinder.models.device import choose_device
from pagefinder.models.opening import open_embedder

PARAMS = tiny_params()


@pytest.fixture
def network(root, monkeypatch):
    """The tiny model; what compiling changes in its library is undone at the end."""
    for name in compiling.FUNCTIONS:
        monkeypatch.setattr(modeling_qwen3_vl, name, getattr(modeling_qwen3_vl, name))
    device_settings = choose_device(PARAMS.compute)
    with torch._dynamo.config.patch(recompile_limit=8):
        yield open_embedder(PARAMS.base, PARAMS.pixels, device_settings, root)[0].model


def compile_to_calls(monkeypatch):
    """Let torch.compile return a function that notes the name of what it would have compiled."""
    calls = []

    def stand_in(function, **_):
        def noted(*arguments, **keywords):
            calls.append(getattr(function, "__qualname__", ""))
            return function(*arguments, **keywords)

        return noted

    monkeypatch.setattr(torch, "compile", stand_in)
    return calls


def test_parts_of_both_towers_are_compiled_once(network, monkeypatch):
    calls = compile_to_calls(monkeypatch)
    compiling.compile_parts(network, "cpu")
    first = modeling_qwen3_vl.apply_rotary_pos_emb
    compiling.compile_parts(network, "cpu")
    assert modeling_qwen3_vl.apply_rotary_pos_emb is first
    compiled = {
        name
        for name, module in network.named_modules()
        if module._compiled_call_impl is not None and "layers.0." in name
    }
    norms = {"input_layernorm", "post_attention_layernorm", "self_attn.q_norm", "self_attn.k_norm"}
    assert compiled == {f"language_model.layers.0.{name}" for name in {"mlp"} | norms}
    assert network.visual.blocks[0].mlp._compiled_call_impl is not None
    tensors = [torch.ones(1, 2, 3, 4)] * 2 + [torch.ones(1, 3, 4)] * 2
    calls.clear()
    modeling_qwen3_vl.apply_rotary_pos_emb(*tensors)
    assert calls == ["apply_rotary_pos_emb"]
    modeling_qwen3_vl.apply_rotary_pos_emb(
        q=tensors[0], k=tensors[1], cos=tensors[2], sin=tensors[3]
    )
    assert len(calls) == 2


def test_a_model_on_another_device_keeps_the_plain_rotation(network, monkeypatch):
    calls = compile_to_calls(monkeypatch)
    monkeypatch.setattr(compiling, "_compiles", lambda device: True)
    compiling.compile_parts(network, "cuda:0")
    tensors = [torch.ones(1, 2, 3, 4)] * 2 + [torch.ones(1, 3, 4)] * 2
    modeling_qwen3_vl.apply_rotary_pos_emb(*tensors)
    assert calls == []


def test_without_a_compiler_the_model_stays_and_a_warning_says_so(network, monkeypatch, caplog):
    def broken(function, **_):
        raise RuntimeError("Failed to find C compiler.\n  Please specify via CC")

    monkeypatch.setattr(torch, "compile", broken)
    with caplog.at_level(logging.WARNING):
        compiling.compile_parts(network, "cpu")
    assert "does not work here" in caplog.text
    assert "Failed to find C compiler" in caplog.text
    assert all(module._compiled_call_impl is None for module in network.modules())
    assert not hasattr(modeling_qwen3_vl.apply_rotary_pos_emb, "plain")


def test_a_model_without_such_parts_is_left_alone(monkeypatch):
    monkeypatch.setattr(torch, "compile", None)
    compiling.compile_parts(torch.nn.Sequential(torch.nn.Linear(2, 2)), "cpu")
