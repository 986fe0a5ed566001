"""nano from pages to reranked answers through every stage, on the device."""

import importlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import stages
from pagefinder import params_file
from pagefinder.data.corpus import Corpus
from pagefinder.models import encoding
from pagefinder.models.device import choose_device
from pagefinder.models.opening import open_embedder

ROOT = Path(__file__).parents[2]
STAGES = (
    "download prepare encode_base mine train_embedder encode_tuned evaluate_embedder candidates "
    "train_reranker evaluate_reranker"
).split()


@pytest.fixture(scope="module")
def knobs(device, compute):
    content = params_file.read(ROOT / "params.yaml")
    cpu = content["profiles"]["cpu"]
    content["evaluate"]["bootstrap"] = 100
    content["mine"]["range_max"] = 10
    cpu["data"]["generated"] |= {"companies": 6, "years": 4}
    cpu["compute"] |= compute
    largest = "auto" if device == "cuda" else 8
    spared = {"mini_batch": largest, "gradient_checkpointing": True}
    cpu["embedder"] |= {"batch": 16, "epochs": 2, "evaluations": 2, "dev_pages": 40} | spared
    cpu["reranker"] |= {
        "batch": 32,
        "evaluations": 1,
        "negatives": 1,
        "depths": [2, 4, 6],
        "compared_depth": 4,
        "train_depth": 6,
        "dev_queries": 6,
        "fusion_queries": 6,
        "gradient_checkpointing": True,
    }
    return params_file.parse(content)


@pytest.fixture(scope="module")
def root(knobs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stages")
    (folder / "data/raw").mkdir(parents=True)
    (folder / "data/compare").mkdir()
    (folder / "nano").mkdir()
    (folder / "nano/models").symlink_to(ROOT / "nano/models")
    for name in STAGES:
        module, *arguments = stages.command(name)
        importlib.import_module(module).main(knobs, folder, *arguments)
    return folder


def metrics(root, name):
    return json.loads((root / "metrics" / f"{name}.json").read_text())


def test_the_embedder_learns(root):
    curves = pd.read_csv(root / "metrics/plots/embedder_training.csv")
    losses = curves.loc[curves["metric"] == "loss", "value"].to_numpy()
    assert np.isfinite(losses).all()
    third = len(losses) // 3
    assert losses[-third:].mean() < losses[:third].mean()
    scores = metrics(root, "embedder")
    assert scores["tuned"]["ndcg@10"] > scores["base"]["ndcg@10"] - 0.05


def test_vectors_are_those_of_the_cpu_in_float32(root, knobs):
    exact = knobs.compute.model_copy(
        update={"device": "cpu", "scoring": "fp32", "attention": "eager"}
    )
    device_settings = choose_device(exact, scoring=True)
    corpus = Corpus(root / "data/corpus")
    for saved, name in ((None, "base"), (root / "models/embedder", "tuned")):
        model = open_embedder(knobs.base, knobs.pixels, device_settings, root, saved)
        expected = encoding.encode_pages(model, corpus, range(16), device_settings, 16)
        found = np.load(root / "data/embeddings" / name / "pages.npy")[:16]
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-3)
        assert (found * expected).sum(axis=1).min() >= 0.999


def test_reranking_lifts_the_right_page(root):
    at = metrics(root, "reranker")["depth"]["6"]
    assert at["tuned"]["ndcg@10"] > at["embedder"]["ndcg@10"] - 0.05
    table = pd.read_parquet(root / "data/per_query/reranker.parquet")
    assert np.isfinite(table["tuned_ndcg@10"]).all()
