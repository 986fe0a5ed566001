"""Training, resuming, encoding and reranking on CUDA, on a random-weight model of nano's shape."""

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import tiny_params, write_tiny_corpus, write_vlm
from transformers.utils import is_flash_attn_2_available

from pagefinder import callbacks, encoding, models, scoring, training

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CUDA = {"device": "cuda", "precision": "bf16", "attention": "sdpa", "workers": 2}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("root")
    write_vlm(folder / "models/vlm")
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_tiny_corpus(tmp_path_factory.mktemp("corpus") / "corpus")


def negatives():
    pairs = [(f"q{i:02}", f"p{(i + step) % 24:02}") for i in range(24) for step in (1, 2)]
    return pd.DataFrame(pairs, columns=["query_id", "page_id"])


def train(root, corpus, folder, **knobs):
    params = tiny_params(compute=CUDA, embedder=knobs)
    hardware = models.settle(params.compute)
    model = models.open_embedder(params.base, params.pixels, hardware, root)
    curves = training.train_embedder(
        model,
        corpus,
        negatives(),
        params.embedder,
        params.loss,
        params.compute,
        hardware,
        1,
        folder,
    )
    return model, hardware, curves


def pages(root, corpus, **compute):
    params = tiny_params(compute=CUDA | compute)
    hardware = models.settle(params.compute)
    model = models.open_embedder(params.base, params.pixels, hardware, root)
    return encoding.encode_pages(model, corpus, range(40), hardware, 8)


def test_training_in_bf16_keeps_float32_weights_and_lowers_the_loss(root, corpus, tmp_path):
    model, _, curves = train(root, corpus, tmp_path, epochs=6, mini_batch="auto")
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    losses = curves.loc[curves["metric"] == "loss", "value"].to_numpy()
    assert np.isfinite(losses).all()
    assert losses[-4:].mean() < losses[:4].mean()


def test_an_interrupted_training_goes_on_where_it_was(root, corpus, tmp_path, monkeypatch):
    whole, hardware, _ = train(root, corpus, tmp_path / "whole")
    original = callbacks.Watch.on_step_end

    def killed(self, args, state, control, **keywords):
        if state.global_step == 5:
            raise KeyboardInterrupt
        return original(self, args, state, control, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Watch, "on_step_end", killed)
        with pytest.raises(KeyboardInterrupt):
            train(root, corpus, tmp_path / "torn")
    again, _, _ = train(root, corpus, tmp_path / "torn")
    found = [
        encoding.encode_pages(model, corpus, range(40), hardware, 8) for model in (whole, again)
    ]
    assert (found[0] * found[1]).sum(axis=1).min() >= 0.999


def test_cuda_and_cpu_see_the_same_pages(root, corpus):
    exact = pages(root, corpus, precision="fp32")
    cpu = pages(root, corpus, device="cpu", precision="fp32")
    assert (exact * cpu).sum(axis=1).min() >= 0.9999
    assert (exact * pages(root, corpus)).sum(axis=1).min() >= 0.99


def test_flash_attention_sees_the_same_pages(root, corpus):
    if not is_flash_attn_2_available():
        pytest.skip("flash-attn is not installed: run `make cuda`")
    flash = pages(root, corpus, attention="flash_attention_2")
    assert (flash * pages(root, corpus)).sum(axis=1).min() >= 0.999


def test_reranking_gives_the_scores_of_the_cpu(root, corpus):
    pairs = pd.DataFrame({"query_id": ["q00", "q01"], "page_id": ["p00", "p03"]})
    scores = []
    for device in ("cuda", "cpu"):
        params = tiny_params(compute=CUDA | {"device": device, "precision": "fp32"})
        hardware = models.settle(params.compute)
        model = models.open_reranker(params.reranker, params.pixels, hardware, root)
        scores.append(scoring.score_pairs(model, corpus, pairs, hardware, 2))
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-2)
