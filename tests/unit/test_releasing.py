"""The release: cards that the Hub accepts and whose code runs, over models of random weights."""

import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from sentence_transformers import CrossEncoder, SentenceTransformer
from tiny import blank, tiny_content, tiny_params, write_vlm

from pagefinder import params_file
from pagefinder.models.device import choose_device
from pagefinder.models.opening import open_embedder, open_reranker
from pagefinder.models.saving import save_model
from pagefinder.params import Params
from pagefinder.parity.cases import read_golden
from pagefinder.parity.making import distances
from pagefinder.release.cards import embedder_card, evaluated, reranker_card
from pagefinder.retrieval.precisions import ScalarCodec
from stages import export

WIDTH, DIMENSION = 192, 48
GAIN = {"ndcg@10": 0.25, "low": 0.125, "high": 0.375, "p_value": 0.0001, "documents": 7}
SYSTEMS = ("embedder", "first_stage", "base", "tuned", "fused")
SHARES = {"area": 0.75, "denied_answered": 0.04, "denied_without_page": 0.25}
SHARES |= {"denied_without_document": 0.5}
ANSWERS = {
    name: {"weights": weights, "threshold": 0.5, "dev": SHARES, "eval": SHARES}
    for name, weights in {
        "tuned": {"tuned": 1.0},
        "tuned@48": {"tuned@48": 1.0},
        "tuned@48+bm25": {"tuned@48": 2.0, "bm25": 0.25},
    }.items()
}


def at(**scores: float) -> dict[str, dict[str, float]]:
    return {name: {"ndcg@10": score} for name, score in scores.items()}


def metrics(dimension: int = DIMENSION) -> dict[str, dict]:
    precisions = {"float32": 0.5, "int8": 0.46, "int8_truncated": 0.4}
    return {
        "corpus": {
            "pages": {"train": 3000, "dev": 30, "eval": 40},
            "queries": {"train": 1234, "dev": 21, "eval": 34},
            "documents": {"train": 90, "dev": 3, "eval": 7, "asked_in_several_splits": 0},
        },
        "evaluated": evaluated([f"d{number}" for number in range(7)]),
        "embedder": at(base=0.25, tuned=0.5) | {"gain": GAIN, "text": at(bm25=0.625)},
        "dimensions": {
            "dims": {"192": at(base=0.25, tuned=0.5), "48": at(base=0.125, tuned=0.4375)},
            "precision": {
                name: {
                    str(d): {"ndcg@10": score - d / 10000, "bytes_per_page": d} for d in (192, 48)
                }
                for name, score in precisions.items()
            },
            "dev": {"192": {"loss": 0.0}, "48": {"loss": 0.01, "high": 0.03, "share": 0.97}},
            "dev_precision": {"int8": {"loss": 0.02, "high": 0.04, "share": 0.9}},
            "recommended": {"dimension": dimension, "loss": 0.125, "bits": 8},
        },
        "answers": ANSWERS,
        "fusion": {
            f"tuned@{dimension}+bm25": {
                "ndcg@10": 0.75,
                "weights": {f"tuned@{dimension}": 0.25, "bm25": 0.75},
            }
        },
        "reranker": {
            "depth": {
                "2": at(**dict.fromkeys(SYSTEMS, 0.5)),
                "3": at(**dict.fromkeys(SYSTEMS, 0.75)),
                "5": at(embedder=0.5, tuned=0.875, fused=0.9375),
            },
            "gain": GAIN,
            "first_stage_missed": 4,
            "fusion_weight": 0.7,
        },
    }


def comparisons(dimension: int = DIMENSION) -> pd.DataFrame:
    row = {"after": f"tuned@{dimension}", "metric": "ndcg@10"}
    row |= {"difference": 0.1875, "low": 0.0625, "high": 0.3125}
    rows = [row | {"before": "base"}, row | {"before": "tuned", "difference": -0.0625}]
    return pd.DataFrame(rows)


def changed(**sections: dict) -> Params:
    """The tiny params, with some keys of sections of the profile changed."""
    return params_file.parse(tiny_content(**sections))


def cards(folder: Path, params: Params, content: dict, table: pd.DataFrame) -> list[str]:
    return [
        embedder_card(folder, params, params.base.revision, content, table, 2),
        reranker_card(folder, params, params.reranker.revision, content),
    ]


