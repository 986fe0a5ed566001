"""Asking a server: what is kept, what is tried again, what a bad answer counts as, when to stop."""

import dataclasses
import json
import shutil
import ssl
import subprocess

import openai
import pytest
from chat_server import serving
from tiny import tiny_content

from pagefinder import params_file
from pagefinder.errors import InputError
from pagefinder.writing import calls, client, prompts, replies
from pagefinder.writing.calls import Server
from pagefinder.writing.client import Chat, Request, answer
from pagefinder.writing.tally import Tally

TEXT = "The pump moves eighty litres of water an hour. The valve closes at nine bar of pressure."


class OnePicture:
    """Pages whose picture is their key."""

    def identity(self, page):
        return page

    def make(self, pages):
        pass

    def png(self, page):
        return None if page == "torn" else page.encode()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(openai._base_client, "INITIAL_RETRY_DELAY", 0.001)


@pytest.fixture
def server():
    with serving(lambda png: TEXT) as running:
        yield running


def chat_with(server, folder, **changes):
    content = tiny_content()["queries"]["writer"]
    knobs = {"url": server.url, "model": "vlm", "timeout": 30, "retries": 2, "concurrency": 1}
    content = tiny_content(queries={"writer": content | knobs | changes})
    settings = params_file.parse(content).queries.writer
    caller = Server(settings.url, settings.model, settings.key_variable, settings, 0.7)
    return Chat(caller, OnePicture(), folder / "answers", Tally(settings.max_requests))


def requests(count=1, first=0):
    text = prompts.write(2, ["factual", "keyword"], "page")
    names = [f"page {number}" for number in range(first, first + count)]
    return [Request("write", text, prompts.WrittenQuestions, (name,)) for name in names]


def counts(chat):
    return chat.tally.steps["write"]


def test_an_answer_fills_the_form_and_is_asked_for_once(server, tmp_path):
    first, second = chat_with(server, tmp_path), chat_with(server, tmp_path)
    one, two = (answer(requests(3), chat) for chat in (first, second))
    assert one == two
    assert one[0].content.questions[0].answer == TEXT.split(". ")[0]
    assert len(server.asked) == 3
    assert counts(first) | {"cached": 3} == counts(second)
    assert counts(first)["tokens_in"] == 3000
    assert counts(first)["tokens_out"] == 150


def test_the_picture_goes_as_data_and_the_form_as_a_schema(server, tmp_path):
    answer(requests(), chat_with(server, tmp_path))
    (body,) = server.asked
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema == prompts.WrittenQuestions.model_json_schema()
    image, text = body["messages"][0]["content"]
    assert image["image_url"]["url"].startswith("data:image/png;base64,")
    assert text["text"].startswith("You see one page")


def test_equal_requests_are_asked_once(server, tmp_path):
    answers = answer([*requests(), *requests()], chat_with(server, tmp_path))
    assert len(server.asked) == 1
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "change", [{"model": "other"}, {"max_tokens": 99}], ids=lambda change: next(iter(change))
)
def test_what_decides_an_answer_asks_again(server, tmp_path, change):
    answer(requests(), chat_with(server, tmp_path))
    answer(requests(), chat_with(server, tmp_path, **change))
    assert len(server.asked) == 2


def test_another_address_or_patience_asks_nothing_again(server, tmp_path):
    answer(requests(), chat_with(server, tmp_path))
    with serving(lambda png: "") as other:
        answer(requests(), chat_with(other, tmp_path, timeout=9, concurrency=3))
    assert other.asked == []


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        ("malformed", "malformed"),
        ("refusal", "refused"),
        ("empty", "empty"),
        ("cut_off", "cut_off"),
    ],
)
def test_a_bad_answer_is_counted_kept_and_not_asked_for_again(server, tmp_path, fault, failure):
    server.always = fault
    for _ in range(2):
        chat = chat_with(server, tmp_path)
        (found,) = answer(requests(), chat)
        assert (found.content, found.failure) == (None, failure)
        assert counts(chat)["failures"] == {failure: 1}
    assert len(server.asked) == 1


@pytest.mark.parametrize("fault", ["fenced", "thinking", "bare_list", "parts"])
def test_json_between_other_words_is_read(server, tmp_path, fault):
    server.always = fault
    (found,) = answer(requests(), chat_with(server, tmp_path))
    assert len(found.content.questions) == 2


def test_an_answer_of_other_types_is_read_as_texts(server, tmp_path):
    server.always = "loose"
    (found,) = answer(requests(), chat_with(server, tmp_path))
    question = found.content.questions[0]
    assert (question.answer, question.evidence, question.kind) == ("45", "", "factual")


