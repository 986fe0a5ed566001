"""Ask an OpenAI-compatible server for what the golden cases hold."""

import base64
import http.client
import json
import math
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
TOO_LONG = "maximum context length"  # how vLLM says that a text has too many tokens
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


def ask(url: str, golden: Golden, model: str, extra: Mapping[str, Any], key: str = "") -> Answers:
    """The server's answers to all cases, one request each.

    Args:
        url: Of the server, with or without a path such as /v1.
        golden: The cases.
        model: Its name at the server; empty: the first that /v1/models lists.
        extra: Further parameters of each request, such as `dimensions`.
        key: That the server asks for; empty: none.

    Raises:
        InputError: no answer, or not one of this interface.
    """
    if not url.startswith(("http://", "https://")):
        raise InputError(f"{url!r} is neither a folder nor an address that begins with http")
    url = url.rstrip("/").removesuffix("/v1").rstrip("/")
    if not model:
        model = _first_model(url, key)
    rows, tokens = [], []
    path = ""
    for case in tqdm(golden.cases, "asking", unit="case", disable=None):
        path, answer = _post(url, path, golden, case, {"model": model} | dict(extra), key)
        try:
            rows.append(_vector(path, answer))
            usage = answer.get("usage") or {}
            count = usage.get("prompt_tokens") or usage.get("total_tokens")
            tokens.append(None if count is None else int(count))
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
            raise InputError(f"{url}{path} gave no vector or score: {answer!s:.200}") from error
        if not rows[-1] or not all(map(math.isfinite, rows[-1])):
            raise InputError(
                f"{url}{path} gave no numbers for {case.name}: {rows[-1]!s:.60}: serve with "
                "`--dtype float32` or bfloat16, since float16 overflows"
            )
    if len({len(row) for row in rows}) > 1:
        raise InputError(f"{url}{path} gave vectors of several lengths: {set(map(len, rows))}")
    return Answers(np.array(rows, dtype=np.float64), tokens)


def _first_model(url: str, key: str) -> str:
    """The name of the first model that a server lists; "default" where it lists none."""
    listed = _json(f"{url}/v1/models", None, missing={}, key=key)
    try:
        return str(listed["data"][0]["id"]) if listed.get("data") else "default"
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(
            f"{url}/v1/models lists no model: {listed!s:.200}: name one by --model"
        ) from error


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
    if not settings["chat_template"] and not case.image:
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
    url: str, path: str, golden: Golden, case: Case, parameters: Mapping[str, Any], key: str
) -> tuple[str, dict[str, Any]]:
    """The path that answered and its answer; without a path those of the interface are tried."""
    paths = [path] if path else PATHS[golden.settings["kind"]]
    for each in paths:
        body = _with(request_of(each, golden, case), parameters)
        try:
            answer = _json(url + each, body, missing=None if each == paths[-1] else {}, key=key)
        except InputError as error:
            if TOO_LONG not in str(error):
                raise
            tokens = golden.settings["max_tokens"]
            mend = f'{{"truncate_prompt_tokens": {tokens}, "truncation_side": "right"}}'
            raise InputError(
                f"{error}: it refuses texts that the released model cuts: send --request '{mend}'"
            ) from error
        if answer:
            return each, answer
    raise InputError(f"{url} gave an empty answer at {' and '.join(paths)}")


def _with(body: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a request with more parameters; an object gets those of the other's."""
    merged = dict(body)
    for name, value in parameters.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = merged[name] | value if both else value
    return merged


def _json(url: str, body: object, missing: dict[str, Any] | None, key: str) -> dict[str, Any]:
    """The JSON object that a server answers; `missing` where it does not know the address."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    headers |= {"Authorization": f"Bearer {key}"} if key else {}
    try:
        request = urllib.request.Request(url, data, headers)
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            content = response.read()
    except urllib.error.HTTPError as error:
        if error.code in (404, 405) and missing is not None:
            return missing
        text = " ".join(error.read().decode(errors="replace").split())
        mend = ": name the variable of its key by --key-variable" if error.code == 401 else ""
        raise InputError(f"{url} answered {error.code}: {text:.300}{mend}") from error
    except http.client.InvalidURL as error:
        raise InputError(f"{url!r} is no address of a server: {error}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{url} gives no answer ({reason}): is the server running?") from error
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        text = " ".join(content[:200].decode(errors="replace").split())
        raise InputError(f"{url} answers no JSON object, so another program runs there: {text}")
    return answer