def metadata(card: str) -> dict:
    start, header, _ = card.split("---\n", 2)
    assert start == ""
    content: dict = yaml.safe_load(header)
    return content


def words(card: str) -> str:
    return " ".join(card.split())


def test_the_metadata_are_the_hubs(tmp_path) -> None:
    named = {"model": "who/what", "revision": "main"}
    params = changed(base=named, reranker=named, release={"license": "mit"})
    params = params.model_copy(
        update={"data": params.data.model_copy(update={"source": "hub"})} | {}
    )
    hub = params.data.hub.model_copy(update={"path": "who/pages"})
    params = params.model_copy(update={"data": params.data.model_copy(update={"hub": hub})})
    tasks = ("sentence-similarity", "text-ranking")
    for card, task in zip(cards(tmp_path, params, metrics(), comparisons()), tasks, strict=True):
        assert metadata(card) == {
            "library_name": "sentence-transformers",
            "pipeline_tag": task,
            "license": "mit",
            "base_model": "who/what",
            "datasets": ["who/pages"],
            "tags": ["sentence-transformers", "visual-document-retrieval"],
        }
        assert "a dataset of the Hub (`who/pages`)" in words(card)
        assert "Fine-tuned from `who/what` at revision `main` " in words(card)
        assert "bitmap font" not in card
    for card in cards(tmp_path, tiny_params(), metrics(), comparisons()):
        assert not {"base_model", "datasets"} & metadata(card).keys()
        assert "Fine-tuned from `models/vlm` " in words(card)
        assert "bitmap font" in card


def test_the_figures_of_what_is_shipped_come_first(tmp_path) -> None:
    embedder, reranker = cards(tmp_path, tiny_params(), metrics(), comparisons())
    rows = [line for line in embedder.splitlines() if line.startswith("|")]
    assert rows[2] == (
        "| **this model, 48 dimensions** | **0.4375** | over its base: +0.1875 (95% interval "
        "+0.0625 to +0.3125) |"
    )
    assert rows[3].startswith("| all 192 dimensions | 0.5000 | 48 over all: -0.0625 (95%")
    text = words(embedder)
    for sentence in (
        "on 34 questions about 7 documents that were held out, over 40 pages",
        "| BM25 on the pages' text | 0.6250 |",
        "| this model and BM25 | 0.7500 | a question's scores brought to mean 0 and deviation 1, "
        "then 0.25 times this model's plus 0.75 times BM25's |",
        "| 48 | 0.1250 | 0.4375 | 0.4552 |",
        "it gives 0.3952 at 48 dimensions, where the lines above give 0.4552",
        "loses at most 5% of NDCG@10 (95% confidence over its documents)",
        "Of resampled development splits 97% choose it.",
        "For an index the development split recommends **int8**",
        "There they lose 2.0%, and at most 4.0%; on the held-out questions it scores 0.4552.",
        "| train | 1,234 | 3,000 | training |",
        "Licence: apache-2.0",
    ):
        assert sentence in text, sentence
    text = words(reranker)
    for sentence in (
        "fused with those of BM25, which searched with all 192 dimensions (the released embedder "
        "is cut to 48: over its pages this table was not measured)",
        "| 5 | 0.5000 | – | – | 0.8750 | 0.9375 |",
        "Reranking the first 3 pages moves NDCG@10 to 0.7500: +0.2500 (95% interval +0.1250 to "
        "+0.3750) over the embedder alone",
        "the right page of 4 questions",
        "adds 0.7 times the reranker's logits and 0.3 times the first stage's scores",
    ):
        assert sentence in text, sentence


