"""Golden cases, and a server that makes each mistake on purpose: the tool names every one."""

import contextlib
import json
import re
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from embedding_server import Served, answering, serving
from published import write_published_embedder, write_published_reranker
from sentence_transformers import SentenceTransformer
from test_encode_compare import write_clip
from tiny import write_static_model, write_text_model

from pagefinder.errors import InputError
from pagefinder.params import Pixels
from pagefinder.parity import asking, cases, diagnosis, making, running
from pagefinder.parity.running import open_model
from pagefinder.release.folders import copy_model, serve_unit_vectors, store_as
from tools import parity

ROOT = Path(__file__).parents[2]
NANO = ROOT / "nano/models"
PIXELS = Pixels(min=1024, max=49152, multiple=32)  # as saved with the bundled models
QUERY, PAGE = "Find the page for this question.", "Represent this page."


def other_weights(folder: Path, target: Path) -> Path:
    """The same model with weights that training could have started from."""
    shutil.copytree(folder, target)
    model = open_model(target)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in model[0].model.named_parameters():
            if weight.ndim > 1 and "visual" not in name:
                weight += 0.5 * weight.std() * torch.randn_like(weight)
    model.save_pretrained(str(target), create_model_card=False)
    return target


def made(folder: Path, base: Path | None = None, pixels: Pixels = PIXELS) -> Path:
    making.make_golden(folder, pixels, (lambda: open_model(base)) if base else None)
    return folder


@pytest.fixture(scope="module")
def embedder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("embedder") / "embedder"
    copy_model(NANO / "embedder", folder)
    (folder / "2_Normalize").mkdir(exist_ok=True)  # as a saved model has it
    serve_unit_vectors(folder, 192, 48)
    return made(folder, other_weights(folder, folder.parent / "base"))


