"""Batches made ready in loader processes give what encoding and scoring in one process give."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import tiny_params

from pagefinder.errors import InputError
from pagefinder.models import encoding, prefetching, scoring
from pagefinder.models.device import DeviceSettings, choose_device
from pagefinder.models.opening import open_embedder, open_reranker
from pagefinder.training import dev

PARAMS = tiny_params()
PLAIN, AHEAD = (
    DeviceSettings("cpu", None, "eager"),
    DeviceSettings("cpu", None, "eager", loader_processes=1),
)


@pytest.fixture(scope="module")
def embedder(root):
    choose_device(PARAMS.compute)
    return open_embedder(PARAMS.base, PARAMS.pixels, PLAIN, root)


@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_a_batch_has_the_same_bits(embedder, corpus, autocast):
    plain, ahead = replace(PLAIN, autocast=autocast), replace(AHEAD, autocast=autocast)
    for rows in (range(8), np.arange(30, 35)):
        found = encoding.encode_pages(embedder, corpus, rows, ahead, 8)
        assert found.dtype == np.float32
        assert np.array_equal(found, encoding.encode_pages(embedder, corpus, rows, plain, 8))


def test_patches_are_half_as_large_under_autocast(embedder, corpus):
    ahead = replace(AHEAD, autocast=torch.bfloat16)
    batches = [corpus.page_inputs(range(4))]
    (features,) = prefetching.prepared(batches, embedder.preprocess, ahead)
    assert features["pixel_values"].dtype == torch.bfloat16


def test_chunks_that_are_no_multiple_of_the_batch_stay_in_order(
    embedder, corpus, tmp_path, monkeypatch
):
    monkeypatch.setitem(encoding.CHUNK, encoding.PAGES, 11)
    found = {}
    for name, device_settings in (("plain", PLAIN), ("ahead", AHEAD)):
        chunks = tmp_path / name
        encoding.encode_corpus(embedder, corpus, device_settings, 4, chunks)
        # An interrupted run has the others encoded again.
        (chunks / f"000001-{encoding.PAGES}").unlink()
        encoding.encode_corpus(embedder, corpus, device_settings, 4, chunks)
        encoding.merge(chunks, corpus, tmp_path / "merged")
        found[name] = np.load(tmp_path / "merged" / encoding.PAGES)
    np.testing.assert_allclose(found["ahead"], found["plain"], atol=1e-6)
    assert np.ptp(found["plain"], axis=0).max() > 0.01


def test_dev_scores_are_the_same(embedder, corpus, monkeypatch):
    evaluator = dev.dev_retrieval(corpus, PARAMS.embedder, 4, seed=1)
    plain = evaluator(embedder)
    dev.encode_ahead(evaluator, corpus, AHEAD)
    monkeypatch.setattr(embedder, "encode_document", None)
    assert evaluator(embedder) == pytest.approx(plain)


@pytest.mark.parametrize("head", ["logit", "dense"])
def test_scores_are_the_same(root, corpus, head):
    reranker = PARAMS.reranker.model_copy(update={"head": head})
    model = open_reranker(reranker, PARAMS.pixels, PLAIN, root)
    pairs = pd.DataFrame(
        [(f"q{i % 7:02}", f"p{i * 5 % 11:02}") for i in range(23)], columns=["query_id", "page_id"]
    )
    expected = scoring.score_pairs(model, corpus, pairs, PLAIN, 4)
    found = scoring.score_pairs(model, corpus, pairs, AHEAD, 4)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(expected) > 1e-3
    assert scoring.score_pairs(model, corpus, pairs[:0], AHEAD, 4).shape == (0,)


def test_a_users_mistake_comes_back_as_one_line():
    def prepare(number):
        if number == 3:
            raise InputError("page 3 no longer decodes")
        return {"number": number}

    made = prefetching.prepared(range(10), prepare, AHEAD)
    assert [next(made)["number"] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(InputError, match="^page 3 no longer decodes$"):
        next(made)


def test_only_a_gpu_is_prepared_for_and_need_not_repeat_its_bits(monkeypatch):
    compute = PARAMS.compute.model_copy(update={"workers": 4})
    assert choose_device(compute).loader_processes == 0
    assert torch.are_deterministic_algorithms_enabled()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert choose_device(compute.model_copy(update={"device": "cuda"})).loader_processes == 4
    assert not torch.are_deterministic_algorithms_enabled()
    choose_device(compute)
