"""Models in the layout of Qwen's published repositories: budget, prompts, heads and activations."""

import pytest
from published import (
    DEFAULT_PROMPT,
    MAX_PIXELS,
    write_published_embedder,
    write_published_reranker,
)
from sentence_transformers import CrossEncoder, SentenceTransformer
from tiny import blank

from pagefinder.models.visual_tokens import visual_tokens


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("root")
    write_published_embedder(folder / "models/embedding")
    write_published_reranker(folder / "models/reranking")
    return folder


def test_plainly_opened_models_are_as_published(root):
    embedder = SentenceTransformer(str(root / "models/embedding"), device="cpu")
    reranker = CrossEncoder(str(root / "models/reranking"), device="cpu")
    assert embedder.default_prompt_name == "default"
    assert embedder.prompts["default"] == DEFAULT_PROMPT
    assert type(reranker.activation_fn).__name__ == "Identity"
    page = blank(1280, 1280)
    for model in (embedder, reranker):
        # Legacy keys beside `size` win over it.
        assert visual_tokens(model, page) == 35 * 35 <= MAX_PIXELS / 32**2
    assert reranker.predict([("Where is revenue?", blank())]).shape == (1,)
