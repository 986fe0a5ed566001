"""A page is looked at once: gradients and trainings are those of a look in every pair."""

import os

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import ranked_candidates, tiny_params

from pagefinder.models import scoring
from pagefinder.models.device import choose_device
from pagefinder.models.opening import open_reranker
from pagefinder.models.vision_outputs import PATCHES, VisionOutputs
from pagefinder.training import callbacks, checkpoints
from pagefinder.training.arguments import TrainingRun
from pagefinder.training.pairs import PairLoss
from pagefinder.training.reranker import train_reranker

FROZEN, TRAINED = ("visual",), ()


@pytest.fixture
def looks(monkeypatch):
    """Counts the pages that vision towers are shown, in training mode and in evaluation mode."""
    from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

    forward, counts = Qwen3VLVisionModel.forward, {True: 0, False: 0}

    def counted(self, pixels, grid_thw, **keywords):
        counts[self.training] += len(grid_thw)
        return forward(self, pixels, grid_thw, **keywords)

    monkeypatch.setattr(Qwen3VLVisionModel, "forward", counted)
    return counts


def trained(root, corpus, folder, *, workers=0, **knobs):
    """A trained reranker and its curves."""
    params = tiny_params(compute={"workers": workers}, reranker={"freeze": FROZEN} | knobs)
    device_settings = choose_device(params.compute)
    model = open_reranker(params.reranker, params.pixels, device_settings, root)
    run = TrainingRun(corpus, params.compute, device_settings, 1, folder)
    return model, train_reranker(model, ranked_candidates(), params.reranker, run)


def same(one, other, tolerance):
    """Whether two trainings ended in the same weights and curves."""
    pd.testing.assert_frame_equal(one[1], other[1], atol=tolerance, rtol=0)
    weights = other[0].state_dict()
    for name, weight in one[0].state_dict().items():
        torch.testing.assert_close(weight, weights[name], atol=tolerance, rtol=0)


def test_gradients_through_a_shared_page_are_the_plain_ones(root, corpus, monkeypatch):
    params = tiny_params()
    device_settings = choose_device(params.compute)
    pairs = [(corpus.query_text[f"q{i:02}"], i % 3) for i in range(8)]
    labels = torch.tensor([1.0, 0.0] * 4)
    gradients = []
    for once in (True, False):
        monkeypatch.setattr(scoring, "takes_vision_outputs", lambda model, once=once: once)
        model = open_reranker(params.reranker, params.pixels, device_settings, root).train()
        features = scoring.PairPreprocessor(model, corpus)((pairs, frozenset()))
        assert len(features[PATCHES]) == (3 if once else 8) * 24
        PairLoss(model, VisionOutputs(model), device_settings)([features], labels).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-6, rtol=1e-4)
    assert any(gradients[0][name].abs().max() > 1e-3 for name in gradients[0] if "visual" in name)


@pytest.mark.parametrize("freeze", [FROZEN, TRAINED])
def test_a_training_is_the_same_as_with_a_look_in_every_pair(
    root, corpus, tmp_path, monkeypatch, freeze
):
    once = trained(root, corpus, tmp_path / "once", freeze=freeze)
    monkeypatch.setattr(scoring, "takes_vision_outputs", lambda model: False)
    same(once, trained(root, corpus, tmp_path / "plain", freeze=freeze), 1e-5)


def test_a_frozen_tower_sees_each_page_once_in_the_whole_training(root, corpus, tmp_path, looks):
    trained(root, corpus, tmp_path)
    # 24 train pages in 120 pairs, 8 dev pages at each of three scorings.
    assert looks == {True: 0, False: 24 + 8}


def test_a_tower_that_is_trained_is_asked_again_after_every_step(root, corpus, tmp_path, looks):
    trained(root, corpus, tmp_path, freeze=TRAINED)
    assert looks[True] > 2 * 24
    assert looks[False] >= 3 * 7


