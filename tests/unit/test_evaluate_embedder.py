"""The stage on a small corpus: files, figures, repeats, slices, claims and baselines."""

import itertools
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import ir_measures
import numpy as np
import pandas as pd
import pytest
import vector_corpus
from corpora import write_corpus
from ir_measures import R, nDCG

from pagefinder import layout, params_file
from pagefinder.data.corpus import Corpus
from pagefinder.errors import InputError
from pagefinder.params import Params
from pagefinder.retrieval import precisions
from pagefinder.retrieval.vectors import cut
from stages import evaluate_embedder

ROOT = Path(__file__).parents[2]
OUTPUTS = ("data/runs/embedder", "data/per_query", "metrics")


def settings(**evaluate: object) -> Params:
    content = params_file.read(ROOT / "params.yaml")
    content["profile"] = "cpu"
    content["evaluate"] |= {"bootstrap": 200} | evaluate
    content["compare"] = ["other"]
    content["compare_models"] = {"other": {"model": "x"}}
    content["profiles"]["cpu"]["embedder"]["dims"] = [32, 16, 8]
    return params_file.parse(content)


def build(root: Path, **options: bool) -> Path:
    vector_corpus.write(root / layout.CORPUS, **options)
    for folder, noise in (
        (layout.BASE_VECTORS, 2.2),
        (layout.TUNED_VECTORS, 0.9),
        (layout.COMPARE_VECTORS / "other", 2.6),
    ):
        vector_corpus.encode(root / layout.CORPUS, root / folder, noise)
    return root


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = build(tmp_path_factory.mktemp("root"))
    evaluate_embedder.main(settings(distractors="all"), root)
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for folder in OUTPUTS
        for path in sorted((root / folder).rglob("*"))
        if path.is_file()
    }


def metrics(root: Path, name: str) -> dict:
    return json.loads((root / f"metrics/{name}.json").read_text())


def first_stage(root: Path) -> dict:
    return json.loads((root / layout.FIRST_STAGE).read_text())


def test_the_files_are_as_promised(root) -> None:
    assert {name.split("/", 1)[1] for name in contents(root) if name.startswith("data/runs")} == {
        f"runs/embedder/{name}.trec"
        for name in (
            "base",
            "tuned",
            "other",
            "bm25",
            "random",
            "base+distractors",
            "tuned+distractors",
            "qrels",
            "base+bm25",
            "tuned+bm25",
            *(
                f"tuned@{metrics(root, 'dimensions')[name]['dimension']}{with_bm25}"
                for name in ("recommended", "beats_base")
                for with_bm25 in ("", "+bm25")
            ),
        )
    }


def test_figures_equal_ir_measures_on_the_files(root) -> None:
    runs = root / "data/runs/embedder"
    qrels = list(ir_measures.read_trec_qrels(str(runs / "qrels.trec")))
    embedder = metrics(root, "embedder")

    def theirs(name: str) -> dict:
        run = ir_measures.read_trec_run(str(runs / f"{name}.trec"))
        return ir_measures.calc_aggregate([nDCG @ 10, nDCG @ 5, R @ 1, R @ 10], qrels, run)

    tuned = theirs("tuned")
    names = {"ndcg@10": nDCG @ 10, "ndcg@5": nDCG @ 5, "recall@1": R @ 1, "recall@10": R @ 10}
    for name, measure in names.items():
        assert embedder["tuned"][name] == pytest.approx(tuned[measure], abs=1e-6), name
    singles = {
        "base": embedder["base"],
        "bm25": embedder["text"]["bm25"],
        "random": embedder["random"],
        "other": embedder["compare"]["other"],
        "base+bm25": metrics(root, "fusion")["base+bm25"],
        "tuned+bm25": metrics(root, "fusion")["tuned+bm25"],
        "tuned+distractors": embedder["distractors"]["tuned"],
    }
    for name, value in singles.items():
        assert value["ndcg@10"] == pytest.approx(theirs(name)[nDCG @ 10], abs=1e-6), name
    assert embedder["distractors"]["tuned"]["ndcg@10"] < embedder["tuned"]["ndcg@10"]


def test_gain_is_the_difference_and_lies_in_its_interval(root) -> None:
    embedder = metrics(root, "embedder")
    gain = embedder["gain"]
    difference = embedder["tuned"]["ndcg@10"] - embedder["base"]["ndcg@10"]
    assert gain["ndcg@10"] == pytest.approx(difference, abs=2e-6)
    assert 0 < gain["low"] < gain["ndcg@10"] < gain["high"]
    assert gain["p_value"] < 0.05
    assert gain["documents"] == 10


