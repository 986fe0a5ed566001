"""From pages to written questions to the corpus: write_queries and prepare, a kill in between."""

import functools
import json
import signal
import subprocess
import sys
import time

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from chat_server import prompt, serving
from sources import CONTENT, ROOT, page, write_pdf
from tiny import stage_environment

from pagefinder import params_file
from pagefinder.data import pixels
from pagefinder.data.corpus import Corpus
from pagefinder.data.files import write_table
from pagefinder.errors import InputError
from pagefinder.layout import CORPUS, METRICS, SOURCE, WRITTEN
from pagefinder.writing import client, costs, filters, prompts, questions
from pagefinder.writing.pictures import read_pages
from pagefinder.writing.written import QUESTIONS, WRITTEN_SCHEMA
from stages import download, prepare, write_queries

PAGES = 24
NAMES = "amber birch cedar daisy ember fjord grove hazel ivory jade kelp lotus".split()


def text_of(number):
    """Two sentences of a page, whose words stand on no other."""
    name = f"{NAMES[number % 12]}{NAMES[number // 12]}works{chr(97 + number)}"
    return f"The {name}pump moves eighty litres. Every {name}valve closes at nine bar."


@functools.cache
def text_by_picture():
    return {pixels.pixel_digest(pixels.decode(page(n))): text_of(n) for n in range(PAGES)}


def page_text(png):
    """The text of a picture; that of the first page for one that was made smaller."""
    return text_by_picture().get(pixels.pixel_digest(pixels.decode(png)), text_of(0))


@pytest.fixture
def server():
    with serving(page_text) as running:
        yield running


@pytest.fixture(autouse=True)
def kept_as_written(monkeypatch):
    """What the filters drop is seen by their own tests."""

    def keep(rows, *_):
        empty = pd.Series([[] for _ in range(len(rows))], rows.index, dtype=object)
        return rows.assign(dropped_by=None, verdicts=empty, possible_pages=empty), {}

    monkeypatch.setattr(filters, "filtered", keep)


def write_pages(root, asked=0):
    """A table of pages, six to a document; the first `asked` have questions of their own."""
    folder = root / "raw"
    folder.mkdir(exist_ok=True)
    lines = []
    for n in range(PAGES):
        (folder / f"{n}.png").write_bytes(page(n))
        row = {"image": f"{n}.png", "document_id": f"d{n // 3}", "page_number": n % 3 + 1}
        row |= {"text": text_of(n)} | ({"query": f"own question {n}?"} if n < asked else {})
        lines.append(json.dumps(row))
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n")


def content_of(url="", query="", origins="written", **writer):
    content = json.loads(json.dumps(CONTENT)) | {"input": "raw"}
    content["profiles"]["cpu"]["data"] |= {"source": "table"}
    content["profiles"]["cpu"]["data"]["table"]["query"] = query
    content["profiles"]["cpu"]["pixels"] = {"min": 1024, "max": 16384, "multiple": 32}
    knobs = {"url": url, "model": "vlm" if url else "", "per_page": 2, "retries": 0}
    content["queries"]["writer"] |= knobs | writer
    content["queries"]["eval"] = origins
    return content


def params_of(*arguments, **changes):
    return params_file.parse(content_of(*arguments, **changes))


def run(root, params):
    for stage in (download, write_queries, prepare):
        stage.main(params, root)
    return Corpus(root / CORPUS), json.loads((root / METRICS / "corpus.json").read_text())


def written(root):
    return pd.read_parquet(root / WRITTEN / QUESTIONS)


def metrics(root):
    return json.loads((root / METRICS / "written.json").read_text())


def test_pages_without_questions_become_a_corpus(tmp_path, server):
    write_pages(tmp_path)
    corpus, counts = run(tmp_path, params_of(server.url))
    assert set(corpus.queries["origin"]) == {"written"}
    assert set(corpus.queries["split"]) == {"train", "dev", "eval"}
    assert counts["account"]["queries"]["kept"] == 2 * PAGES
    page_of = dict(zip(corpus.qrels["query_id"], corpus.qrels["page_id"], strict=True))
    texts = corpus.pages.set_index("page_id")["text"]
    for row in corpus.written.itertuples():
        assert row.answer in texts[page_of[row.query_id]]
    assert set(corpus.written["query_id"]) == set(corpus.queries["query_id"])
    assert metrics(tmp_path)["questions"]["kept_by_kind"] == {"factual": PAGES, "keyword": PAGES}
    assert metrics(tmp_path)["requests"]["write"]["requests"] == PAGES