def test_what_was_not_measured_is_not_said(tmp_path) -> None:
    content = metrics(WIDTH)
    content["fusion"] = {}
    del content["embedder"]["text"]
    content["dimensions"]["precision"] = {"float32": content["dimensions"]["precision"]["float32"]}
    del content["dimensions"]["dev"]["48"]["share"]
    content["dimensions"]["dev_precision"] = {"float32": {"loss": 0.01}}
    content["dimensions"]["recommended"]["bits"] = 32
    for scores in content["reranker"]["depth"].values():
        scores.pop("first_stage", None)
    table = comparisons(WIDTH).drop(columns=["low", "high"]).assign(low=np.nan, high=np.nan)
    embedder, reranker = map(words, cards(tmp_path, tiny_params(), content, table))
    assert "BM25" not in embedder + reranker
    assert "over its base: +0.1875 (too few documents for an interval)" in embedder
    assert "Not cut:" in embedder
    assert "del model" not in embedder
    assert "Not measured: there were no pages to set the ranges on." in embedder
    assert "the development split recommends" not in embedder
    assert "the tuned embedder, which searched with all 192 dimensions (as the released" in reranker


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A run with trained models, and pages to look at."""
    root = tmp_path_factory.mktemp("root")
    write_vlm(root / "models/vlm")
    params = tiny_params()
    settings = choose_device(params.compute)
    for name, model in (
        ("embedder", open_embedder(params.base, params.pixels, settings, root)),
        ("reranker", open_reranker(params.reranker, params.pixels, settings, root)),
    ):
        save_model(model, root / "models" / name)
    for number in (1, 2):
        blank(96 - 32 * number).save(root / f"page{number}.png")
    return root


def released(root: Path, params: Params, dimension: int) -> Path:
    (root / "metrics").mkdir(exist_ok=True)
    (root / "data/per_query").mkdir(parents=True, exist_ok=True)
    for name, content in metrics(dimension).items():
        (root / f"metrics/{name}.json").write_text(json.dumps(content))
    units = pd.DataFrame({"document_id": ["d0 § Part 1", "d0 § Part 2", "d1 § Part 1"]})
    units.to_parquet(root / "data/per_query/embedder.parquet")
    comparisons(dimension).to_csv(root / "data/per_query/embedder_comparisons.csv", index=False)
    export.main(params, root)
    return root / "models/release"


def run_code(folder: Path) -> dict:
    """The names after all code of a card has run, and what was printed."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", (folder / "README.md").read_text(), re.M | re.S)
    assert blocks
    names: dict = {}
    printed = io.StringIO()
    with redirect_stdout(printed):
        for language, block in blocks:
            assert language == "python"
            code = block.replace("path/to/this/folder", str(folder))
            exec(compile(code, "card", "exec"), names)
    return names | {"printed": printed.getvalue()}


def codec_of(pages: np.ndarray) -> ScalarCodec:
    """The report's codec with the ranges of these vectors, which are not brought to unit length."""
    low, high = pages.min(axis=0), pages.max(axis=0)
    return ScalarCodec(low, np.where(high > low, (high - low) / 255, 1).astype(np.float32), 8)


@pytest.mark.parametrize(
    ("dimension", "dtype"), [(48, "float32"), (192, "float32"), (48, "bfloat16")]
)
def test_the_code_of_both_cards_runs(root, monkeypatch, dimension: int, dtype: str) -> None:
    monkeypatch.chdir(root)
    params = changed(release={"dtype": dtype})
    folder = released(root, params, dimension)
    near = {"float32": 1e-6, "bfloat16": 0.01}[dtype]
    names = run_code(folder / "embedder")
    pages, queries = names["pages"], names["queries"]
    assert pages.shape == (2, dimension)
    np.testing.assert_allclose(np.linalg.norm(pages, axis=1), 1, atol=near)
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, atol=near)
    if dimension == DIMENSION:
        assert names["all_dimensions"].shape == (2, WIDTH)
        np.testing.assert_allclose(np.linalg.norm(names["all_dimensions"], axis=1), 1, atol=near)
        others = names["some_dimensions"]
    else:
        others = names["fewer"]
    assert others.shape == (2, 48)
    np.testing.assert_allclose(np.linalg.norm(others, axis=1), 1, atol=near)

    codec = codec_of(pages)
    ours = codec.encode(pages)
    np.testing.assert_array_equal(names["codes"], ours)
    np.testing.assert_allclose(names["scores"], queries @ codec.decode(ours).T, atol=1e-5)

    # Plain Sentence Transformers gives what stands in the golden cases.
    golden = read_golden(folder / "embedder")
    model = SentenceTransformer(str(folder / "embedder"), device="cpu")
    plain = [model.encode_query(case.query) for case in golden.of("query")]
    plain += [model.encode_document(golden.page(case)) for case in golden.of("page")]
    far = distances(golden.vectors(), np.array(plain, np.float64))
    assert far.max() <= (golden.tolerance if dtype == "bfloat16" else 1e-5)
    assert golden.settings["dimension"] == dimension
    assert all(len(case.base) == dimension for case in golden.cases)

    printed = run_code(folder / "reranker")["printed"]
    golden = read_golden(folder / "reranker")
    model = CrossEncoder(str(folder / "reranker"), device="cpu")
    pairs = [(case.query, golden.page(case)) for case in golden.cases]
    plain = model.predict(pairs, activation_fn=torch.nn.Identity())
    far = distances(golden.vectors(), np.array(plain, np.float64)[:, np.newaxis])
    assert far.max() <= (golden.tolerance if dtype == "bfloat16" else 1e-4)
    assert sorted(line.split()[0] for line in printed.splitlines()) == ["0", "1"]
    for model in ("embedder", "reranker"):
        card = (folder / model / "README.md").read_text()
        assert f"Weights are {dtype}" in card
        assert "First `pip install torchvision`" in card
        config = json.loads((folder / model / "config.json").read_text())
        assert config["dtype"] == config["text_config"]["dtype"] == dtype


