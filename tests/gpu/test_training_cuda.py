"""Training, resuming, encoding and reranking on the device, on a random model of nano's shape."""

import numpy as np
import pandas as pd
import pytest
from conftest import NEEDS_CUDA
from tiny import mined_negatives, tiny_params
from transformers.utils import is_flash_attn_2_available

from pagefinder.models import encoding, scoring
from pagefinder.models.device import choose_device
from pagefinder.models.opening import open_embedder, open_reranker
from pagefinder.training import callbacks
from pagefinder.training.arguments import TrainingRun
from pagefinder.training.embedder import train_embedder


def train(root, corpus, folder, compute, **knobs):
    params = tiny_params(compute=compute, embedder=knobs)
    device_settings = choose_device(params.compute)
    model = open_embedder(params.base, params.pixels, device_settings, root)
    run = TrainingRun(corpus, params.compute, device_settings, 1, folder)
    curves = train_embedder(model, mined_negatives(), params.embedder, params.loss, run)
    return model, device_settings, curves


def pages(root, corpus, compute, **changed):
    params = tiny_params(compute=compute | changed)
    device_settings = choose_device(params.compute)
    model = open_embedder(params.base, params.pixels, device_settings, root)
    return encoding.encode_pages(model, corpus, range(40), device_settings, 8)


@pytest.mark.parametrize("cached", [True, False])
def test_training_in_bf16_keeps_float32_weights_and_lowers_the_loss(
    device, compute, root, corpus, tmp_path, cached
):
    mini_batch = 2 if cached else "auto" if device == "cuda" else 0
    model, _, curves = train(root, corpus, tmp_path, compute, epochs=6, mini_batch=mini_batch)
    assert {str(p.dtype) for p in model.parameters()} == {"torch.float32"}
    losses = curves.loc[curves["metric"] == "loss", "value"].to_numpy()
    assert np.isfinite(losses).all()
    assert losses[-4:].mean() < losses[:4].mean()


def test_an_interrupted_training_goes_on_where_it_was(compute, root, corpus, tmp_path, monkeypatch):
    whole, device_settings, _ = train(root, corpus, tmp_path / "whole", compute)
    original = callbacks.Watch.on_step_end

    def killed(self, args, state, control, **keywords):
        if state.global_step == 5:
            raise KeyboardInterrupt
        return original(self, args, state, control, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Watch, "on_step_end", killed)
        with pytest.raises(KeyboardInterrupt):
            train(root, corpus, tmp_path / "torn", compute)
    assert any((tmp_path / "torn").glob("checkpoint-*"))
    again, _, _ = train(root, corpus, tmp_path / "torn", compute)
    found = [
        encoding.encode_pages(model, corpus, range(40), device_settings, 8)
        for model in (whole, again)
    ]
    assert (found[0] * found[1]).sum(axis=1).min() >= 0.999


def test_the_device_and_the_cpu_see_the_same_pages(compute, root, corpus):
    exact = pages(root, corpus, compute, precision="fp32", attention="sdpa")
    plain = {"device": "cpu", "precision": "fp32", "attention": "eager"}
    assert (exact * pages(root, corpus, plain)).sum(axis=1).min() >= 0.9999
    assert (exact * pages(root, corpus, compute)).sum(axis=1).min() >= 0.99


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=NEEDS_CUDA)], scope="module")
def test_flash_attention_sees_the_same_pages(compute, root, corpus):
    if not is_flash_attn_2_available():
        pytest.skip("flash-attn is not installed: run `make cuda`")
    flash = pages(root, corpus, compute, attention="flash_attention_2")
    assert (flash * pages(root, corpus, compute, attention="sdpa")).sum(axis=1).min() >= 0.999


def test_reranking_gives_the_scores_of_the_cpu(compute, root, corpus):
    pairs = pd.DataFrame({"query_id": ["q00", "q01"], "page_id": ["p00", "p03"]})
    scores = []
    for one in (compute | {"attention": "sdpa"}, {"device": "cpu", "attention": "eager"}):
        params = tiny_params(compute=one | {"precision": "fp32"})
        device_settings = choose_device(params.compute)
        model = open_reranker(params.reranker, params.pixels, device_settings, root)
        scores.append(scoring.score_pairs(model, corpus, pairs, device_settings, 2))
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-2)
