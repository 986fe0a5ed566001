"""Models in the layout of Qwen's published repositories: budget, prompts, heads and activations."""

import numpy as np
import pandas as pd
import pytest
from published import (
    DEFAULT_PROMPT,
    MAX_PIXELS,
    write_published_embedder,
    write_published_reranker,
)
from sentence_transformers import CrossEncoder, SentenceTransformer
from tiny import blank, tiny_params, write_tiny_corpus

from pagefinder.errors import InputError
from pagefinder.mining.veto import open_veto
from pagefinder.models.device import choose_device
from pagefinder.models.opening import open_embedder, open_reranker
from pagefinder.models.saving import save_model
from pagefinder.models.visual_tokens import check_budget, visual_tokens
from pagefinder.release.folders import copy_model

EMBEDDER, RERANKER = "models/embedding", "models/reranking"
PARAMS = tiny_params(
    base={"model": EMBEDDER, "pooling": ""},
    reranker={"model": RERANKER, "instruction": "Find the page."},
)
DEVICE_SETTINGS = choose_device(PARAMS.compute)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("root")
    write_published_embedder(folder / EMBEDDER)
    write_published_reranker(folder / RERANKER)
    return folder


def test_plainly_opened_models_are_as_published(root):
    embedder = SentenceTransformer(str(root / EMBEDDER), device="cpu")
    reranker = CrossEncoder(str(root / RERANKER), device="cpu")
    assert embedder.default_prompt_name == "default"
    assert embedder.prompts["default"] == DEFAULT_PROMPT
    assert type(reranker.activation_fn).__name__ == "Identity"
    page = blank(1280, 1280)
    for model in (embedder, reranker):
        # Legacy keys beside `size` win over it.
        assert visual_tokens(model, page) == 35 * 35 <= MAX_PIXELS / 32**2
    assert reranker.predict([("Where is revenue?", blank())]).shape == (1,)


def opened(root, kind):
    """The embedder or the reranker, opened as a stage opens it, at a budget of 96x64 pixels."""
    if kind == "embedder":
        return open_embedder(PARAMS.base, PARAMS.pixels, DEVICE_SETTINGS, root)
    return open_reranker(PARAMS.reranker, PARAMS.pixels, DEVICE_SETTINGS, root)


@pytest.mark.parametrize(
    ("kind", "plainly"), [("embedder", SentenceTransformer), ("reranker", CrossEncoder)]
)
def test_a_published_model_serves_at_the_trained_budget(root, tmp_path, kind, plainly):
    model = opened(root, kind)
    assert visual_tokens(model, blank(960, 640)) == 6
    assert visual_tokens(model, blank(10, 10)) == 1
    assert check_budget(model, blank(), PARAMS.pixels) == 6
    save_model(model, tmp_path / "saved")
    copy_model(tmp_path / "saved", tmp_path / "released")
    served = plainly(str(tmp_path / "released"), device="cpu")
    assert visual_tokens(served, blank(960, 640)) == 6
    assert visual_tokens(served, blank(10, 10)) == 1


def test_a_page_that_fits_does_not_prove_the_budget(root):
    model = SentenceTransformer(str(root / EMBEDDER), device="cpu")
    assert visual_tokens(model, blank()) == 6  # as the budget has it
    with pytest.raises(InputError, match="makes 24 visual tokens of a 192x128 page"):
        check_budget(model, blank(), PARAMS.pixels)


def test_the_veto_compares_probabilities_whatever_activation_is_saved(root, tmp_path):
    corpus = write_tiny_corpus(tmp_path / "corpus")
    params = PARAMS.mine.veto.model_copy(update={"model": RERANKER})
    pairs = pd.DataFrame({"query": [0, 1, 2], "page": [0, 5, 2]})
    veto = open_veto(params, corpus, PARAMS.pixels, PARAMS.compute, root)
    model = open_reranker(params, PARAMS.pixels, DEVICE_SETTINGS, root)
    texts = corpus.queries["text"].iloc[pairs["query"]]
    logits = model.predict(list(zip(texts, corpus.images(pairs["page"]), strict=True)))
    assert np.abs(logits).max() > 0.1
    np.testing.assert_allclose(veto(pairs), 1 / (1 + np.exp(-logits)), atol=1e-5)
