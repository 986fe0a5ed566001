"""Calls of OpenAI's chat API, at any server that speaks it, by the `openai` client.

The client retries by itself, with growing pauses: after 429, 5xx, time-outs and cut connections,
and it waits as long as a server says in Retry-After, up to two minutes.
"""

import base64
import importlib.util
import json
import os
import re
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import pydantic

from pagefinder.errors import InputError
from pagefinder.params_writing import Queries, Writer
from pagefinder.writing.hints import TOO_LONG, hint

# How a form is asked for, the strictest way first.
FORMATS = ("json_schema", "json_object", "text")
# What a server may refuse, and what it is asked with instead, if with anything: models of OpenAI
# that reason know the bound of an answer by another name.
OPTIONAL = {
    "temperature": None,
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": None,
}
# Statuses that pass, beside those from 500 on.
PASSING = (408, 409, 429)
# Where no proxy of the environment leads.
LOOPBACK = re.compile(r"localhost|127(\.\d+){3}|::1", re.IGNORECASE)


@dataclass(frozen=True)
class Reply:
    """What a model wrote, as it is kept on the disk."""

    text: str
    refused: bool = False
    cut_off: bool = False
    tokens_in: int = 0
    tokens_out: int = 0
    retried: int = 0


class Unanswered(Exception):  # noqa: N818  # it says what came of a request
    """A request that got no answer after all retries; `rejected`: the server does not take it."""

    def __init__(self, reason: str, *, rejected: bool = False, retried: int = 0) -> None:
        super().__init__(" ".join(reason.split())[:300])
        self.rejected, self.retried = rejected, retried