@pytest.fixture(scope="module")
def reranker(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("reranker") / "reranker"
    copy_model(NANO / "reranker", folder)
    return made(folder, other_weights(folder, folder.parent / "base"))


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("text") / "model"
    write_text_model(folder)
    config = json.loads((folder / "config_sentence_transformers.json").read_text())
    config |= {"prompts": {"query": "where is ", "document": "store "}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(config))
    released = folder.parent / "embedder"
    copy_model(folder, released, "text")
    serve_unit_vectors(released, 32, 16)
    return made(released)


def told(folder: Path, served: Served, capsys, *arguments: str, **keywords: object) -> list[str]:
    """What the tool prints of a server; its exit status is 0 where nothing differs."""
    with serving(served, **keywords) as (url, _):
        status = parity.main([url, "--release", str(folder), *arguments])
    lines: list[str] = capsys.readouterr().out.splitlines()
    assert status == (0 if lines[-1].startswith("The same model") else 1)
    return lines


MISTAKES = {
    ("", None): [],
    ("bf16", None): [],
    ("prompt left out", None): [
        "prompt (query): it leaves the prompt out",
        "prompt (page): it leaves the prompt out",
    ],
    ("other prompt", PAGE): ["prompt (query): it puts the prompt of a page before a query"],
    ("other prompt", QUERY): ["prompt (page): it puts the prompt of a query before a page"],
    ("template", None): ["prompt (query, page): it renders no chat template"],
    ("pixels", 10**9): ["pixels (page): it does not shrink pages to 49,152 pixels"],
    ("pixels", 40960): ["pixels (page): it shows the model pages of up to "],
    ("pixels", 120_000): ["pixels (page): it shows the model pages of up to 1"],
    ("length", 64): ["length (query): it cuts texts behind 64 tokens, not 2048"],
    ("length", 50): ["length (query): it cuts texts behind 50 tokens, not 2048"],
    ("pooling", "mean"): ["pooling (query, page): it pools by mean, not by lasttoken"],
    ("pooling", "cls"): ["pooling (query, page): it pools by cls, not by lasttoken"],
    ("normalisation", None): ["normalisation (query, page): its vectors have lengths from "],
    ("dimension", 192): ["dimension (query, page): its vectors have 192 dimensions, not 48"],
    ("dimension", 24): ["dimension (query, page): its vectors have 24 dimensions, not 48"],
    ("base", None): ["weights (query, page): it serves the model before tuning"],
}


def differences(lines: list[str]) -> list[str]:
    """The lines that name what differs."""
    start = next(number for number, line in enumerate(lines) if line.startswith("ranks"))
    return [line for line in lines[start + 1 :] if not line.startswith(("  mend", "The same"))]


def same(found: list[str], expected: list[str]) -> bool:
    return len(found) == len(expected) and all(
        line.startswith(beginning) for line, beginning in zip(found, expected, strict=True)
    )


def served(folder: Path, mistake: str, value: object) -> Served:
    if mistake == "base":
        return Served(folder.parent / "base")
    return Served(folder, mistake, value)


@pytest.mark.parametrize(("mistake", "value"), MISTAKES)
def test_each_mistake_of_an_embedding_server_is_named(embedder, capsys, mistake, value) -> None:
    found = differences(told(embedder, served(embedder, mistake, value), capsys))
    assert same(found, MISTAKES[mistake, value]), found


RERANKER_MISTAKES = {
    ("", None): [],
    ("bf16", None): [],
    ("template", None): ["prompt (pair): it renders no chat template"],
    ("no generation prompt", None): ["prompt (pair): it ends the prompt otherwise"],
    ("swapped", None): ["prompt (pair): it takes the question for the page"],
    ("pixels", 12_288): ["pixels (pair): it shows the model pages of up to 12,288 pixels"],
    ("activation", None): ["normalisation (pair): its scores are logits, the released model's"],
    ("base", None): ["weights (pair): it serves the model before tuning"],
}


@pytest.mark.parametrize(("mistake", "value"), RERANKER_MISTAKES)
def test_each_mistake_of_a_reranking_server_is_named(reranker, capsys, mistake, value) -> None:
    paths = ("/v1/rerank",) if mistake else ("/score",)
    found = differences(told(reranker, served(reranker, mistake, value), capsys, paths=paths))
    assert same(found, RERANKER_MISTAKES[mistake, value]), found


TEXT_MISTAKES = {
    ("", None): [],
    ("bf16", None): [],
    ("prompt left out", "where is "): ["prompt (query): it leaves the prompt out"],
    ("length", 32): ["length (query, page): it cuts texts behind 32 tokens, not 64"],
    ("pooling", "cls"): ["pooling (query, page): it pools by cls, not by mean"],
    ("normalisation", None): ["normalisation (query, page): its vectors have lengths"],
    ("dimension", 32): ["dimension (query, page): its vectors have 32 dimensions, not 16"],
}


@pytest.mark.parametrize(("mistake", "value"), TEXT_MISTAKES)
def test_each_mistake_over_a_text_model_is_named(text, capsys, mistake, value) -> None:
    found = differences(told(text, served(text, mistake, value), capsys))
    assert same(found, TEXT_MISTAKES[mistake, value]), found


BEFORE_NORM = "pooling (query, page): it reads the last layer's output before the "
IN_FRONT = "length (query, page): it cuts texts that are too long at their beginning"
PUBLISHED_MISTAKES = [
    "prompt (query): it leaves the prompt out",
    "prompt (page): it leaves the prompt out",
    "normalisation (pair): its scores are probabilities, the released model's",
]


def test_the_table_of_mistakes_in_the_documents_is_what_is_printed() -> None:
    text = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
    table = text.partition("<!-- mistakes -->")[2].partition("<!-- /mistakes -->")[0]
    shown = {re.sub(r"[\d,.]+", "N", line) for line in re.findall(r"`([^`]+)`", table)}
    tables = (MISTAKES, RERANKER_MISTAKES, TEXT_MISTAKES)
    lines = [line for each in tables for found in each.values() for line in found]
    printed = {
        re.sub(r"[\d,.]+", "N", line)
        for line in {*lines, *PUBLISHED_MISTAKES, BEFORE_NORM, IN_FRONT}
    }
    assert not [line for line in shown if not any(map(line.startswith, printed))]
    assert not [line for line in printed if not any(one.startswith(line) for one in shown)]


def test_a_server_that_reads_before_the_final_norm(embedder, tmp_path, capsys) -> None:
    folder = tmp_path / "embedder"
    shutil.copytree(embedder, folder, ignore=shutil.ignore_patterns("golden"))
    model = open_model(folder)
    with torch.no_grad():  # the bundled model's norm has weights near 1: it does nearly nothing
        weight = model[0].model.language_model.norm.weight
        weight *= torch.linspace(0.2, 2, len(weight))
    model.save_pretrained(str(folder), create_model_card=False)
    found = differences(told(made(folder), Served(folder, "before norm"), capsys))
    assert same(found, [BEFORE_NORM]), found


def test_a_server_that_cuts_texts_at_their_beginning(text, tmp_path, capsys) -> None:
    folder = tmp_path / "embedder"
    shutil.copytree(text, folder)
    golden = folder / "golden/cases.json"  # to the tiny model long texts are alike
    golden.write_text(re.sub(r'"tolerance": [^,]+', '"tolerance": 1e-6', golden.read_text()))
    found = differences(told(folder, Served(folder, "cut in front"), capsys))
    assert same(found, [IN_FRONT]), found


def test_the_mends_name_what_servers_accept(embedder, capsys) -> None:
    """A parameter that vLLM has removed stops the server at its start."""
    for mistake in ("normalisation", "pooling"):
        lines = told(embedder, Served(embedder, mistake, "mean"), capsys)
        (mend,) = [line for line in lines if line.startswith("  mend")]
        assert "--pooler-config" in mend
        assert '"normalize"' not in mend


def test_models_in_the_published_layout(tmp_path, capsys) -> None:
    pixels = Pixels(min=4096, max=40000, multiple=32)
    for name, write in (
        ("embedder", write_published_embedder),
        ("reranker", write_published_reranker),
    ):
        folder = write(tmp_path / name)
        config = json.loads((folder / "config_sentence_transformers.json").read_text())
        config["prompts"] |= {"query": "Find it.", "document": "Represent it."}
        (folder / "config_sentence_transformers.json").write_text(json.dumps(config))
        made(folder, pixels=pixels)
        assert differences(told(folder, Served(folder), capsys)) == []
    found = differences(
        told(tmp_path / "embedder", Served(tmp_path / "embedder", "prompt left out"), capsys)
    )
    assert same(found, PUBLISHED_MISTAKES[:2])
    found = differences(
        told(tmp_path / "reranker", Served(tmp_path / "reranker", "activation"), capsys)
    )
    assert same(found, PUBLISHED_MISTAKES[2:])


def test_a_server_that_refuses_long_texts(text, capsys, caplog) -> None:
    server = Served(text, "refused")
    with serving(server) as (url, _):
        assert parity.main([url, "--release", str(text)]) == 1
        (request,) = re.findall(r"send --request '(.*)'", caplog.text)
        assert parity.main([url, "--release", str(text), "--request", request]) == 0


def test_parameters_of_a_request_join_its_own(reranker) -> None:
    golden = cases.read_golden(reranker)
    golden.settings["prompts"] = {"pair": "Judge it."}
    body = asking.request_of("/v1/rerank", golden, golden.cases[0])
    more = {"chat_template_kwargs": {"add_generation_prompt": True}, "model": "name"}
    joined = asking._with(body, more)
    keywords = {"instruction": "Judge it.", "add_generation_prompt": True}
    assert joined == body | {"chat_template_kwargs": keywords, "model": "name"}


def test_a_server_that_tells_no_tokens(embedder, capsys) -> None:
    lines = told(embedder, Served(embedder, "pixels", 24_576), capsys, tells_tokens=False)
    assert same(differences(lines), ["pixels (page): it shows the model pages of up to "])


def test_what_no_mistake_explains_is_told_by_the_tokens(embedder, capsys) -> None:
    strange = Served(embedder, "other prompt", "Something that nobody would think of.")
    found = differences(told(embedder, strange, capsys))
    assert found[0].startswith("prompt (query): it counts other tokens: ")
    noisy = Served(embedder)
    with torch.no_grad():
        for weight in noisy.model[0].model.parameters():
            weight += 0.3 * weight.std(correction=0) * torch.randn_like(weight)
    found = differences(told(embedder, noisy, capsys))
    assert found[0].startswith("weights (query, page): none of the known mistakes explains")


def test_requests_are_those_of_the_documentation(embedder, reranker, text) -> None:
    golden = cases.read_golden(embedder)
    query, page = golden.of("query")[0], golden.of("page")[0]
    assert asking.request_of("/v1/embeddings", golden, query)["messages"] == [
        {"role": "system", "content": [{"type": "text", "text": QUERY}]},
        {"role": "user", "content": [{"type": "text", "text": query.query}]},
    ]
    content = asking.request_of("/v1/embeddings", golden, page)["messages"][1]["content"]
    assert content[0]["image_url"]["url"].startswith("data:image/png;base64,")
    golden = cases.read_golden(text)
    body = asking.request_of("/v1/embeddings", golden, golden.cases[0])
    assert body["input"] == ["where is " + golden.cases[0].query]
    golden = cases.read_golden(reranker)
    body = asking.request_of("/score", golden, golden.cases[0])
    assert set(body) == {"queries", "documents"}
    assert body["documents"][0]["content"][0]["type"] == "image_url"


def test_more_parameters_of_the_requests(embedder, capsys) -> None:
    wide = Served(embedder, "dimension", 192)
    assert differences(told(embedder, wide, capsys, "--request", '{"dimensions": 48}')) == []


def test_a_folder_is_compared_like_a_server(embedder, tmp_path, capsys) -> None:
    assert parity.main([str(embedder), "--release", str(embedder)]) == 0
    assert "The same model" in capsys.readouterr().out
    lost = tmp_path / "lost"
    shutil.copytree(embedder, lost)
    config = json.loads((lost / "config_sentence_transformers.json").read_text())
    (lost / "config_sentence_transformers.json").write_text(json.dumps(config | {"prompts": {}}))
    assert parity.main([str(lost), "--release", str(embedder)]) == 1
    found = differences(capsys.readouterr().out.splitlines())
    assert same(found, ["prompt (query): it leaves the prompt out", "prompt (page): it leaves"])


def test_the_cases_are_small_whole_and_the_same_when_made_again(embedder, tmp_path) -> None:
    files = sorted((embedder / "golden").iterdir())
    assert [file.name for file in files] == ["cases.json", *(f"page-{n}.png" for n in (1, 2, 3))]
    assert sum(file.stat().st_size for file in files) < 1_000_000
    again = tmp_path / "embedder"
    shutil.copytree(embedder, again, ignore=shutil.ignore_patterns("golden"))
    made(again, embedder.parent / "base")
    for file in files:
        assert (again / "golden" / file.name).read_bytes() == file.read_bytes(), file.name
    golden = cases.read_golden(embedder)
    vectors = golden.vectors()
    assert vectors.shape == (6, 48)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    assert golden.settings == {
        "kind": "embedder",
        "page_content": "image",
        "prompts": {"query": QUERY, "page": PAGE},
        "chat_template": True,
        "max_tokens": 2048,
        "pixels": {"min": 1024, "max": 49152, "multiple": 32},
        "dimension": 48,
        "width": 192,
        "pooling": "lasttoken",
        "normalized": True,
    }
    page = golden.of("page")[1]
    assert page.rendered.count("<|image_pad|>") == 1
    assert page.tokens > 40  # a visual token for each square of 32 pixels
    image = golden.page(page)
    assert (
        image.width * image.height > 2 * 49152
    )  # larger than the budget: a server has to shrink it


def golden_of(kind: str, *vectors: list[float]) -> cases.Golden:
    """Golden cases without a model: a question, and a page for each vector."""
    made = [
        cases.Case(f"page {n}", "page", "q", str(n), None, "", 1, vector, [])
        for n, vector in enumerate(vectors)
    ]
    return cases.Golden({"kind": kind, "prompts": {"page": ""}}, 0.01, made, Path())


@pytest.mark.parametrize(
    ("right", "given", "same"),
    [([1, 2], [3, 4], True), ([1, 2], [2, 1], False), ([1, 1.01], [2, 1], True)],
)
def test_pages_in_another_order_are_told(right, given, same) -> None:
    """Near ties aside."""
    expected, other = (np.array(scores, float)[:, np.newaxis] for scores in (right, given))
    golden = golden_of("reranker", *expected.tolist())
    assert diagnosis._same_ranks(golden, expected, other) == same


def test_of_two_mistakes_the_nearer_one_explains(monkeypatch) -> None:
    from pagefinder.parity.mistakes import Mistake

    def mistake(what, vector):
        return Mistake("prompt", what, "mend", lambda *_: np.array([vector]))

    near = [mistake("near", [0.1, 0.995]), mistake("exact", [0.0, 1.0])]
    monkeypatch.setattr(diagnosis, "mistakes", lambda *_: near)
    golden = golden_of("embedder", [1.0, 0.0])
    finding = diagnosis._explain(golden, [0], np.array([[0.0, 1.0]]), [None], None)
    assert finding.what == "exact"


def test_cut_vectors_have_unit_length_and_logits_stay() -> None:
    np.testing.assert_allclose(making.cut(np.array([[3.0, 4.0, 5.0]]), 2), [[0.6, 0.8]])
    assert making.cut(np.array([[3.0]]), 1).tolist() == [[3.0]]


def test_mistakes_leave_the_model_as_it_was(embedder) -> None:
    from pagefinder.parity.mistakes import mistakes

    golden, model = cases.read_golden(embedder), open_model(embedder)
    pages = golden.of("page")
    inputs = [running.Input("page", page=golden.page(page), name=page.name) for page in pages]
    prompts = [PAGE] * len(pages)
    before = running.vectors(model, inputs, prompts)
    for mistake in mistakes(golden, pages, [None] * len(pages)):
        if mistake.aspect != "length":
            mistake.run(model, inputs, prompts)
            np.testing.assert_array_equal(running.vectors(model, inputs, prompts), before)
    limit = model.max_seq_length
    cuts = [m for m in mistakes(golden, pages, [None] * len(pages)) if m.aspect == "length"]
    for cut in cuts:
        with contextlib.suppress(ValueError, RuntimeError, IndexError):  # a cut in a page
            cut.run(model, inputs, prompts)
        assert model.max_seq_length == limit
    assert cuts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["http://127.0.0.1:9"], "gives no answer .*is the server running"),
        (["nowhere"], "neither a folder nor an address"),
        (["http://127.0.0.1:9", "--request", "{"], "--request '{' is no JSON"),
        (["http://127.0.0.1:9", "--request", "[]"], "is no JSON object"),
        (["http://127.0.0.1:9", "--release", "gone"], "gone/golden/cases.json is not there"),
    ],
)
def test_a_users_mistake_is_one_line(embedder, caplog, arguments, message) -> None:
    if "--release" not in arguments:
        arguments = [*arguments, "--release", str(embedder)]
    assert parity.main(arguments) == 1
    (error,) = [r.message for r in caplog.records if r.levelname == "ERROR"]
    assert "\n" not in error
    assert re.search(message, error), error


