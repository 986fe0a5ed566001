"""Each fault that the server makes on purpose, and what the stage makes of it, as the docs say."""

import json
import re
from collections import Counter
from pathlib import Path

import openai
import pytest
import test_writing_stage as stage
from chat_server import serving
from sources import ROOT
from test_writing_filters import number_of

from pagefinder.errors import InputError
from pagefinder.layout import SOURCE
from pagefinder.runtime import pool
from stages import write_queries

PAGES = 8
WRITTEN = PAGES * 2
ANSWERED = [""] * PAGES  # what the writer is asked first
# What the server does -> the faults of its first requests, that of all later ones, other params.
FAULTS: dict[str, tuple[list[str], str, dict[str, object]]] = {
    "malformed JSON, 4 times": (["malformed"] * 4, "", {}),
    "a refusal, 4 times": (["refusal"] * 4, "", {}),
    "an empty answer, 4 times": (["empty"] * 4, "", {}),
    "an answer longer than `max_tokens`, 4 times": (["cut_off"] * 4, "", {}),
    "thoughts before the JSON, always": ([], "thinking", {}),
    "JSON in a fenced block between other words, always": ([], "fenced", {}),
    "questions that quote the page, 4 times": (["quoting"] * 4, "", {}),
    "questions that no page answers, 4 times": (["unanswerable"] * 4, "", {}),
    "the same, where the judge is the only filter": (
        ["unanswerable"] * 4,
        "",
        {"filters": ["answerable"]},
    ),
    "questions in another language, 4 times": (["other_language"] * 4, "", {"languages": ["en"]}),
    "the judge's answer malformed, 4 times": ([*ANSWERED, *["malformed"] * 4], "", {}),
    "429, twice": (["429"] * 2, "", {}),
    "500, twice": (["500"] * 2, "", {}),
    "a cut connection, twice": (["cut"] * 2, "", {}),
    "no answer within `timeout`, once": (["hang"], "", {"timeout": 3}),
    "429, from the fourth request on": ([""] * 3, "429", {}),
    "500, from the fourth request on": ([""] * 3, "500", {}),
    "cut connections, from the fourth request on": ([""] * 3, "cut", {}),
    "hanging, from the fourth request on": ([""] * 3, "hang", {"timeout": 3, "retries": 0}),
    "401 at once": ([], "401", {}),
    "404 at once": ([], "404", {}),
    "a page that is too long for the model, once": (["400 context length exceeded"], "", {}),
}
NAMES = {"cut_off": "cut off", "unanswered": "unanswered"}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Pauses are short, and pages are drawn in this process: others take seconds to begin."""
    monkeypatch.setattr(openai._base_client, "INITIAL_RETRY_DELAY", 0.001)
    monkeypatch.setattr(pool, "run", lambda task, tasks, *_, **__: map(task, tasks))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder with the pages in data/source."""
    root = tmp_path_factory.mktemp("source")
    stage.write_pages(root)
    stage.download.main(stage.params_of("http://127.0.0.1:9/v1"), root)
    return root


def outcome(root: Path, url: str) -> str:
    """What came of the stage: counts of its answers and questions."""
    counts = stage.metrics(root)
    parts = []
    for step, row in sorted(counts["requests"].items(), reverse=True):
        names = {"write": "", "judge": " of the judge", "judge_page": " of the judge"}
        for failure, number in row["failures"].items():
            noun = "answer" if number == 1 else "answers"
            parts.append(f"{number} {noun}{names[step]} {failure.replace('_', ' ')}")
        if row["retried"]:
            parts.append("tried again")
    dropped = Counter(stage.written(root)["dropped_by"].dropna())
    parts += [f"{number} questions dropped by `{name}`" for name, number in dropped.items()]
    return "; ".join([*parts, f"{counts['questions']['kept']} of {WRITTEN} questions kept"])


def run(root: Path, url: str, params) -> str:
    """What came of the stage, or the line that ends it; address and folder are left out."""
    try:
        write_queries.main(params, root)
    except InputError as error:
        line = str(error).replace(url, "URL").replace(str(root), "")
        line = re.sub(r" in \S*/answers", " in .work/answers", line)
        line = re.sub(r"Error code: (\d+) - \{.*?\}\}", r"Error code: \1", line)
        return f"ends: *{line}*"
    return outcome(root, url)


def row_of(fault: str, root: Path) -> str:
    """The row of the docs for a fault: what came of it, and what the next run asks for."""
    first, always, changes = FAULTS[fault]
    with serving(lambda png: stage.text_of(number_of(png))) as server:
        knobs = {"pages": PAGES, "concurrency": 1, "retries": 2, "timeout": 60} | changes
        params = stage.params_of(server.url, **knobs)
        server.faults.extend(first)
        server.always = always
        what = run(root, server.url, params)
        server.faults.clear()
        server.always, before = "", len(server.asked)
        write_queries.main(params, root)
        more = len(server.asked) - before
        repeated = [number for number in server.answered.values() if number > 1]
        assert not repeated, "an answer was asked for again"
        assert json.dumps(stage.metrics(root))
    return f"| {fault} | {what} | {'nothing' if not more else f'{more} answers'} |"


@pytest.mark.parametrize("fault", FAULTS)
def test_the_docs_say_what_comes_of_a_fault(fault, source, tmp_path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / SOURCE).symlink_to(source / SOURCE)
    assert row_of(fault, tmp_path) in (ROOT / "docs/questions.md").read_text().splitlines()


def test_the_docs_have_a_row_for_each_fault() -> None:
    text = (ROOT / "docs/questions.md").read_text()
    table = text.partition("<!-- faults -->")[2].partition("<!-- /faults -->")[0]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines() if "|" in line]
    assert rows[2:] == list(FAULTS)
