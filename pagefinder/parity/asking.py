"""Ask an OpenAI-compatible server for what the golden cases hold."""

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from pagefinder.errors import InputError
from pagefinder.parity.cases import Case, Golden

SECONDS = 300  # for one answer: a server may load its model at the first
PATHS = {"embedder": ("/v1/embeddings",), "reranker": ("/v1/rerank", "/score")}


@dataclass(frozen=True)
class Answers:
    """What a server or a folder makes of the cases.

    Attributes:
        vectors: Embeddings [cases, width], or plain scores in one column.
        tokens: Number of tokens of each case; None where it is not told.
    """

    vectors: np.ndarray
    tokens: list[int | None]


def ask(url: str, golden: Golden, model: str, extra: Mapping[str, Any]) -> Answers:
    """The server's answers to all cases, one request each.

    Args:
        url: Of the server, with or without a path such as /v1.
        golden: The cases.
        model: Its name at the server; empty: the first that /v1/models lists.
        extra: Further parameters of each request, such as `dimensions`.

    Raises:
        InputError: no answer, or not one of this interface.
    """
    if not url.startswith(("http://", "https://")):
        raise InputError(f"{url!r} is neither a folder nor an address that begins with http")
    url = url.rstrip("/").removesuffix("/v1").rstrip("/")
    if not model:
        listed = _json(f"{url}/v1/models", None, missing={})
        model = str((listed.get("data") or [{"id": "default"}])[0]["id"])
    rows, tokens = [], []
    path = ""
    for case in tqdm(golden.cases, "asking", unit="case", disable=None):
        path, answer = _post(url, path, golden, case, {"model": model} | dict(extra))
        try:
            rows.append(_vector(path, answer))
            usage = answer.get("usage") or {}
            count = usage.get("prompt_tokens") or usage.get("total_tokens")
            tokens.append(None if count is None else int(count))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise InputError(f"{url}{path} gave no vector or score: {answer!s:.200}") from error
    if len({len(row) for row in rows}) > 1:
        raise InputError(f"{url}{path} gave vectors of several lengths: {set(map(len, rows))}")
    return Answers(np.array(rows, dtype=np.float64), tokens)


def request_of(path: str, golden: Golden, case: Case) -> dict[str, Any]:
    """The body of the request for a case, without the model's name."""
    settings = golden.settings
    prompt = settings["prompts"][case.kind]
    if golden.reranks:
        keywords = {"chat_template_kwargs": {"instruction": prompt}} if prompt else {}
        content = _content(golden, case)
        page: Any = {"content": content} if case.image else case.text or ""
        if path == "/score":
            return {"queries": case.query, "documents": [page]} | keywords
        return {"query": case.query, "documents": [page]} | keywords
    text = case.query or case.text or ""
    if not settings["chat_template"]:
        return {"input": [prompt + text], "encoding_format": "float"}
    content = _content(golden, case) if case.kind == "page" else [{"type": "text", "text": text}]
    system = [{"role": "system", "content": [{"type": "text", "text": prompt}]}] if prompt else []
    messages = [*system, {"role": "user", "content": content}]
    return {"messages": messages, "encoding_format": "float"}


def _content(golden: Golden, case: Case) -> list[dict[str, Any]]:
    """A page as the parts of a chat message."""
    parts: list[dict[str, Any]] = []
    if case.image:
        data = base64.b64encode((golden.folder / case.image).read_bytes()).decode()
        address = {"url": f"data:image/png;base64,{data}"}
        parts.append({"type": "image_url", "image_url": address})
    if case.text is not None:
        parts.append({"type": "text", "text": case.text})
    return parts


def _vector(path: str, answer: Mapping[str, Any]) -> list[float]:
    """The embedding, or the score, in an answer."""
    if path == "/v1/embeddings":
        return [float(number) for number in answer["data"][0]["embedding"]]
    if path == "/score":
        return [float(answer["data"][0]["score"])]
    return [float(answer["results"][0]["relevance_score"])]


def _post(
    url: str, path: str, golden: Golden, case: Case, parameters: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The path that answered and its answer; without a path those of the interface are tried."""
    paths = [path] if path else PATHS[golden.settings["kind"]]
    for each in paths:
        body = request_of(each, golden, case) | dict(parameters)
        answer = _json(url + each, body, missing=None if each == paths[-1] else {})
        if answer:
            return each, answer
    raise InputError(f"{url} gave an empty answer at {' and '.join(paths)}")


def _json(url: str, body: object, missing: dict[str, Any] | None) -> dict[str, Any]:
    """The JSON that a server answers; `missing` where it does not know the address."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            content: dict[str, Any] = json.load(response)
            return content
    except urllib.error.HTTPError as error:
        if error.code in (404, 405) and missing is not None:
            return missing
        text = " ".join(error.read().decode(errors="replace").split())
        raise InputError(f"{url} answered {error.code}: {text:.300}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{url} gives no answer ({error}): is the server running?") from error
