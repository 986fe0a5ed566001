"""Calls of OpenAI's chat API, at any server that speaks it, by the `openai` client.

The client retries by itself, with growing pauses: after 429, 5xx, time-outs and cut connections,
and it waits as long as a server says in Retry-After, up to two minutes.
"""

import base64
import importlib.util
import json
import os
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import pydantic

from pagefinder.errors import InputError
from pagefinder.params_writing import Queries, Writer

# How a form is asked for, the strictest way first.
FORMATS = ("json_schema", "json_object", "text")
# What a server may refuse, and its answers can do without.
OPTIONAL = ("temperature", "max_tokens")


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
        super().__init__(" ".join(reason.split())[:200])
        self.rejected, self.retried = rejected, retried


class Server:
    """A model on a server, open within `async with`; what the server refuses is remembered.

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
        self._format = 0
        self._options = {"temperature": temperature, "max_tokens": settings.max_tokens}
        self._client: Any = None

    async def __aenter__(self) -> "Server":
        import openai

        self._client = openai.AsyncOpenAI(
            base_url=self.url,
            api_key=self._key,
            timeout=self._settings.timeout,
            max_retries=self._settings.retries,
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
        while True:
            used, options = self._format, dict(self._options)
            options |= _response_format(FORMATS[used], form)
            try:
                create = self._client.chat.completions.with_raw_response.create
                response = await create(model=self.model, messages=messages, **options)
                return _reply(response.http_response.text, response.retries_taken)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if not self._leave_out(used, str(error)):
                    raise Unanswered(str(error), rejected=True) from error
            except openai.APIStatusError as error:
                raise self._status(error, openai) from error
            except openai.APIConnectionError as error:
                reason = f"{error} {error.__cause__ or ''}"
                raise Unanswered(reason, retried=self._settings.retries) from error

    def _leave_out(self, used: int, reason: str) -> bool:
        """Ask without what the server refused; whether there is anything to leave out."""
        for name in OPTIONAL:
            if name in reason and name in self._options:
                del self._options[name]
                return True
        # Another request may have found it out meanwhile.
        self._format = max(self._format, min(used + 1, len(FORMATS) - 1))
        return used < len(FORMATS) - 1

    def _status(self, error: Any, openai: Any) -> Exception:  # noqa: ANN401  # of an extra
        """The exception for an answer with an error status."""
        words = " ".join(str(error).split())[:200]
        if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            named = self._key_variable or "empty, so none was sent"
            return InputError(
                f"the server {self.url} refuses the key (key_variable is {named}): {words}"
            )
        if isinstance(error, openai.NotFoundError):
            return InputError(
                f"the server {self.url} has no model {self.model!r} or no chat API: {words}: "
                "mend the model, or the url, which ends in /v1"
            )
        retried = self._settings.retries if error.status_code in (408, 409, 429) else 0
        if error.status_code >= 500:
            retried = self._settings.retries
        return Unanswered(words, rejected=not retried, retried=retried)


def judge_server(queries: Queries) -> Server:
    """The judge's server, which is the writer's where no other is named."""
    writer, judge = queries.writer, queries.judge
    url, key = (judge.url, judge.key_variable) if judge.url else (writer.url, writer.key_variable)
    return Server(url, judge.model or writer.model, key, writer, temperature=0.0)


def _key(url: str, variable: str) -> str:
    """The key in the environment, or one that says nothing, where the server asks for none."""
    if importlib.util.find_spec("openai") is None:
        raise InputError(
            f"queries names the server {url}, but the package openai is not installed: "
            "pip install 'pagefinder[llm]'"
        )
    if variable and not os.environ.get(variable):
        raise InputError(
            f"key_variable is {variable!r} for the server {url}, but the environment has no such "
            f"variable: export {variable}=..., or leave key_variable empty"
        )
    return os.environ.get(variable, "") or "none"


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
            text=str(message.get("content") or ""),
            refused=bool(message.get("refusal")) or ended == "content_filter",
            cut_off=ended == "length",
            tokens_in=int(usage.get("prompt_tokens") or 0),
            tokens_out=int(usage.get("completion_tokens") or 0),
            retried=retried,
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Unanswered(f"no answer of a chat API: {body[:80]!r}", retried=retried) from error
