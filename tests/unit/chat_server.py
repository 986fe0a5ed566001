"""A server for tests that speaks OpenAI's chat API and answers by rules instead of a model.

It knows pages by their pictures: the test hands it a function from a picture's PNG to the page's
text. It answers badly as often as the test says, and counts what it was asked.
"""

import base64
import contextlib
import hashlib
import json
import re
import ssl
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# As a model writes it that is shown no schema.
LOOSE = {"answer": 45, "evidence": None, "kind": ["factual"]}
SENTENCE = re.compile(r"[^.!?\n]{20,}")


class ChatServer:
    """What the server knows, answers and was asked.

    Attributes:
        text_of: PNG of a page -> its text.
        faults: What it does to the next requests instead of answering, in order: malformed,
            refusal, empty, cut_off, quoting, unanswerable, other_language, fenced, thinking,
            too_many, bare_list, loose, parts, html, cut, hang, a status such as 429 (with the
            words behind it, if any are: "400 too long"), or "" (it answers).
        always: A fault of every request behind these.
        unknown: Arguments that it refuses, as `response_format`.
        words: What it says of an argument that it refuses, by its name.
        asked: The requests' bodies, in order; `paths` and `keys` are theirs.
        answered: Number of answers of each request that was answered, by its digest.
        limit: After so many answers it says no more (None: it goes on).
        together: A request waits until so many are under way, or `patience` seconds.
        most_at_a_time: Requests that were under way together.
    """

    def __init__(self, text_of: Callable[[bytes], str]) -> None:
        self.text_of = text_of
        self.faults: deque[str] = deque()
        self.always = ""
        self.unknown: set[str] = set()
        self.words: dict[str, str] = {}
        self.formats = {"json_schema", "json_object"}
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.paths: list[str] = []
        self.answered: Counter[str] = Counter()
        self.limit: int | None = None
        self.together, self.patience = 0, 30.0
        self.under_way = self.most_at_a_time = 0
        self.several = threading.Condition()
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self.url = ""

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count a request as under way, and let it wait for the others."""
        with self.several:
            self.under_way += 1
            self.most_at_a_time = max(self.most_at_a_time, self.under_way)
            self.several.notify_all()
            self.several.wait_for(lambda: self.most_at_a_time >= self.together, self.patience)
        try:
            yield
        finally:
            with self.several:
                self.under_way -= 1

    def fault(self) -> str:
        """The fault of the next request."""
        with self.lock:
            if self.limit is not None and len(self.answered) >= self.limit:
                return "hang"
            return self.faults.popleft() if self.faults else self.always


def pictures(body: dict[str, Any]) -> list[bytes]:
    """The PNG files in a request."""
    parts = body["messages"][-1]["content"]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    return [base64.b64decode(url.partition(",")[2]) for url in urls]


def prompt(body: dict[str, Any]) -> str:
    """The text in a request."""
    parts = body["messages"][-1]["content"]
    return "\n".join(part["text"] for part in parts if part["type"] == "text")


def sentences(text: str) -> list[str]:
    """The longer sentences of a page, each on one line."""
    return [" ".join(found.split()) for found in SENTENCE.findall(text)]


def written(text: str, fault: str, count: int) -> dict[str, Any]:
    """Questions about a page: of each sentence its longest words, the sentence as the answer."""
    found = sentences(text)[: count + (5 if fault == "too_many" else 0)]
    questions = []
    for number, sentence in enumerate(found):
        words = sorted(re.findall(r"[^\W\d_]{3,}", sentence), key=len, reverse=True)[:3]
        question = f"What is known of {' and '.join(words).lower()}?"
        if fault == "quoting":
            question = sentence
        elif fault == "unanswerable":
            question = f"How many moons has planet number {number} of the star Wega?"
        elif fault == "other_language":
            question = f"Was ist denn eigentlich über {' und '.join(words)} bekannt und warum?"
        kind = ("factual", "keyword")[number % 2]
        item = {"question": question, "kind": kind, "answer": sentence, "evidence": sentence}
        questions.append(item)
    return {"questions": questions}


def judged(text: str, asked: str, form: str) -> dict[str, Any]:
    """A verdict on the question in a prompt: it is answered where the page has all its words."""
    question = re.search(r"Question: (.*)", asked)
    words = set(re.findall(r"[^\W\d_]{3,}", question[1].lower())) if question else set()
    words -= {"what", "known", "how", "many", "has", "and"}
    holds = bool(words) and words <= set(re.findall(r"[^\W\d_]{3,}", text.lower()))
    verdict = {"evidence": "as it stands there" if holds else "", "reason": ""}
    if form == "PageJudgement":
        return verdict | {"answers": holds}
    return verdict | {"answered": holds, "correct": holds, "understood": True}


class Listener(ThreadingHTTPServer):
    """A thread for each request; none is turned away, as the short queue of the parent would."""

    daemon_threads = True
    request_queue_size = 128
    chat: ChatServer


class Handler(BaseHTTPRequestHandler):
    """Answers one request by the rules of `server.chat`."""

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""

    def do_POST(self) -> None:  # noqa: N802  # as http.server calls it
        with self.server.chat.counted():
            self.answer(self.server.chat)

    def answer(self, chat: ChatServer) -> None:
        """Read the request and answer it, or do as its fault says."""
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(raw)
        fault = chat.fault()
        with chat.lock:
            chat.asked.append(body)
            chat.keys.append(self.headers.get("Authorization", ""))
            chat.paths.append(self.path)
        refused = [name for name in chat.unknown if name in body]
        kind = body.get("response_format", {}).get("type")
        if kind and kind not in chat.formats:
            refused.append("response_format")
        if refused:
            said = chat.words.get(refused[0], f"unknown argument {refused[0]}")
            self.send({"error": {"message": said}}, 400)
        elif fault in ("cut", "hang"):
            if fault == "hang":
                chat.stopped.wait()
            self.close_connection = True
        elif fault == "html":
            self.send("<html>a proxy says hello</html>", 200)
        elif fault[:3].isdigit():
            headers = {"retry-after-ms": "1", "Retry-After": "1"} if fault[:3] == "429" else {}
            said = fault[4:] or f"fault {fault}"
            self.send({"error": {"message": said}}, int(fault[:3]), headers)
        else:
            with chat.lock:
                chat.answered[hashlib.sha256(raw).hexdigest()] += 1
            self.send(reply(chat, body, fault), 200)

    def send(self, content: Any, status: int, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, str) else json.dumps(content)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data.encode())))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(data.encode())


def reply(chat: ChatServer, body: dict[str, Any], fault: str) -> dict[str, Any]:
    """The body of an answer."""
    text = "\n".join(map(chat.text_of, pictures(body)))
    asked = prompt(body)
    if "Write " in asked and "questions" in asked and "Question:" not in asked:
        count = int(re.search(r"Write (\d+) questions", asked)[1])
        content = json.dumps(written(text, fault, count))
        if fault == "bare_list":
            content = json.dumps(json.loads(content)["questions"])
        elif fault == "loose":
            rows = json.loads(content)["questions"]
            content = json.dumps({"questions": [row | LOOSE for row in rows]})
    else:
        form = "AnswerJudgement" if "Answer:" in asked else "PageJudgement"
        content = json.dumps(judged(text, asked, form))
    content = {
        "malformed": content[: len(content) // 2],
        "refusal": "I'm sorry, but I can't help with that.",
        "empty": "",
        "fenced": f"Here they are:\n```json\n{content}\n```\nGood luck!",
        "thinking": f"<think>{{what}} shall I say</think>{content}",
    }.get(fault, content)
    thoughts = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": content}]
    message = {"role": "assistant", "content": thoughts if fault == "parts" else content}
    ended = "length" if fault == "cut_off" else "stop"
    usage = {"prompt_tokens": 1000, "completion_tokens": 50}
    return {"choices": [{"message": message, "finish_reason": ended}], "usage": usage}


@contextlib.contextmanager
def serving(
    text_of: Callable[[bytes], str], context: ssl.SSLContext | None = None
) -> Iterator[ChatServer]:
    """A server on 127.0.0.1 within the block; with a context it speaks https."""
    chat = ChatServer(text_of)
    server = Listener(("127.0.0.1", 0), Handler)
    server.chat = chat
    scheme = "https" if context else "http"
    if context:
        # The handshake is up to the thread of each request: a client that gives up in it holds
        # up nobody else.
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    chat.url = f"{scheme}://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield chat
    finally:
        chat.stopped.set()
        server.shutdown()
        thread.join()
        server.server_close()
