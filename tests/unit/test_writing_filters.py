"""What the filters do to questions that a model writes badly on purpose, from pages to corpus."""

import collections
import json

import pandas as pd
import pytest
import test_writing_stage as stage
from chat_server import serving
from sources import page

from pagefinder.data import pixels
from pagefinder.data.corpus import Corpus
from pagefinder.layout import CORPUS, WRITTEN
from pagefinder.writing import audit
from pagefinder.writing.client import ANSWERS
from stages import write_queries

PICTURES = {pixels.pixel_digest(pixels.decode(page(n))): n for n in range(stage.PAGES)}


def number_of(png: bytes) -> int:
    return PICTURES[pixels.pixel_digest(pixels.decode(png))]


@pytest.fixture
def server():
    with serving(lambda png: stage.text_of(number_of(png))) as running:
        yield running


def written(root, params) -> pd.DataFrame:
    """All questions that were written about the pages of the stage's tests."""
    for one in (stage.download, write_queries):
        one.main(params, root)
    return stage.written(root)


def test_good_questions_pass_every_filter(tmp_path, server) -> None:
    stage.write_pages(tmp_path)
    rows = written(tmp_path, stage.params_of(server.url))
    assert len(rows) == 2 * stage.PAGES
    assert rows["dropped_by"].isna().all(), rows["verdicts"][0]
    names = {name for verdicts in rows["verdicts"] for name, _ in verdicts}
    assert {"stands_alone", "not_copied", "round_trip", "answerable", "distinct"} <= names
    assert stage.metrics(tmp_path)["filters"]["answerable"]["seen"] == len(rows)


@pytest.mark.parametrize(
    ("fault", "filters"),
    [
        ("quoting", {"not_copied"}),
        ("unanswerable", {"round_trip", "answerable", "distinct"}),
        ("other_language", {"language"}),
    ],
)
def test_a_model_that_writes_badly_has_no_question_kept(tmp_path, server, fault, filters) -> None:
    stage.write_pages(tmp_path)
    server.always = fault
    rows = written(tmp_path, stage.params_of(server.url, languages=["en"]))
    assert len(rows) == 2 * stage.PAGES
    assert set(rows["dropped_by"]) <= filters
    # The sheet shows them, with the reasons.
    sheet = pd.read_parquet(tmp_path / WRITTEN / audit.SHEET)
    assert len(sheet) == audit.QUESTIONS
    assert all(any(v != "passed" for _, v in verdicts) for verdicts in sheet["verdicts"])
    assert sheet["picture"].notna().all()


def test_the_judge_alone_finds_what_no_page_answers(tmp_path, server) -> None:
    stage.write_pages(tmp_path)
    server.always = "unanswerable"
    rows = written(tmp_path, stage.params_of(server.url, filters=["answerable"]))
    assert set(rows["dropped_by"]) == {"answerable"}


def test_the_judge_is_not_asked_about_what_an_earlier_filter_dropped(tmp_path, server) -> None:
    stage.write_pages(tmp_path)
    server.always = "quoting"
    written(tmp_path, stage.params_of(server.url))
    assert len(server.asked) == stage.PAGES
    assert [*stage.metrics(tmp_path)["requests"]] == ["write"]


def test_another_filter_asks_for_no_answer_again(tmp_path, server) -> None:
    stage.write_pages(tmp_path)
    every = written(tmp_path, stage.params_of(server.url))
    asked = len(server.asked)
    assert asked == sum(1 for _ in (tmp_path / ".work" / ANSWERS).rglob("*.json"))
    fewer = stage.params_of(server.url, filters=["not_copied", "answerable"])
    write_queries.main(fewer, tmp_path)
    assert len(server.asked) == asked
    assert len(stage.written(tmp_path)) == len(every)


def test_a_question_of_two_pages_stays_once_and_neither_is_its_negative(tmp_path) -> None:
    """Page n + 12 says what page n says, in another document."""
    half = stage.PAGES // 2
    with serving(lambda png: stage.text_of(number_of(png) % half)) as server:
        stage.write_pages(tmp_path)
        path = tmp_path / "raw/train.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for n, row in enumerate(rows):
            row["text"] = stage.text_of(n % half)
        path.write_text("\n".join(map(json.dumps, rows)))
        params = stage.params_of(server.url)
        questions = written(tmp_path, params)
        stage.prepare.main(params, tmp_path)
    counts = collections.Counter(questions["dropped_by"].fillna("kept"))
    assert counts == {"kept": stage.PAGES, "distinct": stage.PAGES}
    corpus = Corpus(tmp_path / CORPUS)
    texts = dict(zip(corpus.pages["page_id"], corpus.pages["text"], strict=True))
    answers = dict(zip(corpus.qrels["query_id"], corpus.qrels["page_id"], strict=True))
    both = 0
    for query_id, possible in zip(
        corpus.written["query_id"], corpus.written["possible_page_ids"], strict=True
    ):
        own = answers[query_id]
        assert own not in possible
        assert all(texts[other] == texts[own] for other in possible)
        both += len(possible)
    assert both > 0