def test_torchvision_is_asked_for_only_where_the_processor_needs_it(root) -> None:
    folder = released(root, tiny_params(), DIMENSION) / "embedder"
    (folder / "video_preprocessor_config.json").unlink()
    card = embedder_card(folder, tiny_params(), "", metrics(), comparisons(), 2)
    assert "torchvision" not in card


def test_the_card_says_what_the_rerankers_scores_are(root) -> None:
    folder = released(root, tiny_params(), DIMENSION) / "reranker"
    assert "Its scores, between 0 and 1," in (folder / "README.md").read_text()
    config = folder / "config_sentence_transformers.json"
    config.write_text(config.read_text().replace("activation.Sigmoid", "linear.Identity"))
    assert "Its scores are logits" in reranker_card(folder, tiny_params(), "", metrics())


def test_the_cards_say_what_was_cut_and_resampled(root) -> None:
    folder = released(root, tiny_params(), DIMENSION)
    content = metrics() | {"evaluated": evaluated(["a § 1", "a § 2", "b § 1"])}
    for name in ("embedder", "reranker"):
        card = words((folder / name / "README.md").read_text())
        assert "about 3 sections of 2 documents that were held out" in card
        assert "Intervals are over these sections:" in card
        assert "No document is asked about in two splits." in card
    for cut, sentence in {
        2: "2 of the documents stand in several splits",
        0: "two splits.",
    }.items():
        counts = {"train": 3, "asked_in_several_splits": 2, "cut": cut}
        content["corpus"] = metrics()["corpus"] | {"documents": counts}
        for card in cards(folder / "embedder", tiny_params(), content, comparisons()):
            assert (sentence in words(card)) == bool(cut)
            assert "No document is" not in card


def test_the_cards_say_nothing_of_documents_that_the_source_does_not_name() -> None:
    none = {"train": 0, "dev": 0, "eval": 0, "asked_in_several_splits": 0, "cut": 0}
    content = metrics() | {"corpus": metrics()["corpus"] | {"documents": none}}
    for card in cards(Path(), tiny_params(), content, comparisons()):
        assert "No document is" not in card


def test_the_card_of_a_text_model_names_no_images_and_no_negatives_that_it_did_not_see() -> None:
    params = changed(base={"page_content": "text"}, embedder={"mined_negatives": 0})
    card = embedder_card(Path(), params, "", metrics(), comparisons(), 2)
    assert metadata(card)["tags"] == ["sentence-transformers"]
    assert "in-batch contrastive loss inside a Matryoshka loss" in words(card)


def test_many_codes_are_those_of_the_report() -> None:
    """The lines of the card on vectors that fill their ranges, and some that leave them."""
    rng = np.random.default_rng(0)
    pages, queries = rng.standard_normal((2, 500, 24)).astype(np.float32)
    card = embedder_card(Path(), tiny_params(), "", metrics(), comparisons(), 2)
    code = card.split("import numpy as np\n")[1].split("```")[0]
    names = {"np": np, "pages": pages, "queries": queries}
    exec(code.replace("many = pages", "many = pages[:400]"), names)
    np.testing.assert_array_equal(names["codes"], codec_of(pages[:400]).encode(pages))