def test_a_judgement_without_its_verdict_is_malformed():
    for given, failure in (({"answers": True}, ""), ({"reason": "no"}, "malformed")):
        found, said = replies.parse(json.dumps(given), prompts.PageJudgement)
        assert said == failure
        assert found is None or found.answers


@pytest.mark.parametrize(
    "form", [prompts.WrittenQuestions, prompts.AnswerJudgement, prompts.PageJudgement]
)
def test_openai_takes_the_schema_as_a_strict_one(form):
    """It refuses one in which an object allows other keys, or may lack one of its own."""
    schema = form.model_json_schema()
    for one in (schema, *schema.get("$defs", {}).values()):
        assert one["additionalProperties"] is False
        assert set(one["required"]) == set(one["properties"])


@pytest.mark.parametrize("end", ["", "/"])
def test_the_url_may_end_in_a_slash(server, tmp_path, end):
    server.url += end
    answer(requests(), chat_with(server, tmp_path))
    assert server.paths == ["/v1/chat/completions"]


def test_no_proxy_stands_before_a_server_on_this_machine(server, tmp_path, monkeypatch):
    """A proxy of the environment reaches other machines, and answers 502 for this one."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert not answer(requests(), chat_with(server, tmp_path, retries=0))[0].failure
    # The proxy counts elsewhere.
    assert calls._direct("http://localhost:8000/v1") == {"all://localhost": None}
    assert calls._direct("http://[::1]:8000/v1") == {"all://[::1]": None}
    assert calls._direct("http://10.0.0.5:8000/v1") == {}


@pytest.mark.parametrize("fault", ["429", "500", "cut", "html"])
def test_what_passes_is_tried_again(server, tmp_path, fault):
    server.faults.extend([fault, "", ""] if fault == "html" else [fault, fault])
    chat = chat_with(server, tmp_path)
    if fault == "html":  # an answer, but of no chat API: single ones are passed over
        found = answer(requests(30), chat)
        assert [one.failure for one in found].count("unanswered") == 1
        assert not answer(requests(30), chat)[0].failure
        return
    (found,) = answer(requests(), chat)
    assert len(found.content.questions) == 2
    assert counts(chat)["retried"] == 2
    assert len(server.asked) == 3


def test_a_server_that_hangs_is_left_after_the_timeout(server, tmp_path):
    server.faults.append("hang")
    chat = chat_with(server, tmp_path, timeout=1)
    assert not answer(requests(), chat)[0].failure
    assert counts(chat)["retried"] == 1


def test_a_silent_server_is_told_of_while_it_is_asked_again(server, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(client, "SILENCE", 0.1)
    server.faults.append("hang")
    answer(requests(), chat_with(server, tmp_path, timeout=2))
    assert f"no answer of {server.url} for 0.1 seconds" in caplog.text


def test_a_server_without_response_format_is_asked_without_it(server, tmp_path):
    server.formats = set()
    chat = chat_with(server, tmp_path)
    found = answer(requests(3), chat)
    assert all(len(one.content.questions) == 2 for one in found)
    kinds = [body.get("response_format", {}).get("type") for body in server.asked]
    assert kinds == ["json_schema", "json_object", None, None, None]


def test_a_server_that_knows_json_objects_alone_is_asked_for_these(server, tmp_path):
    server.formats = {"json_object"}
    answer(requests(2), chat_with(server, tmp_path))
    kinds = [body["response_format"]["type"] for body in server.asked]
    assert kinds == ["json_schema", "json_object", "json_object"]


@pytest.mark.parametrize("name", ["temperature", "max_tokens"])
def test_an_argument_that_a_server_refuses_is_left_out(server, tmp_path, name):
    server.unknown = {name}
    answer(requests(2), chat_with(server, tmp_path))
    assert [name in body for body in server.asked] == [True, False, False]


def test_the_bound_of_an_answer_has_another_name_at_openai(server, tmp_path):
    server.unknown, name = {"max_tokens"}, "max_completion_tokens"
    server.words["max_tokens"] = f"Unsupported parameter: 'max_tokens'. Use '{name}' instead."
    answer(requests(2), chat_with(server, tmp_path, max_tokens=77))
    assert [body.get(name) for body in server.asked] == [None, 77, 77]
    assert "max_tokens" not in server.asked[-1]


TOO_LONG = "400 'max_tokens' is too large: 2048. This model's maximum context length is 2048 tokens"


def test_a_page_that_a_server_refuses_changes_nothing_for_the_next(server, tmp_path):
    """Whether it is too long for the model, or refused in every format."""
    server.faults.extend([TOO_LONG, "", *["400"] * 3, ""])
    found = answer(requests(4), chat_with(server, tmp_path))
    assert [one.failure for one in found] == ["rejected", "", "rejected", ""]
    for body in (server.asked[1], server.asked[-1]):
        assert body["response_format"]["type"] == "json_schema"
        assert body["max_tokens"] == 2048
    assert len(server.asked) == 6


def test_a_format_that_an_older_server_calls_its_own_error_is_left_out(server, tmp_path):
    server.faults.append("500 response_format type must be one of text or json_object")
    chat = chat_with(server, tmp_path, retries=0)
    assert not answer(requests(2), chat)[0].failure
    kinds = [body["response_format"]["type"] for body in server.asked]
    assert kinds == ["json_schema", "json_object", "json_object"]


@pytest.mark.parametrize(
    ("fault", "mend"),
    [
        ("hang", r"raise queries\.writer\.timeout \(0\.2 seconds\), or lower concurrency \(1\)"),
        ("429", r"lower queries\.writer\.concurrency \(1\), or raise retries \(0\)"),
        ("500 image input is not supported - hint: provide the mmproj", "a model that sees pict"),
        ("500", "mend the server; 0 answers"),
    ],
)
def test_a_dead_server_is_named_with_what_can_be_done(server, tmp_path, fault, mend):
    server.always = fault
    with pytest.raises(InputError, match=mend):
        answer(requests(9), chat_with(server, tmp_path, retries=0, timeout=0.2))


def test_requests_that_are_too_long_for_all_are_named_with_what_can_be_done(server, tmp_path):
    server.always = TOO_LONG
    with pytest.raises(InputError, match="refuses what it is asked .*a longer context, or lower"):
        answer(requests(30), chat_with(server, tmp_path))
    assert len(server.asked) == client.USELESS_AFTER


def test_refused_pages_do_not_make_a_server_dead(server, tmp_path):
    server.faults.extend([*[TOO_LONG] * 3, "500", ""])
    found = answer(requests(30), chat_with(server, tmp_path, retries=0))
    assert [one.failure for one in found[:5]] == ["rejected"] * 3 + ["unanswered", ""]


@pytest.mark.parametrize(
    ("fault", "words"),
    [("malformed", "malformed: name another model"), ("cut_off", r"max_tokens \(2048\), as a")],
)
def test_a_model_whose_answers_are_all_bad_is_not_asked_about_every_page(
    server, tmp_path, fault, words
):
    server.always = fault
    with pytest.raises(InputError, match=f"the first 20 answers of 'vlm' .*{words}.*20 of them"):
        answer(requests(50), chat_with(server, tmp_path))
    assert len(server.asked) == client.UNFIT_AFTER


def test_one_good_answer_among_the_first_lets_a_run_go_on(server, tmp_path):
    server.faults.extend(["", *["malformed"] * 40])
    assert len(answer(requests(41), chat_with(server, tmp_path))) == 41


def test_a_torn_answer_is_asked_for_again(server, tmp_path):
    """The file of an answer may be empty after a power cut."""
    chat = chat_with(server, tmp_path)
    answer(requests(2), chat)
    first, second = chat.folder.rglob("*.json")
    first.write_text("")
    second.write_text('{"text": "", "of another version": 1}')
    assert client.missing(requests(2), chat) == 2
    assert all(one.content for one in answer(requests(2), chat_with(server, tmp_path)))
    assert len(server.asked) == 4


@pytest.mark.parametrize(("fault", "ends"), [("401", True), ("403", False), ("404", False)])
def test_a_refusal_after_answers(server, tmp_path, fault, ends):
    """A key that is no longer good ends the run; a single page that a provider bars does not."""
    server.faults.extend(["", "", fault])
    if ends:
        with pytest.raises(InputError, match="refuses the key .* 2 answers are kept .* goes on"):
            answer(requests(9), chat_with(server, tmp_path))
        return
    found = answer(requests(9), chat_with(server, tmp_path))
    assert [one.failure for one in found] == ["", "", "rejected", *[""] * 6]


def test_a_certificate_that_nobody_knows_is_named_and_can_be_made_known(tmp_path, monkeypatch):
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(lambda png: TEXT, context) as server:
        with pytest.raises(InputError, match="certificate.*set SSL_CERT_FILE"):
            answer(requests(9), chat_with(server, tmp_path, retries=0))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert not answer(requests(), chat_with(server, tmp_path, retries=0))[0].failure


def test_a_dead_server_is_one_line_and_the_next_run_goes_on(server, tmp_path):
    server.faults.extend([""] * 4)
    server.always = "500"
    with pytest.raises(InputError) as stop:
        answer(requests(50), chat_with(server, tmp_path))
    line = str(stop.value)
    assert "\n" not in line
    assert "does not answer" in line
    assert "4 answers are kept in" in line
    assert "the next run goes on from there" in line
    # Three requests, each tried three times, and not all fifty.
    assert len(server.asked) == 4 + 3 * 3
    server.always, before = "", len(server.asked)
    found = answer(requests(50), chat_with(server, tmp_path))
    assert all(one.content for one in found)
    assert len(server.asked) - before == 46


def test_a_server_that_is_not_there_is_one_line(tmp_path):
    with serving(lambda png: "") as gone:
        pass
    with pytest.raises(InputError, match="does not answer .*failed.*0 answers are kept"):
        answer(requests(9), chat_with(gone, tmp_path))


@pytest.mark.parametrize(
    ("fault", "words"),
    [("401", "refuses the key .*key_variable is empty"), ("404", "has no model 'vlm' or no chat")],
)
def test_a_wrong_key_or_model_stops_at_once(server, tmp_path, fault, words):
    server.always = fault
    with pytest.raises(InputError, match=words):
        answer(requests(9), chat_with(server, tmp_path))
    assert len(server.asked) == 1


def test_a_server_that_takes_no_request_is_left_and_a_single_one_is_not(server, tmp_path):
    server.faults.extend(["", *["400"] * 3])  # refused with each of the three formats
    found = answer(requests(2), chat_with(server, tmp_path))
    assert [one.failure for one in found] == ["", "rejected"]
    server.always = "400"
    with pytest.raises(InputError, match="refuses what it is asked .*fault 400"):
        answer(requests(30, first=50), chat_with(server, tmp_path))


def test_too_many_without_an_answer_stop_the_run(server, tmp_path):
    server.faults.extend([*["500"] * 3, ""] * 2)
    with pytest.raises(InputError, match="left 2 of 20 unanswered"):
        answer(requests(20), chat_with(server, tmp_path))
    assert all(one.content for one in answer(requests(20), chat_with(server, tmp_path)))


def test_a_page_without_a_picture_is_not_asked_about(server, tmp_path):
    chat = chat_with(server, tmp_path)
    torn = dataclasses.replace(requests()[0], pages=("torn",))
    assert answer([torn], chat)[0].failure == "unreadable_page"
    assert server.asked == []
    assert counts(chat)["failures"] == {"unreadable_page": 1}


def test_more_requests_than_allowed_are_not_begun(server, tmp_path):
    answer(requests(2), chat_with(server, tmp_path))
    with pytest.raises(InputError, match="max_requests is 3, but up to 4 requests are needed"):
        answer(requests(6), chat_with(server, tmp_path, max_requests=3))
    assert len(server.asked) == 2
    assert len(answer(requests(5), chat_with(server, tmp_path, max_requests=3))) == 5


def test_the_key_comes_from_the_environment(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret\n")  # as read from a file
    chat = chat_with(server, tmp_path, key_variable="MY_KEY")
    answer(requests(), chat)
    assert server.keys == ["Bearer secret"]
    kept = "".join(path.read_text() for path in (tmp_path / "answers").rglob("*.json"))
    assert "secret" not in kept
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(InputError, match="MY_KEY"):
        chat_with(server, tmp_path, key_variable="MY_KEY")


def test_a_key_in_the_place_of_its_variable_is_refused():
    content = tiny_content()["queries"]["writer"] | {"key_variable": "sk-1234"}
    with pytest.raises(InputError, match=r"queries\.writer\.key_variable"):
        params_file.parse(tiny_content(queries={"writer": content}))


def test_without_the_client_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with serving(lambda png: "") as server, pytest.raises(InputError, match=r"pagefinder\[llm\]"):
        chat_with(server, tmp_path)


def test_an_answer_appears_whole(server, tmp_path, monkeypatch):
    """A run that dies while it writes leaves no torn answer, which the next run would trust."""

    def killed(self, target):
        raise KeyboardInterrupt

    chat = chat_with(server, tmp_path)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(client.Path, "replace", killed)
        answer(requests(), chat)
    assert list(chat.folder.rglob("*.json")) == []
    answer(requests(), chat)
    (kept,) = chat.folder.rglob("*.json")
    assert json.loads(kept.read_text())["tokens_in"] == 1000