def test_fused_with_bm25_it_is_compared_with_each_part(root) -> None:
    embedder, fusion = metrics(root, "embedder"), metrics(root, "fusion")
    alone = {"bm25": embedder["text"]["bm25"]} | {
        name: embedder[name] for name in ("base", "tuned")
    }
    for name in ("base", "tuned"):
        fused = fusion[f"{name}+bm25"]
        assert sum(fused["weights"].values()) == pytest.approx(1)
        assert list(fused["weights"]) == list(fused["over"]) == [name, "bm25"]
        for part, gain in fused["over"].items():
            difference = fused["ndcg@10"] - alone[part]["ndcg@10"]
            assert gain["ndcg@10"] == pytest.approx(difference, abs=2e-6)
            assert gain["low"] <= gain["ndcg@10"] <= gain["high"]
    assert first_stage(root) == fusion["tuned+bm25"]["weights"]
    claims = pd.read_csv(root / "data/per_query/embedder_comparisons.csv")
    claim = claims[(claims["before"] == "bm25") & (claims["after"] == "tuned")].iloc[0]
    assert fusion["bm25"]["over"]["tuned"] == pytest.approx(
        {
            "ndcg@10": -claim["difference"],
            "low": -claim["high"],
            "high": -claim["low"],
            "p_value": claim["p_value"],
            "documents": 10,
        }
    )


def test_dev_alone_chooses_the_weights(root, tmp_path) -> None:
    """Other eval questions change no weight; where dev's words mislead, BM25 has none."""
    weights = metrics(root, "fusion")["base+bm25"]["weights"]
    build(tmp_path)
    queries = pd.read_parquet(tmp_path / layout.CORPUS / "queries.parquet")
    rubbish = queries.assign(text=queries["text"].where(queries["split"] != "eval", "zebra"))
    rubbish.to_parquet(tmp_path / layout.CORPUS / "queries.parquet")
    evaluate_embedder.main(settings(), tmp_path)
    assert metrics(tmp_path, "embedder")["text"]["bm25"]["ndcg@10"] < 0.3
    assert metrics(tmp_path, "fusion")["base+bm25"]["weights"] == weights
    rubbish = queries.assign(text=queries["text"].where(queries["split"] != "dev", "zebra"))
    rubbish.to_parquet(tmp_path / layout.CORPUS / "queries.parquet")
    evaluate_embedder.main(settings(), tmp_path)
    fusion = metrics(tmp_path, "fusion")
    assert fusion["tuned+bm25"]["weights"] == {"tuned": 1.0, "bm25": 0.0}
    assert fusion["tuned+bm25"]["over"]["tuned"]["ndcg@10"] == 0
    assert first_stage(tmp_path) == {"tuned": 1.0, "bm25": 0.0}


@pytest.mark.parametrize("split", ["train", "eval"])
def test_weights_are_chosen_among_the_pages_of_train_too(root, tmp_path, split) -> None:
    """Where train's pages mislead BM25 it loses weight; those of eval do not count."""
    build(tmp_path)
    corpus = Corpus(tmp_path / layout.CORPUS)
    pages, queries = corpus.table.to_pylist(), corpus.queries
    dev = itertools.cycle(queries.loc[queries["split"] == "dev", "text"])
    pages = [page | ({"text": next(dev)} if page["split"] == split else {}) for page in pages]
    qrels = list(corpus.qrels.itertuples(index=False, name=None))
    write_corpus(tmp_path / layout.CORPUS, pages, queries.to_dict("records"), qrels)
    evaluate_embedder.main(settings(), tmp_path)
    before, after = (metrics(at, "fusion")["tuned+bm25"]["weights"] for at in (root, tmp_path))
    assert after["bm25"] < before["bm25"] if split == "train" else after == before


@pytest.mark.parametrize("without", ["text", "query"])
def test_without_text_or_queries_on_dev_nothing_is_fused(tmp_path, without, caplog) -> None:
    build(tmp_path)
    corpus = Corpus(tmp_path / layout.CORPUS)
    pages, queries = corpus.table.to_pylist(), corpus.queries
    if without == "query":
        queries = queries[queries["split"] != "dev"]
        for folder in (layout.BASE_VECTORS, layout.TUNED_VECTORS, layout.COMPARE_VECTORS / "other"):
            path = tmp_path / folder / "queries.npy"
            np.save(path, np.load(path)[queries.index])
    else:
        pages = [page | {"text": page["text"] * (page["split"] != "dev")} for page in pages]
    qrels = list(corpus.qrels.itertuples(index=False, name=None))
    write_corpus(tmp_path / layout.CORPUS, pages, queries.to_dict("records"), qrels)
    evaluate_embedder.main(settings(), tmp_path)
    assert metrics(tmp_path, "fusion") == {}
    assert first_stage(tmp_path) == {"tuned": 1.0, "bm25": 0.0}
    assert "bm25" in metrics(tmp_path, "embedder")["text"]
    assert "no weight for BM25" in caplog.text


