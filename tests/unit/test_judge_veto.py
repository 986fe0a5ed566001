"""The judge as a veto of mined pages: what it is asked, and what comes of its answers."""

import io
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from chat_server import serving
from corpora import write_corpus
from PIL import Image
from test_mining import default_params, hand_made

from pagefinder.errors import InputError
from pagefinder.mining import judging
from pagefinder.params import Params
from pagefinder.retrieval.vectors import Vectors

pytest.importorskip("openai")

TEXTS = {"p0": "The torque is 45.", "p1": "Bolts take a torque of 45.", "p2": "Nothing here."}


def picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (number, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def corpus_of(folder: Path):
    pages = [
        {"page_id": name, "split": "train", "image": {"bytes": picture(n), "path": None}}
        for n, name in enumerate(TEXTS)
    ]
    queries = [{"query_id": "q", "text": "What is the torque?"}]
    return write_corpus(folder / "corpus", pages, queries, [("q", "p0", 1)])


PAIRS = pd.DataFrame({"query": [0, 0], "page": [1, 2]}, index=[7, 9])


def params_of(url: str, **changed: object) -> Params:
    """The default params with the judge on, at a server."""
    params = default_params()
    veto = params.mine.veto.model_copy(update={"judge": True} | changed)
    writer = params.queries.writer.model_copy(update={"url": url, "model": "m", "retries": 0})
    queries = params.queries.model_copy(update={"writer": writer})
    mine = params.mine.model_copy(update={"veto": veto})
    return params.model_copy(update={"mine": mine, "queries": queries})


@pytest.fixture
def server():
    texts = {picture(n): text for n, text in enumerate(TEXTS.values())}
    with serving(lambda png: texts[png]) as running:
        running.texts = texts
        yield running


@pytest.fixture
def says_yes_to_torque(monkeypatch):
    """The server answers yes where the page speaks of the torque."""
    import chat_server

    def judged(text, asked, form):
        assert form == "PageJudgement"
        assert "Question: What is the torque?" in asked
        return {"evidence": "", "answers": "torque" in text, "reason": ""}

    monkeypatch.setattr(chat_server, "judged", judged)


def test_a_page_that_the_judge_takes_for_an_answer_is_dropped(
    tmp_path, server, says_yes_to_torque
) -> None:
    corpus = corpus_of(tmp_path)
    veto = judging.open_vetoes(params_of(server.url), corpus, tmp_path, tmp_path / "work")
    assert veto(PAIRS).tolist() == [1.0, 0.0]
    # A second run asks nothing.
    asked = len(server.asked)
    again = judging.open_vetoes(params_of(server.url), corpus, tmp_path, tmp_path / "work")
    assert again(PAIRS).tolist() == [1.0, 0.0]
    assert len(server.asked) == asked == 2


def test_mining_takes_the_next_page(tmp_path, server, monkeypatch) -> None:
    """The pages of the mining tests have no pictures here: only what the judge says matters."""
    from test_mining import mined, rules

    corpus, vectors = hand_made(tmp_path)
    params = params_of(server.url)
    said = {2: True, 3: False, 4: None}
    monkeypatch.setattr(
        judging,
        "answers_of_pages",
        lambda pairs, ask: [said.get(int(key[1:]), False) for _, key in pairs],
    )
    veto = judging.open_vetoes(params, corpus, tmp_path, tmp_path / "work")
    pairs = mined(corpus, vectors, rules(veto=params.mine.veto.model_dump()), veto)
    rules_by_page = dict(zip(pairs["page"], pairs["rule"], strict=True))
    assert rules_by_page[2] == rules_by_page[4] == "veto"  # yes, and no word of it
    assert rules_by_page[3] == rules_by_page[5] == "kept"
    assert isinstance(vectors, Vectors)


def test_the_judge_sees_only_what_the_cross_encoder_lets_pass(tmp_path, monkeypatch) -> None:
    corpus = corpus_of(tmp_path)
    asked = []

    def answers(pairs, ask):
        asked.extend(pairs)
        return [True] * len(pairs)

    monkeypatch.setattr(judging, "answers_of_pages", answers)
    monkeypatch.setattr(judging, "open_veto", lambda *_: lambda pairs: np.array([0.9, 0.1]))
    veto = judging.open_vetoes(params_of("http://x/v1"), corpus, tmp_path, tmp_path)
    assert veto(PAIRS).tolist() == [0.9, 1.0]
    assert asked == [("What is the torque?", "p2")]


def test_without_the_judge_nothing_is_asked(tmp_path, server) -> None:
    params = params_of(server.url, judge=False)
    assert judging.open_vetoes(params, corpus_of(tmp_path), tmp_path, tmp_path) is None


def test_a_judge_without_a_server_is_an_error(tmp_path) -> None:
    with pytest.raises(InputError, match=r"mine.veto.judge is true, but .*queries.judge.url"):
        judging.open_vetoes(params_of(""), corpus_of(tmp_path), tmp_path, tmp_path)


def test_a_limit_that_no_page_passes_is_an_error(tmp_path) -> None:
    params = params_of("http://x/v1", max_score=1.0)
    with pytest.raises(InputError, match=r"mine.veto.max_score is 1.0"):
        judging.open_vetoes(params, corpus_of(tmp_path), tmp_path, tmp_path)


def test_experiments_share_the_answers(tmp_path, monkeypatch) -> None:
    """DVC runs queued experiments in folders of their own, which it removes."""
    from stages import shared_work

    monkeypatch.setitem(os.environ, "DVC_ROOT", str(tmp_path))
    assert shared_work(Path("elsewhere")) == tmp_path / ".work"
