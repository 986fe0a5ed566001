"""A page as one input of its image and its text: trained, saved, reopened and scored the same."""

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from tiny import mined_negatives, ranked_candidates, tiny_params, write_tiny_corpus, write_vlm

from pagefinder.data.corpus import Corpus
from pagefinder.models.device import choose_device
from pagefinder.models.encoding import encode_pages
from pagefinder.models.opening import open_embedder, open_reranker
from pagefinder.models.saving import save_model
from pagefinder.models.scoring import score_pairs
from pagefinder.models.visual_tokens import check_budget
from pagefinder.release.folders import copy_model, page_content
from pagefinder.training.arguments import TrainingRun
from pagefinder.training.embedder import train_embedder
from pagefinder.training.reranker import train_reranker

BOTH = {"page_content": "image_text"}
PARAMS = tiny_params(base=BOTH, reranker=BOTH)
DEVICE_SETTINGS = choose_device(PARAMS.compute)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    write_vlm(root / "models/vlm")
    write_tiny_corpus(root / "corpus")
    return root


@pytest.fixture
def run(root, tmp_path):
    corpus = Corpus(root / "corpus", "image_text")
    return TrainingRun(corpus, PARAMS.compute, DEVICE_SETTINGS, 1, tmp_path / "checkpoints")


def released(model, folder):
    """The folder of a model as it is released."""
    save_model(model, folder / "saved")
    copy_model(folder / "saved", folder / "released", "image_text")
    assert page_content(folder / "released") == "image_text"
    return str(folder / "released")


def test_an_embedder_of_both_opens_again_with_the_same_vectors(root, run, tmp_path):
    model = open_embedder(PARAMS.base, PARAMS.pixels, DEVICE_SETTINGS, root)
    corpus, rows = run.corpus, np.arange(6)
    page = corpus.page_inputs([0])[0]
    assert check_budget(model, page, PARAMS.pixels) == 6, "the text takes nothing of the budget"
    before = encode_pages(model, corpus, rows, DEVICE_SETTINGS, 4)
    curves = train_embedder(model, mined_negatives(), PARAMS.embedder, PARAMS.loss, run)
    assert set(curves["metric"]) == {"loss", "dev_ndcg@10"}
    vectors = encode_pages(model, corpus, rows, DEVICE_SETTINGS, 4)
    assert np.abs(vectors - before).max() > 1e-3
    again = SentenceTransformer(released(model, tmp_path), device="cpu")
    pages = [{"image": corpus.image(row), "text": corpus.text(row)} for row in rows]
    found = again.encode_document(pages, normalize_embeddings=True)
    np.testing.assert_allclose(found, vectors, atol=1e-5)
    for part in ("image", "text"):
        alone = again.encode_document([page[part] for page in pages], normalize_embeddings=True)
        assert np.abs(alone - found).max() > 1e-3, f"{part} alone is another input"


def test_a_reranker_of_both_opens_again_with_the_same_scores(root, run, tmp_path):
    model = open_reranker(PARAMS.reranker, PARAMS.pixels, DEVICE_SETTINGS, root)
    corpus, candidates = run.corpus, ranked_candidates()
    train_reranker(model, candidates, PARAMS.reranker, run)
    pairs = candidates[candidates["query_id"] == "q32"].reset_index(drop=True)
    scores = score_pairs(model, corpus, pairs, DEVICE_SETTINGS, 3)
    again = CrossEncoder(released(model, tmp_path), device="cpu")
    rows = [corpus.page_row[page_id] for page_id in pairs["page_id"]]
    pages = [{"image": corpus.image(row), "text": corpus.text(row)} for row in rows]
    inputs = [(corpus.query_text["q32"], page) for page in pages]
    found = again.predict(inputs, activation_fn=torch.nn.Identity())
    np.testing.assert_allclose(found, scores, atol=1e-4)
    without = [(query, page["image"]) for query, page in inputs]
    assert np.abs(again.predict(without, activation_fn=torch.nn.Identity()) - found).max() > 1e-4
