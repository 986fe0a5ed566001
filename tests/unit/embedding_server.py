"""A small OpenAI-compatible server on 127.0.0.1 that makes one mistake on purpose, or none.

It runs Sentence Transformers like the released model, but parses requests, renders prompts, pools,
cuts and normalises by itself, as vLLM and Text Embeddings Inference do.
"""

import base64
import contextlib
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sentence_transformers import CrossEncoder, SentenceTransformer

# The mistakes of a server of embeddings, and those of a reranker.
PLAIN = "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}{% if p.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in p %}{{ p.text }}{% endif %}{% endfor %}{% endif %}{% endfor %}"  # noqa: E501


class Served:
    """A model that answers requests with a mistake.

    Attributes:
        folder: Of the served model.
        mistake: What is done wrong; "" for nothing.
        value: Of the mistake, such as the number of tokens of a cut.
    """

    def __init__(self, folder: Path, mistake: str = "", value: Any = None) -> None:
        self.mistake, self.value = mistake, value
        self.reranks = (
            '"CrossEncoder"' in (folder / "config_sentence_transformers.json").read_text()
        )
        dtype = torch.bfloat16 if mistake == "bf16" else torch.float32
        kind = CrossEncoder if self.reranks else SentenceTransformer
        self.model = kind(str(folder), device="cpu", model_kwargs={"dtype": dtype}).eval()
        self.prompts = dict(self.model.prompts)
        processor = getattr(self.model[0].processor, "image_processor", None)
        if mistake == "pixels":
            shortest = min(processor.size.shortest_edge, value)
            processor.size = type(processor.size)(shortest_edge=shortest, longest_edge=value)
        if mistake == "template":
            self.model[0].processor.chat_template = PLAIN
            self.model[0].processing_kwargs = {}
        if mistake == "no generation prompt":
            self.model[0].processing_kwargs = {"chat_template": {"add_generation_prompt": False}}
        if mistake == "before norm":
            self.model[0].model.language_model.norm = torch.nn.Identity()

    def embedding(self, body: dict[str, Any]) -> tuple[list[float], int]:
        """The vector of a request to /v1/embeddings, and its number of tokens."""
        messages = body.get("messages")
        given = self._message(messages) if messages else self._text(body["input"][0])
        if self.mistake == "cut in front":
            self.model[0].tokenizer.truncation_side = "left"
        if self.mistake == "length":  # cut through a page it would answer nothing
            self.model.max_seq_length = 4096 if "image" in str(given) else self.value
        features = self.model.preprocess([given], prompt="")
        with torch.inference_mode():
            outputs = self.model[0](features)
        states = outputs["token_embeddings"][0].float().numpy()
        mask = outputs["attention_mask"][0].bool().numpy()
        states = states[mask]
        mode = self.value if self.mistake == "pooling" else self.model[1].pooling_mode
        vector = {"lasttoken": states[-1], "cls": states[0], "mean": states.mean(axis=0)}[str(mode)]
        dimension = self.model.get_embedding_dimension()
        if self.mistake == "dimension":
            dimension = self.value
        dimension = body.get("dimensions", dimension)
        vector = vector[:dimension]
        if self.mistake != "normalisation":
            vector = vector / np.linalg.norm(vector)
        return vector.tolist(), int(mask.sum())

    def _message(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The messages of a request with their images decoded, and the mistake made."""
        roles = {message["role"]: message for message in messages}
        if self.mistake == "prompt left out":
            roles.pop("system", None)
        if self.mistake == "other prompt":
            roles["system"] = {
                "role": "system",
                "content": [{"type": "text", "text": self.value}],
            }
        content = [_part(part) for part in roles["user"]["content"]]
        system = [roles["system"]] if "system" in roles else []
        return [*system, {"role": "user", "content": content}]

    def _text(self, text: str) -> str:
        if self.mistake == "prompt left out":
            return text.removeprefix(self.value)
        return f"{self.value}{text}" if self.mistake == "other prompt" else text

    def score(self, query: str, page: Any, instruction: str) -> tuple[float, int]:
        """The plain score of a pair, and its number of tokens."""
        value = page
        if not isinstance(page, str):
            parts = [_part(part) for part in page["content"]]
            value = {part["type"]: part[part["type"]] for part in parts}
            value = value["image"] if len(value) == 1 else value
        if self.mistake == "prompt left out":
            instruction = ""
        pair = (value, query) if self.mistake == "swapped" else (query, value)
        features = self.model.preprocess([pair], prompt=instruction)
        with torch.inference_mode():
            logit = self.model(features)["scores"].float().reshape(-1)
        plain = self.model.activation_fn(logit)
        if self.mistake == "activation":
            plain = logit if "Sigmoid" in str(self.model.activation_fn) else torch.sigmoid(logit)
        return float(plain), int(features["attention_mask"].sum())


def _part(part: dict[str, Any]) -> dict[str, Any]:
    """A part of a message, its image decoded."""
    if part["type"] != "image_url":
        return part
    data = base64.b64decode(part["image_url"]["url"].partition("base64,")[2])
    return {"type": "image", "image": Image.open(io.BytesIO(data)).convert("RGB")}


class Handler(BaseHTTPRequestHandler):
    """The interface: /v1/models, /v1/embeddings, /v1/rerank, /score."""

    served: Served
    paths: tuple[str, ...]
    tells_tokens: bool
    bodies: list[dict[str, Any]]

    def do_GET(self) -> None:  # noqa: N802
        self._answer({"data": [{"id": "served-model"}]})

    def do_POST(self) -> None:  # noqa: N802
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.bodies.append(body)
        if self.served.mistake == "refused" and "truncate_prompt_tokens" not in body:
            self.send_error(400, "This model's maximum context length is 64 tokens")
            return
        if self.path not in self.paths:
            self.send_error(404)
            return
        if body["model"] != "served-model":
            self.send_error(400, "no such model")
            return
        if self.path == "/v1/embeddings":
            vector, tokens = self.served.embedding(body)
            content: dict[str, Any] = {"data": [{"index": 0, "embedding": vector}]}
        else:
            query = body.get("query") or body["queries"]
            instruction = body.get("chat_template_kwargs", {}).get("instruction", "")
            score, tokens = self.served.score(query, body["documents"][0], instruction)
            content = {"results": [{"index": 0, "relevance_score": score}]}
            if self.path == "/score":
                content = {"data": [{"index": 0, "score": score}]}
        if self.tells_tokens:
            content["usage"] = {"prompt_tokens": tokens}
        self._answer(content)

    def _answer(self, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def serving(
    served: Served,
    paths: tuple[str, ...] = ("/v1/embeddings", "/v1/rerank"),
    tells_tokens: bool = True,
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Within the block the server runs; yields its address and the bodies that it was sent."""
    bodies: list[dict[str, Any]] = []
    names = {"served": served, "paths": paths, "tells_tokens": tells_tokens, "bodies": bodies}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), names))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", bodies
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def answering(content: bytes, status: int = 200, key: str = "") -> Iterator[str]:
    """Within the block a server gives these bytes to every request; yields its address.

    With `key` it refuses requests without it; without a status it sends the bytes alone.
    """

    class Fixed(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            allowed = not key or self.headers.get("Authorization") == f"Bearer {key}"
            if status:
                self.send_response(status if allowed else 401)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Fixed)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