def test_without_a_writer_nothing_changes_and_nothing_is_asked(tmp_path):
    write_pages(tmp_path, asked=PAGES)
    params = params_of(query="query", origins="outline")
    download.main(params, tmp_path)
    source = {path: path.read_bytes() for path in (tmp_path / SOURCE).rglob("*.*")}
    prepare.main(params, tmp_path)
    before = {path: path.read_bytes() for path in (tmp_path / CORPUS).iterdir()}
    counts = (tmp_path / METRICS / "corpus.json").read_bytes()
    assert not (tmp_path / WRITTEN).exists()
    _, _ = run(tmp_path, params)
    assert written(tmp_path).empty
    assert metrics(tmp_path) == {}
    assert {path: path.read_bytes() for path in (tmp_path / SOURCE).rglob("*.*")} == source
    assert {path: path.read_bytes() for path in (tmp_path / CORPUS).iterdir()} == before
    assert (tmp_path / METRICS / "corpus.json").read_bytes() == counts
    assert "not_for_eval" not in json.loads(counts)["account"]["queries"]
    assert Corpus(tmp_path / CORPUS).written.empty


def test_pages_without_questions_need_a_writer():
    with pytest.raises(InputError, match=r"data\.table\.query is empty.*queries\.writer"):
        params_of()


def test_a_column_that_is_missing_is_named_with_what_can_be_done(tmp_path, server):
    write_pages(tmp_path)
    with pytest.raises(InputError, match=r"no column 'query'.*data\.table\.query, or leave it"):
        download.main(params_of(server.url, query="query"), tmp_path)


@pytest.mark.parametrize(
    ("origins", "in_eval"),
    [("outline", {"given"}), ("written", {"written"}), ("both", {"given", "written"})],
)
def test_eval_holds_the_origins_that_are_asked_for(tmp_path, server, origins, in_eval):
    write_pages(tmp_path, asked=PAGES)
    corpus, counts = run(tmp_path, params_of(server.url, "query", origins))
    by_split = corpus.queries.groupby("split")["origin"].agg(set).to_dict()
    both = {"given", "written"}
    assert by_split == {"train": both, "dev": both, "eval": in_eval}
    fates = counts["account"]["queries"]
    assert fates.pop("source") == sum(fates.values()) == 3 * PAGES
    judged = counts["account"]["judgements"]
    assert judged.pop("source") == sum(judged.values())
    assert fates.get("not_for_eval", 0) == judged.get("not_for_eval", 0)
    assert bool(fates.get("not_for_eval")) == (origins != "both")


def test_a_written_question_is_of_its_page_s_split(tmp_path, server):
    write_pages(tmp_path, asked=PAGES)
    corpus, _ = run(tmp_path, params_of(server.url, "query", "both"))
    page_splits = corpus.pages.set_index("page_id")["split"]
    query_splits = corpus.queries.set_index("query_id")["split"]
    qrels = corpus.qrels
    assert (qrels["page_id"].map(page_splits) == qrels["query_id"].map(query_splits)).all()
    documents = corpus.pages.groupby("document_id")["split"].nunique()
    assert (documents == 1).all()


def test_the_splits_are_the_same_with_a_writer_as_without_one(tmp_path):
    """Else what was tuned with written questions would be measured on other pages."""
    write_pages(tmp_path, asked=PAGES)
    params = params_of(query="query", origins="outline")
    before, _ = run(tmp_path, params)
    eval_document = before.pages.query("split == 'eval'")["document_id"].iloc[0]
    pages, _ = read_pages(tmp_path / SOURCE)
    keys = pages.loc[pages["document_id"] == eval_document, "key"]
    # A document with far more questions than all others together would be drawn for train.
    rows = pd.DataFrame({"text": [f"written question {n}?" for n in range(90)]})
    rows = rows.assign(page=keys.iloc[0], kind="factual", language="en", answer="!", evidence="")
    empty = pd.Series([[] for _ in range(len(rows))], dtype=object)
    rows = rows.assign(dropped_by=None, verdicts=empty, possible_pages=empty)
    write_table(rows, WRITTEN_SCHEMA, tmp_path / WRITTEN / QUESTIONS)
    prepare.main(params, tmp_path)
    after = Corpus(tmp_path / CORPUS)
    pd.testing.assert_series_equal(before.pages["split"], after.pages["split"])
    in_eval = [one.queries.query("split == 'eval'")["query_id"] for one in (before, after)]
    assert set(in_eval[0]) == set(in_eval[1])


