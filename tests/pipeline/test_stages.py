"""Every stage in one process, on the smallest corpus: what dvc.yaml runs, in its order."""

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import stages
from pagefinder import params, params_file
from pagefinder.runtime import disk

ROOT = Path(__file__).parents[2]
ORDER = (
    "download write_queries prepare encode_base mine train_embedder encode_tuned evaluate_embedder "
    "evaluate_pixels candidates train_reranker evaluate_reranker export report"
).split()


def small_content(**overrides: object) -> dict:
    content = params_file.read(ROOT / "params.yaml")
    cpu = content["profiles"]["cpu"]
    content["evaluate"]["bootstrap"] = 100
    content["mine"]["range_max"] = 10
    cpu["data"]["generated"] |= {"companies": 4, "years": 3}
    cpu["pixels"]["max"] = 128 * 96
    cpu["compute"]["threads"] = 1
    cpu["embedder"] |= {"batch": 16, "epochs": 1, "evaluations": 2}
    cpu["reranker"] |= {
        "batch": 32,
        "epochs": 1,
        "evaluations": 1,
        "negatives": 1,
        "depths": [2, 4, 6],
        "compared_depth": 4,
        "train_depth": 6,
        "dev_queries": 6,
        "fusion_queries": 6,
    }
    for path, value in overrides.items():
        block = content
        *folders, last = path.split("__")
        for folder in folders:
            block = block[folder]
        block[last] = value
    return content


def small(**overrides: object) -> params.Params:
    return params_file.parse(small_content(**overrides))


def run_stage(name: str, knobs: params.Params, root: Path) -> None:
    module, *arguments = stages.command(name)
    importlib.import_module(module).main(knobs, root, *arguments)


def run_all(root: Path, knobs: params.Params) -> None:
    (root / "data/raw").mkdir(parents=True)
    (root / "data/compare").mkdir()
    (root / "nano").mkdir()
    (root / "nano/models").symlink_to(ROOT / "nano/models")
    for name in ORDER:
        run_stage(name, knobs, root)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pipeline")
    run_all(folder, small())
    return folder


def metrics(root: Path, name: str) -> dict:
    return json.loads((root / "metrics" / f"{name}.json").read_text())


def test_every_declared_output_is_there(root):
    for stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values():
        for kind in ("outs", "metrics", "plots"):
            for entry in stage.get(kind, []):
                path = entry if isinstance(entry, str) else next(iter(entry))
                assert "${" in path or (root / path).exists(), path


def test_the_disk_of_a_run_is_predicted_within_a_tenth(root):
    knobs = small()
    needs = disk.needs(knobs, disk.amounts_of(knobs, root), disk.models_of(knobs, root))
    predicted = {name: size for need in needs.values() for name, size in need.outputs.items()}
    written = {name: disk.folder_bytes([root / name]) for name in predicted}
    assert sum(predicted.values()) == pytest.approx(sum(written.values()), rel=0.1)
    # So few pages take less than their folders' tables; the models are what matters.
    for name in ("data/corpus", "data/embeddings/tuned", "models/embedder", "models/release"):
        assert predicted[name] == pytest.approx(written[name], rel=0.1), name


def test_nothing_is_left_in_the_making(root):
    assert not any((root / ".work/making").iterdir())
    assert not [path for path in (root / ".work").iterdir() if path.name.startswith("train_")]


def test_metrics_have_the_keys_that_others_rely_on(root):
    embedder, dimensions = metrics(root, "embedder"), metrics(root, "dimensions")
    assert 0 <= embedder["base"]["ndcg@10"] <= 1
    assert embedder["gain"]["ndcg@10"] == pytest.approx(
        embedder["tuned"]["ndcg@10"] - embedder["base"]["ndcg@10"], abs=2e-6
    )
    assert "bm25" in embedder["text"]
    knobs = small()
    assert [int(dimension) for dimension in dimensions["dims"]] == list(knobs.embedder.dims)
    assert dimensions["recommended"]["dimension"] in knobs.embedder.dims
    assert set(metrics(root, "reranker")["depth"]) == {"2", "4", "6"}


