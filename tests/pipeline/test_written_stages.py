"""From pages over written questions to the report, with a model that reads the pages' text."""

import json

import pandas as pd
import pytest
import test_stages
import test_writing_stage as writing
from chat_server import serving
from test_writing_filters import number_of
from tiny import write_text_model

from pagefinder import params_file
from pagefinder.data.corpus import Corpus

pytest.importorskip("openai")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """All stages on pages with questions of their own, and others that a server writes by rules."""
    folder = tmp_path_factory.mktemp("written")
    content = test_stages.small_content()
    text, cpu = "nano/models/text", content["profiles"]["cpu"]
    write_text_model(folder / text)
    (folder / "data/compare").mkdir(parents=True)
    writing.write_pages(folder, asked=writing.PAGES)
    content |= {"checkpoints": "nano/models", "input": "raw"}
    content["mine"]["relative_margin"] = 0.0  # to the small model all of these pages look alike
    cpu["data"]["source"] = "table"
    cpu["base"] |= {"page_content": "text", "model": text, "query_prompt": "", "page_prompt": ""}
    cpu["embedder"] |= {"dims": [32, 16], "freeze": [], "batch": 8, "mined_negatives": 0}
    cpu["reranker"] |= {"model": ""}
    with serving(lambda png: writing.text_of(number_of(png))) as server:
        content["queries"]["writer"] |= {"url": server.url, "model": "rules", "per_page": 2}
        content["queries"]["eval"] = "both"
        params = params_file.parse(content)
        for name in test_stages.ORDER:
            test_stages.run_stage(name, params, folder)
    return folder


def test_written_questions_are_a_slice_of_eval(root):
    corpus = Corpus(root / "data/corpus")
    in_eval = corpus.queries[corpus.queries["split"] == "eval"]
    expected = in_eval.groupby("origin").size().to_dict()
    assert set(expected) == {"given", "written"}
    slices = pd.read_csv(root / "data/per_query/embedder_slices.csv")
    by_origin = slices[slices["by"] == "origin"].set_index("value")
    assert by_origin["queries"].to_dict() == expected
    per_query = pd.read_parquet(root / "data/per_query/embedder.parquet").set_index("query_id")
    written = per_query.loc[in_eval.query("origin == 'written'")["query_id"]]
    assert by_origin.loc["written", "tuned"] == pytest.approx(written["tuned.ndcg@10"].mean())


def test_the_report_shows_the_slice_and_the_sheet(root):
    report = (root / "metrics/report/report.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in report.splitlines() if line.startswith("| ")]
    assert {"| given", "| written"} <= {row[0] for row in rows}
    assert "measure that model's taste too" in report
    page = (root / "metrics/report/index.html").read_text(encoding="utf-8")
    assert page.count("Filters: language: passed; stands alone: passed") == 30


def test_written_questions_train_beside_the_others(root):
    corpus = Corpus(root / "data/corpus")
    negatives = pd.read_parquet(root / "data/negatives.parquet")
    train = corpus.queries[corpus.queries["split"] == "train"]
    assert set(train["origin"]) == {"given", "written"}
    assert set(train["query_id"]) == set(negatives["query_id"])


def test_the_tally_stands_in_the_metrics(root):
    metrics = json.loads((root / "metrics/written.json").read_text())
    assert metrics["pages"] == writing.PAGES
    assert metrics["requests"]["write"]["requests"] == writing.PAGES
    assert metrics["requests"]["judge"]["tokens_in"] > 0