def test_a_split_of_the_source_holds_for_what_is_written(tmp_path, server):
    write_pages(tmp_path, asked=PAGES)
    table = tmp_path / "raw/train.jsonl"
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    of_row = ["train"] * 16 + ["dev"] * 4 + ["eval"] * 4
    rows = [row | {"split": split} for row, split in zip(rows, of_row, strict=True)]
    table.write_text("\n".join(map(json.dumps, rows)))
    corpus, _ = run(tmp_path, params_of(server.url, "query", "both"))
    counts = corpus.queries.groupby(["split", "origin"]).size().to_dict()
    assert counts[("eval", "written")] == 8
    assert counts[("dev", "written")] == 8
    assert counts[("train", "written")] == 32


def test_an_eval_without_questions_of_the_origin_says_so(tmp_path, server):
    write_pages(tmp_path)
    with pytest.raises(InputError, match=r"queries\.eval is outline.*set queries\.eval to written"):
        run(tmp_path, params_of(server.url, origins="outline"))


def test_questions_of_one_text_become_one(tmp_path, server):
    write_pages(tmp_path)
    server.always = "unanswerable"  # the same two questions of every page
    with pytest.raises(InputError, match="no queries are left for"):
        run(tmp_path, params_of(server.url))


def test_a_sample_is_drawn_by_seed_and_a_larger_one_holds_it(tmp_path, server):
    write_pages(tmp_path)
    params = params_of(server.url, pages=5)
    download.main(params, tmp_path)
    pages, _ = read_pages(tmp_path / SOURCE)
    settings = params.queries.writer

    def drawn(count, seed):
        changed = settings.model_copy(update={"pages": count})
        return list(questions.chosen_pages(pages, changed, seed)["key"])

    assert len(drawn(5, 1)) == 5
    assert set(drawn(5, 1)) < set(drawn(9, 1))
    assert drawn(5, 1) != drawn(5, 2)
    assert drawn(9, 1) == [key for key in pages["key"] if key in drawn(9, 1)]
    write_queries.main(params, tmp_path)
    assert written(tmp_path)["page"].nunique() == len(server.asked) == 5


def test_contents_and_blank_pages_are_not_asked_about(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    contents = ["Contents", *(f"Chapter {n} ........ {n}" for n in range(1, 12))]
    text = "Water flows through the pipe to the boiler and back again"
    write_pdf(folder / "a.pdf", [contents, [text], [], [f"{text} once more"]], title="A")
    content = content_of()
    content["profiles"]["cpu"]["data"]["source"] = "pdf"
    params = params_file.parse(content)
    download.main(params, tmp_path)
    pages, _ = read_pages(tmp_path / SOURCE)
    chosen = questions.chosen_pages(pages, params.queries.writer, 1)
    assert list(pages["kind"]) != ["text"] * 4
    assert set(chosen["kind"]) <= {"text", "picture"}
    assert list(chosen["page_number"])[0] == 2


def test_the_model_is_told_the_document_and_each_language(tmp_path, server):
    write_pages(tmp_path)
    params = params_of(server.url, pages=2, languages=["en", "de"])
    download.main(params, tmp_path)
    write_queries.main(params, tmp_path)
    asked = [prompt(body) for body in server.asked]
    assert len(asked) == 4
    assert sum("in German" in text for text in asked) == 2
    assert all("The document is filed as: d" in text for text in asked)
    assert set(written(tmp_path)["language"]) == {"en", "de"}


def test_costs_are_told_before_the_first_call_and_bounded(tmp_path, server, caplog, monkeypatch):
    monkeypatch.setattr(filters, "requests_per_question", lambda pages: 3)
    write_pages(tmp_path)
    download.main(params_of(server.url), tmp_path)
    with pytest.raises(InputError) as stop, caplog.at_level("INFO"):
        write_queries.main(params_of(server.url, max_requests=100), tmp_path)
    # 24 to write, and of 48 questions 3 each to judge.
    assert "max_requests is 100, but up to 168 requests are needed" in str(stop.value)
    assert "24 requests to write and up to 144 to judge" in caplog.text
    assert "million tokens in" in caplog.text
    assert server.asked == []
    write_queries.main(params_of(server.url, max_requests=168), tmp_path)
    assert len(server.asked) == PAGES
    # All questions are there; what they cost at the judge is still to come.
    caplog.clear()
    with caplog.at_level("INFO"):
        write_queries.main(params_of(server.url, max_requests=168), tmp_path)
    assert "24 of 24 answers" in caplog.text
    assert "at most 0 requests to write and up to 144 to judge" in caplog.text


def test_experiments_of_a_project_share_the_answers(tmp_path, server, monkeypatch):
    home, aside = tmp_path / "home", tmp_path / "aside"
    for root in (home, aside):
        root.mkdir()
        write_pages(root)
        download.main(params_of(server.url), root)
    write_queries.main(params_of(server.url), home)
    monkeypatch.setenv("DVC_ROOT", str(home))
    write_queries.main(params_of(server.url), aside)
    assert len(server.asked) == PAGES
    assert metrics(aside)["requests"]["write"]["cached"] == PAGES
    assert not (aside / ".work/answers").exists()
    assert (aside / WRITTEN / QUESTIONS).read_bytes() == (home / WRITTEN / QUESTIONS).read_bytes()


def test_bad_answers_cost_their_questions_alone(tmp_path, server):
    write_pages(tmp_path)
    server.faults.extend(["malformed", "refusal", "empty", "too_many"])
    params = params_of(server.url, concurrency=1, filters=[])
    download.main(params, tmp_path)
    write_queries.main(params, tmp_path)
    counts = metrics(tmp_path)
    assert counts["requests"]["write"]["failures"] == {"malformed": 1, "refused": 1, "empty": 1}
    assert len(written(tmp_path)) == 2 * (PAGES - 3)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=lambda how: how.name)