def test_dimensions_and_files_agree_with_the_headline(root):
    embedder, dimensions = metrics(root, "embedder"), metrics(root, "dimensions")
    assert dimensions["dims"]["192"]["tuned"]["ndcg@10"] == embedder["tuned"]["ndcg@10"]
    per_query = pd.read_parquet(root / "data/per_query/reranker.parquet")
    middle = metrics(root, "reranker")["depth"]["4"]
    assert per_query["tuned_ndcg@10"].mean() == pytest.approx(middle["tuned"]["ndcg@10"], abs=1e-6)


def test_no_eval_page_is_trained_on(root):
    pages = pd.DataFrame(
        importlib.import_module("pagefinder.data.corpus").Corpus(root / "data/corpus").pages
    )
    split = pages.set_index("page_id")["split"]
    negatives = pd.read_parquet(root / "data/negatives.parquet")
    assert set(split[negatives["page_id"]]) == {"train"}
    candidates = pd.read_parquet(root / "data/candidates.parquet")
    assert (split[candidates["page_id"]].to_numpy() == candidates["split"].to_numpy()).all()
    documents = pages.groupby("document_id")["split"].nunique()
    assert documents.max() == 1


def test_released_models_reproduce_the_vectors(root):
    from sentence_transformers import SentenceTransformer

    from pagefinder.data.corpus import Corpus
    from pagefinder.retrieval.vectors import cut

    model = SentenceTransformer(str(root / "models/release/embedder"), device="cpu")
    corpus = Corpus(root / "data/corpus")
    tuned = np.load(root / "data/embeddings/tuned/pages.npy")[:4]
    dimension = metrics(root, "dimensions")["recommended"]["dimension"]
    released = model.encode_document(corpus.images(range(4)))
    # Of unit length, so that an inner product ranks as the metrics do.
    np.testing.assert_allclose(released, cut(tuned, dimension), atol=1e-4)


def test_the_released_reranker_gives_the_metrics_scores(root):
    from sentence_transformers import CrossEncoder

    from pagefinder.data.corpus import Corpus

    names = ["query", "q0", "page", "rank", "logit", "run"]
    run = pd.read_csv(root / "data/runs/reranker/tuned.trec", sep=" ", names=names)
    first = run[run["query"] == run["query"][0]]
    assert len(first) == 6
    corpus = Corpus(root / "data/corpus")
    question = corpus.query_text[run["query"][0]]
    pages = corpus.images([corpus.page_row[page] for page in first["page"]])
    ranked = CrossEncoder(str(root / "models/release/reranker"), device="cpu").rank(question, pages)
    assert [at["corpus_id"] for at in ranked] == list(range(6))
    expected = 1 / (1 + np.exp(-first["logit"].to_numpy()))
    np.testing.assert_allclose([at["score"] for at in ranked], expected, atol=1e-4)


def test_a_second_run_gives_the_same_bytes(root, tmp_path):
    """Stage by stage from the first run's inputs: the same outputs, byte for byte."""
    shutil.copytree(root / "data", tmp_path / "data")
    shutil.copytree(root / "metrics", tmp_path / "metrics")
    shutil.copytree(root / "models", tmp_path / "models")
    (tmp_path / "nano").symlink_to(root / "nano")
    for name in (
        "download",
        "prepare",
        "mine",
        "evaluate_embedder",
        "candidates",
        "export",
        "report",
    ):
        run_stage(name, small(), tmp_path)
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if path.is_file() and relative.parts[0] in ("data", "metrics", "models"):
            assert (tmp_path / relative).read_bytes() == path.read_bytes(), relative


def test_stages_run_without_dvc():
    # As where it is not installed: the name cannot be imported.
    modules = sorted({stages.command(name)[0] for name in ORDER})
    code = f"import sys; sys.modules['dvc'] = None\nimport {', '.join(modules)}"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