def test_every_model_has_its_size_beside_its_score(root) -> None:
    table = pd.read_csv(root / "data/per_query/embedder_models.csv").set_index("model")
    assert table["parameters"].to_dict() == {"base": 32022, "tuned": 32009, "other": 32026}
    embedder = metrics(root, "embedder")
    expected = {name: embedder[name]["ndcg@10"] for name in ("base", "tuned")}
    expected["other"] = embedder["compare"]["other"]["ndcg@10"]
    assert table["ndcg@10"].to_dict() == expected


def test_few_numbers_and_only_numbers(root) -> None:
    def flat(content: object) -> list[object]:
        return sum(map(flat, content.values()), []) if isinstance(content, dict) else [content]

    for name in ("embedder", "dimensions"):
        assert all(type(value) in (int, float) for value in flat(metrics(root, name)))
    plain = {k: v for k, v in metrics(root, "embedder").items() if k != "compare"}
    assert len(flat(plain)) <= 15


def test_dimensions(root) -> None:
    dimensions = metrics(root, "dimensions")
    ndcg = {d: at["tuned"]["ndcg@10"] for d, at in dimensions["dims"].items()}
    table = pd.read_csv(root / "metrics/plots/dimensions.csv")
    assert len(table) == 2 * 3 * 5 + 5
    assert ndcg["32"] == metrics(root, "embedder")["tuned"]["ndcg@10"]
    assert ndcg["8"] < ndcg["32"]
    assert dimensions["precision"]["int8"]["16"]["bytes_per_page"] == 16
    assert dimensions["precision"]["int8"]["32"]["ndcg@10"] == pytest.approx(ndcg["32"], abs=0.02)
    choice, full = dimensions["recommended"]["dimension"], ndcg["32"]
    lost = 1 - ndcg[str(choice)] / full
    assert dimensions["recommended"]["loss"] == pytest.approx(lost, abs=2e-6)
    assert dimensions["recommended"]["bits"] in (32, 8, 1)
    assert set(dimensions["dev_precision"]) == {"float32", "int8", "binary_rescored"}
    base = dimensions["dims"]["32"]["base"]["ndcg@10"]
    ahead = [d for d in (32, 16, 8) if ndcg[str(d)] > base]
    assert dimensions["beats_base"]["dimension"] == min(ahead)
    front = table[(table["model"] == "tuned") & (table["pareto"] == 1)].sort_values(
        "bytes_per_page"
    )
    assert front["ndcg@10"].is_monotonic_increasing
    assert table.loc[table["model"] == "tuned", "ndcg@10"].max() == front["ndcg@10"].max()
    for _, of_model in table.groupby("model"):  # each model has its own front
        cheapest = of_model[of_model["bytes_per_page"] == of_model["bytes_per_page"].min()]
        assert cheapest.loc[cheapest["ndcg@10"].idxmax(), "pareto"] == 1


def test_a_new_precision_is_measured_with_the_others(tmp_path, monkeypatch) -> None:
    search_int4 = partial(precisions.search_scalar_codes, bits=4)
    int4 = precisions.Precision("int4", 4, search_int4, needs_train_pages=True)
    monkeypatch.setitem(precisions.PRECISIONS, "int4", int4)
    evaluate_embedder.main(settings(), build(tmp_path))
    scores = metrics(tmp_path, "dimensions")["precision"]
    assert list(scores) == [
        "float32",
        "int8",
        "int8_truncated",
        "binary",
        "binary_rescored",
        "int4",
    ]
    assert scores["int4"]["16"]["bytes_per_page"] == 8
    assert 0 < scores["int4"]["32"]["ndcg@10"] <= 1


def test_a_compared_model_may_have_a_dimension_of_its_own(tmp_path) -> None:
    build(tmp_path)
    folder = tmp_path / layout.COMPARE_VECTORS / "other"
    for name in ("pages", "queries"):
        np.save(folder / f"{name}.npy", cut(np.load(folder / f"{name}.npy"), 20))
    evaluate_embedder.main(settings(), tmp_path)
    assert list(metrics(tmp_path, "dimensions")["dims"]) == ["32", "16", "8"]
    grid = pd.read_csv(tmp_path / "metrics/plots/dimensions.csv")
    assert set(grid.loc[grid["model"] == "other", "dimension"]) == {20}


@pytest.mark.parametrize(("tolerance", "choice"), [(0.0, 32), (1.0, 8)])
def test_tolerance_decides(root, tmp_path, tolerance: float, choice: int) -> None:
    evaluate_embedder.main(settings(tolerance=tolerance), build(tmp_path))
    assert metrics(tmp_path, "dimensions")["recommended"]["dimension"] == choice