def test_an_interrupted_run_asks_for_nothing_that_it_has(tmp_path, server, how):
    write_pages(tmp_path)
    content = content_of(server.url, concurrency=1, filters=[])
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    params = params_file.parse(content)
    download.main(params, tmp_path)
    server.limit = 10  # then the server says no more
    process = subprocess.Popen(
        [sys.executable, "-m", "stages.write_queries"],
        cwd=tmp_path,
        env=stage_environment(),
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts its background jobs with Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    answers = tmp_path / ".work/answers"
    while len(list(answers.rglob("*.json"))) < 10:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(how)
    _, said = process.communicate()
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "interrupted; the next `dvc repro` goes on" in said
        assert "Traceback" not in said
    assert not (tmp_path / WRITTEN).exists()
    server.limit = None
    write_queries.main(params, tmp_path)
    assert len(server.answered) == PAGES
    assert set(server.answered.values()) == {1}
    assert metrics(tmp_path)["requests"]["write"]["cached"] == 10
    assert len(written(tmp_path)) == 2 * PAGES


def test_the_costs_in_the_docs_are_those_of_the_estimate():
    settings = params_of(url="http://localhost:8000/v1").queries.writer
    settings = settings.model_copy(update={"per_page": CONTENT["queries"]["writer"]["per_page"]})
    whole = costs.estimate(1000, filters.requests_per_question(1000), settings)
    rows = {
        line.split(" | ")[0].strip("| "): line
        for line in (ROOT / "docs/questions.md").read_text().splitlines()
        if line.startswith("| ")
    }
    row = rows["together, at most"]
    requests, tokens_in, tokens_out = (cell.strip(" |") for cell in row.split(" | ")[1:])
    assert int(requests.replace(",", "")) == whole.write_requests + whole.judge_requests
    assert float(tokens_in) == round(whole.tokens_in / 1e6, 1)
    assert float(tokens_out) == round(whole.tokens_out / 1e6, 2)


def test_the_prompts_are_as_long_as_the_estimate_says():
    text = prompts.write(3, list(prompts.KINDS), "page", "A manual of pumps")
    judge = prompts.judge_answer("q" * 60, "a" * 60)
    assert abs(len(text) / 4 - costs.WRITER_PROMPT_TOKENS) < 150
    assert abs(len(judge) / 4 - costs.JUDGE_PROMPT_TOKENS) < 75


def test_the_schema_of_the_table_is_the_same_with_and_without_questions(tmp_path, server):
    write_pages(tmp_path, asked=PAGES)
    tables = []
    for url in ("", server.url):
        params = params_of(url, query="query")
        download.main(params, tmp_path)
        write_queries.main(params, tmp_path)
        tables.append(pq.read_schema(tmp_path / WRITTEN / QUESTIONS))
    assert tables[0] == tables[1]
    assert client.DEAD_AFTER < client.USELESS_AFTER