class Server:
    """A model on a server, open within `async with`; what the server takes is remembered.

    Args:
        url: Address of the API, as http://localhost:8000/v1.
        model: As the server calls it.
        key_variable: Environment variable that holds the key; empty: the server asks for none.
        settings: Concurrency, time-out, retries and the length of an answer.
        temperature: Of the sampling.

    Raises:
        InputError: the extra `llm` is not installed, or the key's variable is not set.
    """

    def __init__(
        self, url: str, model: str, key_variable: str, settings: Writer, temperature: float
    ) -> None:
        self.url, self.model, self.temperature = url, model, temperature
        self.concurrency, self.max_tokens = settings.concurrency, settings.max_tokens
        self._settings, self._key_variable = settings, key_variable
        self._key = _key(url, key_variable)
        # How far it has come down in FORMATS, and the other arguments that it takes.
        self._format = 0
        self._options = {"temperature": temperature, "max_tokens": settings.max_tokens}
        self._has_answered = False
        self._client: Any = None

    async def __aenter__(self) -> "Server":
        import openai

        self._client = openai.AsyncOpenAI(
            base_url=self.url,
            api_key=self._key,
            timeout=self._settings.timeout,
            max_retries=self._settings.retries,
            http_client=openai.DefaultAsyncHttpxClient(mounts=_direct(self.url)),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.close()

    async def ask(self, prompt: str, form: type[pydantic.BaseModel], images: list[bytes]) -> Reply:
        """What the model answers to a prompt about images.

        Raises:
            Unanswered: nothing, after all retries, or the server does not take the request.
            InputError: the server refuses the key, or has no such address or model.
        """
        import openai

        content = [_image(image) for image in images] + [{"type": "text", "text": prompt}]
        messages = [{"role": "user", "content": content}]
        used, options = self._format, dict(self._options)
        while True:
            create = self._client.chat.completions.with_raw_response.create
            arguments = options | _response_format(FORMATS[used], form)
            try:
                response = await create(model=self.model, messages=messages, **arguments)
            except openai.APIStatusError as error:
                simpler = _simpler(used, options, error)
                if simpler is None:
                    raise self._status(error, openai) from error
                used, options = simpler
            except openai.APIConnectionError as error:
                reason = f"{error} {error.__cause__ or ''}"
                raise Unanswered(reason, retried=self._settings.retries) from error
            else:
                reply = _reply(response.http_response.text, response.retries_taken)
                # A page that the server refuses in every way teaches nothing of the others.
                self._format, self._options, self._has_answered = used, options, True
                return reply

    def hint(self, reason: str) -> str:
        """What to do where the server gave this reason; empty where nothing is known."""
        return hint(reason, self._settings)

    def _status(self, error: Any, openai: Any) -> Exception:  # noqa: ANN401  # of an extra
        """The exception for an answer with an error status."""
        words = " ".join(str(error).split())[:300]
        fatal = isinstance(error, openai.AuthenticationError) or not self._has_answered
        if fatal and error.status_code in (401, 403):
            named = self._key_variable or "empty, so none was sent"
            return InputError(
                f"the server {self.url} refuses the key (key_variable is {named}): {words}"
            )
        if fatal and isinstance(error, openai.NotFoundError):
            return InputError(
                f"the server {self.url} has no model {self.model!r} or no chat API: {words}: "
                "mend the model, or the url, which ends in /v1"
            )
        if error.status_code in PASSING or error.status_code >= 500:
            return Unanswered(words, retried=self._settings.retries)
        return Unanswered(words, rejected=True)


def judge_server(queries: Queries) -> Server:
    """The judge's server, which is the writer's where no other is named."""
    writer, judge = queries.writer, queries.judge
    url, key = (judge.url, judge.key_variable) if judge.url else (writer.url, writer.key_variable)
    return Server(url, judge.model or writer.model, key, writer, temperature=0.0)


def _simpler(
    used: int,
    options: dict[str, Any],
    error: Any,  # noqa: ANN401  # of an extra
) -> tuple[int, dict[str, Any]] | None:
    """Format and options to ask with after a refusal; None where a simpler request is no help."""
    words = str(error)
    # llama.cpp before 2025 calls a format that it does not know an error of the server.
    refused = error.status_code in (400, 422) or "response_format" in words
    if not refused or TOO_LONG.search(words):
        return None
    for name, other in OPTIONAL.items():
        if name in options and re.search(rf"\b{name}\b", words):
            rest = {key: value for key, value in options.items() if key != name}
            return used, rest | ({other: options[name]} if other and other in words else {})
    return (used + 1, options) if used < len(FORMATS) - 1 else None


def _direct(url: str) -> dict[str, None]:
    """The address where it is of this machine, which no proxy of the environment could reach."""
    host = urlsplit(url).hostname or ""
    name = f"[{host}]" if ":" in host else host
    return {f"all://{name}": None} if LOOPBACK.fullmatch(host) else {}


def _key(url: str, variable: str) -> str:
    """The key in the environment, or one that says nothing, where the server asks for none."""
    if importlib.util.find_spec("openai") is None:
        raise InputError(
            f"queries names the server {url}, but the package openai is not installed: "
            "pip install 'pagefinder[llm]'"
        )
    if variable and not os.environ.get(variable, "").strip():
        raise InputError(
            f"key_variable is {variable!r} for the server {url}, but the environment has no such "
            f"variable: export {variable}=..., or leave key_variable empty"
        )
    # A key that is read from a file ends in a line break, which no header may hold.
    return os.environ.get(variable, "").strip() or "none"


def _image(png: bytes) -> dict[str, Any]:
    """A picture as the API takes it: in the request itself."""
    address = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return {"type": "image_url", "image_url": {"url": address}}


def _response_format(name: str, form: type[pydantic.BaseModel]) -> dict[str, Any]:
    """The argument that asks for JSON; none where the answer is free text, which holds it too."""
    if name == "json_schema":
        schema = {"name": form.__name__, "schema": form.model_json_schema(), "strict": True}
        return {"response_format": {"type": name, "json_schema": schema}}
    return {"response_format": {"type": name}} if name == "json_object" else {}


def _reply(body: str, retried: int) -> Reply:
    """The reply in the body of an answer; Unanswered where it is none of the chat API."""
    try:
        content = json.loads(body)
        choice = content["choices"][0]
        message, usage = choice["message"], content.get("usage") or {}
        ended = choice.get("finish_reason")
        return Reply(
            text=_text(message.get("content")),
            refused=bool(message.get("refusal")) or ended == "content_filter",
            cut_off=ended == "length",
            tokens_in=int(usage.get("prompt_tokens") or 0),
            tokens_out=int(usage.get("completion_tokens") or 0),
            retried=retried,
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Unanswered(f"no answer of a chat API: {body[:80]!r}", retried=retried) from error


def _text(content: Any) -> str:  # noqa: ANN401  # of a server
    """The text of an answer; some servers give it in parts, thoughts among them."""
    if isinstance(content, list):
        return "".join(str(part["text"]) for part in content if part.get("type") == "text")
    return str(content or "")