def test_per_query_table_and_slices(root) -> None:
    table = pd.read_parquet(root / "data/per_query/embedder.parquet").set_index("query_id")
    assert len(table) == 40
    assert table["tuned.ndcg@10"].mean() == pytest.approx(
        metrics(root, "embedder")["tuned"]["ndcg@10"], abs=1e-6
    )
    assert set(table["document_id"]) == {f"eval-{i}" for i in range(10)}
    assert ((table["tuned.rank"] == 1) | (table["tuned.mrr@10"] < 1)).all()
    slices = pd.read_csv(root / "data/per_query/embedder_slices.csv")
    for (by, value), part in slices.groupby(["by", "value"]):
        rows = table[table[by] == value]
        assert part["queries"].item() == len(rows)
        assert part["tuned"].item() == pytest.approx(rows["tuned.ndcg@10"].mean(), abs=1e-6)
    assert slices.groupby("by")["queries"].sum().to_dict() == dict.fromkeys(slices["by"], 40)


def test_every_claim_has_an_interval(root) -> None:
    claims = pd.read_csv(root / "data/per_query/embedder_comparisons.csv")
    assert set(claims["before"]) >= {"base", "bm25", "other", "base+distractors"}
    dimensions = metrics(root, "dimensions")
    full = {name: dimensions["dims"]["32"][name]["ndcg@10"] for name in ("base", "tuned")}
    pairs = claims[claims["metric"] == "ndcg@10"].set_index(["before", "after"])["difference"]
    for name in ("recommended", "beats_base"):
        dimension = dimensions[name]["dimension"]
        cut = dimensions["dims"][str(dimension)]["tuned"]["ndcg@10"]
        for before, score in full.items():
            assert pairs[before, f"tuned@{dimension}"] == pytest.approx(cut - score, abs=2e-6)
    assert claims.notna().all().all()
    assert (claims["low"] <= claims["difference"]).all()
    assert (claims["difference"] <= claims["high"]).all()


def test_same_bytes_whatever_the_hash_seed(root, tmp_path) -> None:
    """A second run in another process, with another order of sets and dictionaries of strings."""
    build(tmp_path)
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, 'tests/unit');"
        "import test_evaluate_embedder as t;"
        "t.evaluate_embedder.main(t.settings(distractors='all'), Path(sys.argv[1]));"
        "assert not {'torch', 'sentence_transformers'} & {*sys.modules}"  # both take seconds
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        check=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "77"},
    )
    first, second = contents(root), contents(tmp_path)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_no_text_and_no_documents(tmp_path) -> None:
    build(tmp_path, text=False, documents=False)
    evaluate_embedder.main(settings(), tmp_path)
    embedder = metrics(tmp_path, "embedder")
    assert "text" not in embedder
    assert metrics(tmp_path, "fusion") == {}
    assert "distractors" not in embedder
    assert embedder["gain"]["documents"] == 40  # each page counts as a document of its own
    slices = pd.read_csv(tmp_path / "data/per_query/embedder_slices.csv")
    assert set(slices["by"]) == {"origin", "kind"}


def test_too_few_documents_have_no_interval(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("pagefinder.evaluation.significance.FEWEST_DOCUMENTS", 11)
    evaluate_embedder.main(settings(), build(tmp_path))
    assert metrics(tmp_path, "embedder")["gain"].keys() == {"ndcg@10", "documents"}


def test_vectors_of_another_corpus(tmp_path) -> None:
    build(tmp_path)
    pages = tmp_path / layout.TUNED_VECTORS / "pages.npy"
    np.save(pages, np.load(pages)[:-1])
    with pytest.raises(InputError, match="holds 123 vectors"):
        evaluate_embedder.main(settings(), tmp_path)


def test_bm25_finds_the_words(root) -> None:
    """A question names the topic and document of its page, which only few pages share."""
    embedder = metrics(root, "embedder")
    assert embedder["text"]["bm25"]["ndcg@10"] > 0.9
    assert embedder["random"]["ndcg@10"] < 0.3


def test_text_embedder_that_is_not_installed(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("pagefinder.models.packaged.PACKAGE", "no_such_package")
    with pytest.raises(InputError, match=r"not installed: run `pip install -e '\.\[text\]'`"):
        evaluate_embedder.main(settings(text_embedder=True), build(tmp_path))


@pytest.mark.parametrize("name", ["tuned", "qrels"])
def test_a_compared_model_needs_its_own_name(name: str) -> None:
    content = params_file.read(ROOT / "params.yaml")
    content["compare"], content["compare_models"] = [name], {name: {"model": "x"}}
    with pytest.raises(InputError, match=f"compare names a model '{name}'"):
        params_file.parse(content)