def test_a_server_that_refuses_is_told_with_its_words(embedder, caplog) -> None:
    with serving(Served(embedder)) as (url, _):
        assert parity.main([url, "--release", str(embedder), "--model", "another"]) == 1
    assert "answered 400: " in caplog.text
    with serving(Served(embedder), paths=()) as (url, _):
        assert parity.main([url + "/v1", "--release", str(embedder)]) == 1
    assert "/v1/embeddings answered 404: " in caplog.text


def test_damaged_cases_are_named(tmp_path) -> None:
    (tmp_path / "golden").mkdir()
    (tmp_path / "golden/cases.json").write_text('{"settings": {}, "cases": [{}]}')
    with pytest.raises(InputError, match="cases.json is damaged .*run `dvc repro -f -s export`"):
        cases.read_golden(tmp_path)


def error_of(arguments: list[str], caplog) -> str:
    """The only error of the tool, which is one line."""
    caplog.clear()
    assert parity.main(arguments) == 1
    (error,) = [r.message for r in caplog.records if r.levelname == "ERROR"]
    assert "\n" not in error
    return error


def no_number(embedding: str) -> bytes:
    return b'{"data": [{"id": "m", "embedding": %s}]}' % embedding.encode()


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"<html>\n<p>Welcome</p></html>", 200, "/v1/models answers no JSON object.*Welcome"),
        (b"[1]", 200, "/v1/models answers no JSON object"),
        (b'{"data": [{}]}', 200, "/v1/models lists no model.*--model"),
        (b'{"data": {"a": 1}}', 200, "/v1/models lists no model"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", 0, "gives no answer .*is the server running"),
        (b'{"error": "Unauthorized"}', 401, "answered 401: .*Unauthorized.*--key-variable"),
        (
            no_number("[NaN, NaN]"),
            200,
            "gave no numbers for query 1: .*nan.*float16",
        ),
        (no_number("[]"), 200, "gave no numbers for query 1"),
        (no_number("null"), 200, "gave no vector or score"),
        (
            b'{"data": [{"id": "m", "embedding": [1, 0]}], "usage": "none"}',
            200,
            "gave no vector or score",
        ),
    ],
)
def test_what_is_no_answer_of_such_a_server_is_one_line(
    embedder, caplog, content, status, message
) -> None:
    with answering(content, status) as url:
        error = error_of([url, "--release", str(embedder)], caplog)
    assert re.search(message, error), error


