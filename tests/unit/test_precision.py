"""Which arithmetic trains a model: measured once on a machine, kept, and stable near a tie."""

import logging
from dataclasses import replace

import pytest
import torch
from tiny import tiny_params

from pagefinder.models import precision
from pagefinder.models.device import DeviceSettings
from pagefinder.models.opening import open_embedder, open_reranker
from pagefinder.models.precision import Steps, faster_precision

AUTO = tiny_params(compute={"precision": "auto"}).compute
BF16 = DeviceSettings("cpu", torch.bfloat16, "eager")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/pagefinder"


@pytest.fixture(scope="module")
def model(root):
    params = tiny_params()
    return open_embedder(params.base, params.pixels, replace(BF16, autocast=None), root)


def measuring(monkeypatch, bf16: float, fp32: float) -> list[int]:
    """Have every measurement come to these seconds; the list grows with each."""
    calls: list[int] = []

    def measured(*_: object) -> Steps:
        calls.append(1)
        return Steps(bf16, fp32)

    monkeypatch.setattr(precision, "_measured", measured)
    return calls


@pytest.mark.parametrize(
    ("bf16", "fp32", "chosen"),
    [(1.0, 0.6, None), (1.0, 0.9, torch.bfloat16), (1.0, 1.1, torch.bfloat16)],
)
def test_float32_is_taken_only_where_it_is_clearly_faster(
    model, corpus, monkeypatch, caplog, bf16, fp32, chosen
):
    measuring(monkeypatch, bf16, fp32)
    with caplog.at_level(logging.INFO):
        assert faster_precision(model, corpus, BF16, AUTO) == replace(BF16, autocast=chosen)
    assert f"took {bf16:.3f} s in bfloat16, {fp32:.3f} s in float32" in caplog.text


def test_a_machine_is_measured_once_for_a_model(model, corpus, monkeypatch, cache):
    calls = measuring(monkeypatch, 1.0, 0.5)
    first = faster_precision(model, corpus, BF16, AUTO)
    measuring(monkeypatch, 0.5, 1.0)
    assert faster_precision(model, corpus, BF16, AUTO) == first
    assert len(calls) == 1
    (file,) = cache.iterdir()
    file.write_text("torn")
    assert faster_precision(model, corpus, BF16, AUTO) == BF16


def test_another_number_of_threads_is_measured_anew(model, corpus, monkeypatch):
    calls = measuring(monkeypatch, 1.0, 0.5)
    faster_precision(model, corpus, BF16, AUTO)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    faster_precision(model, corpus, BF16, AUTO)
    assert len(calls) == 2


def test_a_named_precision_is_not_measured(model, corpus, monkeypatch):
    calls = measuring(monkeypatch, 1.0, 0.5)
    named = tiny_params(compute={"precision": "bf16"}).compute
    assert faster_precision(model, corpus, BF16, named) == BF16
    without = replace(BF16, autocast=None)
    assert faster_precision(model, corpus, without, AUTO) == without
    assert not calls


def test_a_cache_that_cannot_be_written_is_a_warning(model, corpus, monkeypatch, caplog, cache):
    cache.parent.mkdir()
    cache.write_text("a file")
    measuring(monkeypatch, 1.0, 0.5)
    assert faster_precision(model, corpus, BF16, AUTO).autocast is None
    assert "set XDG_CACHE_HOME to a folder of yours, or compute.precision" in caplog.text


def test_measuring_leaves_the_model_and_the_random_numbers_as_they_were(model, root, corpus):
    params = tiny_params()
    reranker = open_reranker(params.reranker, params.pixels, replace(BF16, autocast=None), root)
    for each in (model, reranker):
        each.train()
        weights = {name: value.clone() for name, value in each.state_dict().items()}
        state = torch.get_rng_state()
        steps = precision._measured(each, corpus, BF16)
        assert min(steps.bf16, steps.fp32) > 0
        assert each.training
        assert torch.equal(torch.get_rng_state(), state)
        assert all(p.grad is None for p in each.parameters())
        assert all(torch.equal(value, weights[name]) for name, value in each.state_dict().items())
