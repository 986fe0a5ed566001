"""Every stage in one process with a model that reads the pages' text, and without a reranker."""

import json

import numpy as np
import pandas as pd
import pytest
import test_stages
import yaml
from tiny import write_text_model

from pagefinder import params_file
from pagefinder.data.corpus import Corpus
from pagefinder.search import main as search
from tools import push, summary

TEXT = {"page_content": "text", "model": "nano/models/text", "query_prompt": "", "page_prompt": ""}


@pytest.fixture(scope="module")
def content():
    knobs = test_stages.small_content()
    cpu = knobs["profiles"]["cpu"]
    knobs["checkpoints"] = "nano/models"
    cpu["base"] |= TEXT
    cpu["embedder"] |= {"dims": [32, 16], "freeze": []}
    cpu["reranker"] |= {"model": ""}
    return knobs


@pytest.fixture(scope="module")
def root(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("text")
    write_text_model(folder / "nano/models/text")
    (folder / "data/raw").mkdir(parents=True)
    (folder / "data/compare").mkdir()
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    for name in test_stages.ORDER:
        test_stages.run_stage(name, params_file.load(folder / "params.yaml"), folder)
    return folder


def test_every_declared_output_is_there(root):
    test_stages.test_every_declared_output_is_there(root)
    test_stages.test_nothing_is_left_in_the_making(root)
    assert json.loads((root / "metrics/reranker.json").read_text()) == {}
    assert pd.read_parquet(root / "data/candidates.parquet").empty
    assert list((root / "models/reranker").iterdir()) == []
    released = sorted(path.name for path in (root / "models/release").iterdir())
    assert released == ["embedder", "fusion.json"]


def test_the_vectors_are_those_of_the_texts(root):
    from sentence_transformers import SentenceTransformer

    texts = Corpus(root / "data/corpus").pages["text"].tolist()[:5]
    for name, model in (("base", "nano/models/text"), ("tuned", "models/embedder")):
        expected = SentenceTransformer(str(root / model), device="cpu").encode_document(texts)
        vectors = np.load(root / f"data/embeddings/{name}/pages.npy")[:5]
        np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert len(np.unique(vectors.round(3), axis=0)) > 1


def test_the_report_and_the_closing_table_say_what_there_is(root, capsys):
    report = (root / "metrics/report/report.md").read_text()
    assert "No reranker was measured." in report
    assert "The embedder reads the text of pages: no pixel budget was measured." in report
    assert "CrossEncoder" not in report
    (root / "dvc.yaml").write_text((test_stages.ROOT / "dvc.yaml").read_text())
    summary.main(root)
    assert "reranked" not in capsys.readouterr().out
    assert push.main([], root) == 0
    assert "REPO_PREFIX-reranker" not in capsys.readouterr().out


def test_the_released_model_is_searched_by_text(root, monkeypatch, capsys):
    monkeypatch.chdir(root)
    assert search(["revenue", "--top", "3"]) == 0
    of_the_run = capsys.readouterr().out
    assert len(of_the_run.splitlines()) == 3
    assert search(["revenue", "--rerank"]) == 1


def test_the_card_gives_texts(root):
    card = (root / "models/release/embedder/README.md").read_text()
    assert ".png" not in card
    assert "text of a document page" in " ".join(card.split())


def test_a_folder_of_pdfs_is_searched_by_its_text(root, tmp_path, monkeypatch, capsys, caplog):
    from sources import write_pdf

    pages = [["solar energy profit"], ["store visits bank"], None]
    write_pdf(tmp_path / "manual.pdf", pages)
    monkeypatch.chdir(root)
    assert search(["solar energy profit", "--pages", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("manual.pdf, page 1")
    assert "manual.pdf, page 3 is passed over: it has no text" in caplog.text