@pytest.mark.parametrize("url", ["http://127.0.0.1:port", "http://a b/"])
def test_what_is_no_address_is_one_line(embedder, caplog, url) -> None:
    assert "is no address of a server" in error_of([url, "--release", str(embedder)], caplog)


def test_a_server_that_asks_for_a_key(embedder, caplog, monkeypatch) -> None:
    arguments = ["--release", str(embedder), "--key-variable", "SERVER_KEY"]
    monkeypatch.delenv("SERVER_KEY", raising=False)
    error = error_of(["http://127.0.0.1:9", *arguments], caplog)
    assert "--key-variable is SERVER_KEY, but the environment has no such variable" in error
    with answering(no_number("null"), key="abc") as url:
        monkeypatch.setenv("SERVER_KEY", "wrong")
        assert "answered 401" in error_of([url, *arguments], caplog)
        monkeypatch.setenv("SERVER_KEY", "abc")
        assert "gave no vector or score" in error_of([url, *arguments], caplog)


def test_a_folder_that_holds_no_such_model_is_one_line(
    embedder, reranker, tmp_path, caplog
) -> None:
    release = ["--release", str(embedder)]
    error = error_of([str(embedder.parent), *release], caplog)
    assert "holds no model: it has neither modules.json nor config.json" in error
    error = error_of([str(reranker), *release], caplog)
    assert error.startswith(f"error: {reranker} is a reranker, but {embedder} is an embedder: name")
    error = error_of([str(embedder), "--release", str(reranker)], caplog)
    assert error.startswith(f"error: {embedder} is an embedder, but {reranker} is a reranker")
    (tmp_path / "config.json").write_text("{}")
    error = error_of([str(tmp_path), *release], caplog)
    assert f"{tmp_path} does not open as a model: " in error