@pytest.mark.parametrize("pages", [0, 16])
def test_pages_beyond_the_memory_bound_are_looked_at_in_every_batch(
    root, corpus, tmp_path, looks, pages
):
    whole = trained(root, corpus, tmp_path / "whole")
    looks.update({True: 0, False: 0})
    # A page of 96x64 pixels: 6 visual tokens of 192 float32 numbers, and no deepstack.
    bound = pages * 6 * 192 * 4 / 2**30
    bounded = trained(root, corpus, tmp_path / "bounded", vision_cache_gib=bound)
    assert looks[True] > 24
    same(whole, bounded, 1e-5)


@pytest.mark.parametrize("freeze", [FROZEN, TRAINED])
def test_before_and_after_a_training_pages_are_looked_at_once_where_vision_stayed(
    root, corpus, tmp_path, looks, freeze
):
    params = tiny_params()
    device_settings = choose_device(params.compute, scoring=True)
    base = open_reranker(params.reranker, params.pixels, device_settings, root)
    tuned, _ = trained(root, corpus, tmp_path, freeze=freeze)
    rows = ranked_candidates().head(60)
    plain = [
        scoring.score_pairs(model, corpus, rows, device_settings, 8) for model in (base, tuned)
    ]
    looks.update({True: 0, False: 0})
    page_ids = rows["page_id"].unique().tolist()
    arguments = (corpus, page_ids, device_settings, 8)
    scorers = scoring.shared_scorers((base, tuned), *arguments, limit=2**30)
    found = [score(rows) for score in scorers]
    np.testing.assert_allclose(found, plain, atol=1e-5)
    assert (looks[False] == len(page_ids)) == (freeze == FROZEN)
    looks.update({True: 0, False: 0})
    scorers = scoring.shared_scorers((base, tuned), *arguments, limit=0)  # nothing may be kept
    np.testing.assert_array_equal([score(rows) for score in scorers], plain)
    assert looks[False] >= 2 * len(page_ids)


def test_pairs_of_kept_pages_are_scored_by_their_length_others_by_page(corpus):
    texts = ["short", "a question that is long", "of middle length"]
    pairs = [(text, row) for text in texts for row in (2, 0, 1)]
    order = [pairs[at] for at in scoring._order(corpus, pairs, {0, 2})]
    assert order[:3] == [(text, 1) for text in texts]
    assert order[3:] == [(texts[at], row) for at in (1, 2, 0) for row in (0, 2)]


def test_an_interrupted_training_with_a_frozen_tower_ends_in_the_same_bits(
    root, corpus, tmp_path, monkeypatch
):
    whole = trained(root, corpus, tmp_path / "whole")
    original = callbacks.Watch.on_step_end

    def killed(self, args, state, control, **keywords):
        if state.global_step == 9:
            raise KeyError
        return original(self, args, state, control, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Watch, "on_step_end", killed)
        with pytest.raises(KeyError):
            trained(root, corpus, tmp_path / "torn")
    assert checkpoints.newest_checkpoint(tmp_path / "torn")
    same(whole, trained(root, corpus, tmp_path / "torn"), 0)


def test_pairs_are_preprocessed_in_the_loader_process(root, corpus, tmp_path, monkeypatch):
    preprocess, process, seen = scoring.PairPreprocessor.__call__, os.getpid(), []

    def spied(self, batch):
        # What a loader process appends stays there.
        seen.append((os.getpid() == process, len(batch[0])))
        return preprocess(self, batch)

    monkeypatch.setattr(scoring.PairPreprocessor, "__call__", spied)
    trained(root, corpus, tmp_path / "here", freeze=TRAINED)
    here = len(seen)
    seen.clear()
    trained(root, corpus, tmp_path / "ahead", workers=1, freeze=TRAINED)
    steps = 15
    assert len(seen) == here - steps
    assert np.all([inside for inside, _ in seen])
