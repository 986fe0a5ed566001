"""Checks of the knobs of written questions: what a server is asked, and what comes of it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import openai
import pandas as pd
import pytest
from chat_server import ChatServer, pictures, prompt, serving
from knobs import obeys
from test_writing_stage import PAGES, page_text, write_pages

from pagefinder.data import pixels
from pagefinder.data.corpus import Corpus
from pagefinder.errors import InputError
from pagefinder.layout import CORPUS, WRITTEN
from pagefinder.params import Params
from pagefinder.writing import questions
from pagefinder.writing.prompts import KINDS
from stages import download, prepare, write_queries


@contextlib.contextmanager
def server() -> Iterator[ChatServer]:
    """The server, at which nobody waits long between two tries."""
    with (
        serving(page_text) as running,
        mock.patch.object(openai._base_client, "INITIAL_RETRY_DELAY", 0.001),
    ):
        yield running


def on(params: Params, url: str, query: str = "", **changes: object) -> Params:
    """The params with a table of pages, and a writer at an address."""
    table = params.data.table.model_copy(update={"query": query})
    data = params.data.model_copy(update={"source": "table", "table": table})
    named = {"url": url, "model": params.queries.writer.model or "vlm"}
    writer = params.queries.writer.model_copy(update=named | changes)
    queries = params.queries.model_copy(update={"writer": writer})
    return params.model_copy(update={"input": "raw", "data": data, "queries": queries})


def written(params: Params, folder: Path) -> pd.DataFrame:
    """The written questions about the pages of a table."""
    write_pages(folder)
    download.main(params, folder)
    write_queries.main(params, folder)
    return pd.read_parquet(folder / WRITTEN / "questions.parquet")


def asked(params: Params, folder: Path, **changes: object) -> tuple[ChatServer, pd.DataFrame]:
    """The server after it was asked about two pages, and the questions."""
    with server() as running:
        return running, written(on(params, running.url, **{"pages": 2} | changes), folder)


@obeys("queries.writer.url", "http://127.0.0.1:9/v1")
def _url(params, value, folder):
    params = on(params, params.queries.writer.url, retries=0)
    with server(), pytest.raises(InputError, match=value):
        written(params, folder)


@obeys("queries.writer.model", "the/vlm")
def _model(params, value, folder):
    running, _ = asked(params, folder)
    assert {body["model"] for body in running.asked} == {value}


@obeys("queries.writer.key_variable", "SOME_KEY")
def _key_variable(params, value, folder):
    with mock.patch.dict("os.environ", {value: "secret"}):
        running, _ = asked(params, folder)
    assert set(running.keys) == {"Bearer secret"}


@obeys("queries.writer.per_page", 1)
def _per_page(params, value, folder):
    running, rows = asked(params, folder)
    assert f"Write {value} questions" in prompt(running.asked[0])
    assert rows["page"].value_counts().max() == value


@obeys("queries.writer.pages", 4)
def _pages(params, value, folder):
    with server() as running:
        rows = written(on(params, running.url), folder)
    assert rows["page"].nunique() == value


@obeys("queries.writer.languages", ["de"])
def _languages(params, value, folder):
    running, rows = asked(params, folder)
    assert "in German" in prompt(running.asked[0])
    assert set(rows["language"]) == {"de"}


@obeys("queries.writer.kinds", ["table", "keyword"])
def _kinds(params, value, folder):
    running, rows = asked(params, folder)
    assert KINDS["table"] in prompt(running.asked[0])
    assert KINDS["factual"] not in prompt(running.asked[0])
    assert set(rows["kind"]) == {questions.OTHER, "keyword"}


@obeys("queries.writer.filters", ["distinct"])
def _filters(params, value, folder):
    running, rows = asked(params, folder)
    assert {name for verdicts in rows["verdicts"] for name, _ in verdicts} == {"distinct"}
    assert len(running.asked) == 2  # and the judge nothing


@obeys("queries.writer.temperature", 0.3)
def _temperature(params, value, folder):
    running, _ = asked(params, folder)
    assert running.asked[0]["temperature"] == value


@obeys("queries.writer.max_pixels", 1024)
def _max_pixels(params, value, folder):
    running, _ = asked(params, folder)
    image = pixels.decode(pictures(running.asked[0])[0])
    assert image.width * image.height <= value


@obeys("queries.writer.max_tokens", 77)
def _max_tokens(params, value, folder):
    running, _ = asked(params, folder)
    assert {body["max_tokens"] for body in running.asked} == {value}


@obeys("queries.writer.max_requests", 3)
def _max_requests(params, value, folder):
    with pytest.raises(InputError, match=f"max_requests is {value}"):
        asked(params, folder, pages=4)


@obeys("queries.writer.concurrency", 3)
def _concurrency(params, value, folder):
    with server() as running:
        running.together, running.patience = value + 1, 2  # for one more, which should not come
        written(on(params, running.url, pages=6, filters=()), folder)
    assert len(running.asked) == 6
    assert running.most_at_a_time == value


@obeys("queries.writer.timeout", 0.5)
def _timeout(params, value, folder):
    with server() as running, mock.patch.object(openai, "AsyncOpenAI", side_effect=Used) as client:
        with pytest.raises(Used):
            written(on(params, running.url), folder)
    assert client.call_args.kwargs["timeout"] == value


@obeys("queries.writer.retries", 2)
def _retries(params, value, folder):
    with server() as running:
        running.faults.extend(["500"] * 12)
        with pytest.raises(InputError, match="does not answer"):
            written(on(params, running.url, concurrency=1), folder)
    assert len(running.asked) == 3 * (1 + value)


@obeys("queries.judge.model", "the/judge")
def _judge_model(params, value, folder):
    running, _ = asked(params, folder)
    assert {body["model"] for body in running.asked} == {"vlm", value}


@obeys("queries.judge.url", "http://127.0.0.1:9/v1")
def _judge_url(params, value, folder):
    with pytest.raises(InputError, match=value):
        asked(params, folder, retries=0, pages=4)


@obeys("queries.judge.key_variable", "SOME_KEY")
def _judge_key_variable(params, value, folder):
    with mock.patch.dict("os.environ", {value: "secret"}), server() as running:
        params = on(params, running.url, pages=2)
        judge = params.queries.judge.model_copy(update={"url": running.url, "model": "judge"})
        queries = params.queries.model_copy(update={"judge": judge})
        written(params.model_copy(update={"queries": queries}), folder)
    models = [body["model"] for body in running.asked]
    keys = dict(zip(models, running.keys, strict=True))
    assert keys == {"vlm": "Bearer none", "judge": "Bearer secret"}


@obeys("queries.eval", "both")
def _eval(params, value, folder):
    with server() as running:
        params = on(params, running.url, query="query", filters=())
        write_pages(folder, asked=PAGES)
        for stage in (download, write_queries, prepare):
            stage.main(params, folder)
    queries = Corpus(folder / CORPUS).queries
    assert set(queries.loc[queries["split"] == "eval", "origin"]) == {"given", "written"}


class Used(Exception):
    """Raised instead of opening a client."""