def test_vectors_that_are_no_numbers_differ(embedder) -> None:
    golden = cases.read_golden(embedder)
    answers = asking.Answers(np.full((6, 48), np.nan), [None] * 6)
    assert diagnosis.compare(golden, answers, open_model(embedder)).findings


def test_one_model_is_open_at_a_time(embedder, tmp_path, monkeypatch) -> None:
    folder = tmp_path / "embedder"
    shutil.copytree(embedder, folder, ignore=shutil.ignore_patterns("golden"))
    opened: list[weakref.ref] = []

    def counted(*arguments: object, **keywords: object) -> running.Model:
        assert not any(model() for model in opened)
        model = open_model(*arguments, **keywords)
        opened.append(weakref.ref(model))
        return model

    monkeypatch.setattr(making, "open_model", counted)
    making.make_golden(folder, PIXELS, lambda: counted(embedder.parent / "base"))
    assert len(opened) == 3


def test_a_dual_encoder_has_golden_cases_too(tmp_path, capsys) -> None:
    write_clip(tmp_path / "clip")
    model = SentenceTransformer(str(tmp_path / "clip"), device="cpu")
    model.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    released = tmp_path / "embedder"
    copy_model(tmp_path / "saved", released)
    serve_unit_vectors(released, 24, 16)
    golden = cases.read_golden(made(released))
    assert (golden.settings["pooling"], golden.settings["width"]) == ("", 24)
    assert golden.vectors().shape == (6, 16)
    page = golden.of("page")[0]
    assert (page.tokens, page.rendered) == (0, "")
    body = asking.request_of("/v1/embeddings", golden, page)
    assert body["messages"][0]["content"][0]["type"] == "image_url"
    assert parity.main([str(released), "--release", str(released)]) == 0
    assert parity.main([str(tmp_path / "saved"), "--release", str(released)]) == 1
    assert "dimension (query, page): its vectors have 24" in capsys.readouterr().out


def test_static_embeddings_have_golden_cases_too(tmp_path, capsys) -> None:
    """They give tokens without a mask, read whole texts and have no layers to take apart."""
    write_static_model(tmp_path / "saved")
    released = tmp_path / "embedder"
    copy_model(tmp_path / "saved", released, "text")
    serve_unit_vectors(released, 32, 16)
    store_as(released, "bfloat16")
    golden = cases.read_golden(made(released, tmp_path / "saved"))
    assert "Infinity" not in (released / "golden/cases.json").read_text()  # which is no JSON
    assert golden.settings["max_tokens"] is None
    query = golden.of("query")[0]
    assert (query.tokens, query.rendered) == (5, "[UNK] [UNK] revenue [UNK] [UNK]")
    assert parity.main([str(released), "--release", str(released)]) == 0
    capsys.readouterr()
    other = SentenceTransformer(str(released))
    with torch.no_grad():
        other[0].embedding.weight += torch.randn(other[0].embedding.weight.shape)
    other.save_pretrained(str(tmp_path / "other"), create_model_card=False)
    assert parity.main([str(tmp_path / "other"), "--release", str(released)]) == 1
    assert differences(capsys.readouterr().out.splitlines())
