"""Ask a model on a server; every answer is kept on the disk, so that it is asked for once.

The key of an answer is a hash of model, prompt, form, sampling and pages, not of the server: the
same model at another address is asked nothing again. An answer is one file, which appears whole. So
a killed run loses only what the server was still writing, and runs side by side share what is kept.
"""

import asyncio
import hashlib
import json
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, Protocol

import pydantic
from tqdm import tqdm

from pagefinder.errors import InputError
from pagefinder.writing import replies
from pagefinder.writing.calls import Reply, Server, Unanswered
from pagefinder.writing.tally import Tally

log = logging.getLogger(__name__)

ANSWERS = "answers"  # the folder of .work that keeps what models answered
# So many requests without an answer in a row, after all their retries, and the server counts as
# dead; of refused requests it takes more, as single pages may be too long for a model.
DEAD_AFTER, USELESS_AFTER = 3, 10
# So many answers, all of them bad ones, at the beginning, and the model counts as unfit.
UNFIT_AFTER = 20
SILENCE = 60.0  # seconds without an answer that are told of
# A larger share of requests without an answer is not passed over.
UNANSWERED_SHARE = 0.05


@dataclass(frozen=True)
class Request:
    """What a model is asked.

    Attributes:
        step: What it is for, as the tally counts it: write, judge, ...
        prompt: The rendered text.
        form: What the answer must hold; its JSON schema goes to the server.
        pages: Keys of the pages whose pictures go along, in order.
    """

    step: str
    prompt: str
    form: type[pydantic.BaseModel]
    pages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What came of a request: `content` is its form, filled in, or None where there is a `failure`.

    Failures: refused, empty, malformed, cut_off (longer than `max_tokens`), rejected (by the
    server), unanswered, unreadable_page.
    """

    content: Any = None
    failure: str = ""


# Asks requests; the answers are in the order of the requests.
Ask = Callable[[Sequence[Request]], list[Answer]]


class Pictures(Protocol):
    """The pictures of pages, by the key of the page."""

    def identity(self, page: str) -> str:
        """What the picture is made of; two pages of one identity look the same."""

    def make(self, pages: Collection[str]) -> None:
        """Draw the pictures of these pages, where that was not done yet."""

    def png(self, page: str) -> bytes | None:
        """The picture as a PNG file; None where the page cannot be read."""


@dataclass(frozen=True)
class Chat:
    """A model on a server, the pages that it can be shown, and the folder that keeps its answers.

    `tally` counts what is asked and what comes of it, and bounds it.
    """

    server: Server
    pictures: Pictures
    folder: Path
    tally: Tally


def answer(requests: Sequence[Request], chat: Chat) -> list[Answer]:
    """The answer to each request: from the folder where it is kept, else from the server.

    Raises:
        InputError: more requests are needed than `max_requests` allows, or the server is dead,
            refuses the key or does not know the model.
    """
    files = [chat.folder / _name(request, chat) for request in requests]
    rows_by_file: dict[Path, list[int]] = defaultdict(list)
    for row, file in enumerate(files):
        rows_by_file[file].append(row)
    kept = {file: reply for file in rows_by_file if (reply := _read(file)) is not None}
    missing = {f: requests[rows[0]] for f, rows in rows_by_file.items() if f not in kept}
    chat.tally.start(len(missing))
    chat.pictures.make({page for request in missing.values() for page in request.pages})
    found = {file: _answer(requests[rows_by_file[file][0]], reply) for file, reply in kept.items()}
    for file, reply in kept.items():
        request = requests[rows_by_file[file][0]]
        chat.tally.count(request.step, reply, found[file].failure, cached=True)
    if missing:
        found |= asyncio.run(_asked(missing, chat))
    return [found[file] for file in files]


def missing(requests: Sequence[Request], chat: Chat) -> int:
    """How many of the requests have no answer yet."""
    files = {chat.folder / _name(request, chat) for request in requests}
    return sum(_read(file) is None for file in files)


def _name(request: Request, chat: Chat) -> str:
    """The file of an answer in the folder: a hash of all that decides it."""
    decides = {
        "model": chat.server.model,
        "temperature": chat.server.temperature,
        "max_tokens": chat.server.max_tokens,
        "prompt": request.prompt,
        "schema": _schema(request.form),
        "pages": [chat.pictures.identity(page) for page in request.pages],
    }
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    return f"{digest[:2]}/{digest[2:]}.json"


@cache
def _schema(form: type[pydantic.BaseModel]) -> dict[str, Any]:
    """The JSON schema of a form, which takes longer to make than a request's hash."""
    return form.model_json_schema()


def _read(file: Path) -> Reply | None:
    """A kept answer; None where there is none, or a file that a power cut left torn."""
    try:
        return Reply(**json.loads(file.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _keep(file: Path, reply: Reply) -> None:
    """Write an answer; the file appears whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_suffix(f".{os.getpid()}.tmp")
    scratch.write_text(json.dumps(vars(reply), ensure_ascii=False), encoding="utf-8")
    scratch.replace(file)


def _answer(request: Request, reply: Reply) -> Answer:
    """What a reply says, by the form of its request."""
    if reply.refused or reply.cut_off:
        return Answer(failure="refused" if reply.refused else "cut_off")
    return Answer(*replies.parse(reply.text, request.form))


async def _asked(requests: dict[Path, Request], chat: Chat) -> dict[Path, Answer]:
    """Ask the server; the answers by file, each kept as soon as it is there."""
    answers: dict[Path, Answer] = {}
    waiting: Iterator[tuple[Path, Request]] = iter(requests.items())
    steps = sorted({request.step for request in requests.values()})
    watch = _Watch(chat)
    with tqdm(total=len(requests), desc=", ".join(steps), unit=" requests", disable=None) as bar:

        async def work() -> None:
            for file, request in waiting:
                answers[file] = await _ask(request, file, chat, watch)
                bar.update()

        async with chat.server:
            silence = asyncio.create_task(_tell_of_silence(answers, chat.server.url))
            try:
                await asyncio.gather(*(work() for _ in range(chat.server.concurrency)))
            finally:
                silence.cancel()
    watch.check_share(len(requests))
    return answers


async def _tell_of_silence(answers: dict[Path, Answer], url: str) -> None:
    """Log that no answer came, each time that none did for SILENCE seconds.

    With the tries that follow a time-out, a request may take many minutes before it fails.
    """
    while True:
        before = len(answers)
        await asyncio.sleep(SILENCE)
        if len(answers) == before:
            log.warning("no answer of %s for %g seconds: waiting on", url, SILENCE)


async def _ask(request: Request, file: Path, chat: Chat, watch: "_Watch") -> Answer:
    """Ask the server for one answer and keep it."""
    pictures = [chat.pictures.png(page) for page in request.pages]
    images = [picture for picture in pictures if picture is not None]
    if len(images) < len(pictures):
        chat.tally.fail(request.step, "unreadable_page")
        return Answer(failure="unreadable_page")
    try:
        reply = await chat.server.ask(request.prompt, request.form, images)
    except Unanswered as error:
        kind = "rejected" if error.rejected else "unanswered"
        chat.tally.fail(request.step, kind, retried=error.retried)
        watch.failed(error)
        return Answer(failure=kind)
    except InputError as error:
        raise watch.error(str(error)) from error
    _keep(file, reply)
    result = _answer(request, reply)
    chat.tally.count(request.step, reply, result.failure, cached=False)
    watch.answered(result.failure)
    return result


class _Watch:
    """Sees when a server is dead, or of no use for what it is asked."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._kept = self._unanswered = 0
        self._in_a_row: Counter[bool] = Counter()  # by whether the server rejected the request
        self._failures: Counter[str] = Counter()
        self._last = ""

    def answered(self, failure: str) -> None:
        """An answer is kept; raises InputError where all are bad, and there were many."""
        self._kept += 1
        self._in_a_row.clear()
        self._failures[failure] += 1
        if self._kept == UNFIT_AFTER == self._failures.total() - self._failures[""]:
            server, what = self._chat.server, self._failures.most_common(1)[0][0]
            mend = (
                f"raise queries.writer.max_tokens ({server.max_tokens}), as a model that reasons "
                "needs more, or name one that does not"
                if what == "cut_off"
                else "name another model"
            )
            raise self.error(
                f"the first {UNFIT_AFTER} answers of {server.model!r} are of no use, most of them "
                f"{what}: {mend}"
            )

    def failed(self, error: Unanswered) -> None:
        """A request was not answered; raises InputError where that was one too many in a row."""
        self._in_a_row[error.rejected] += 1
        self._unanswered += not error.rejected
        self._last = str(error)
        if self._in_a_row[error.rejected] >= (USELESS_AFTER if error.rejected else DEAD_AFTER):
            self._end("refuses what it is asked" if error.rejected else "does not answer")

    def check_share(self, total: int) -> None:
        """Raise InputError where too many single requests were left without an answer."""
        if self._unanswered > UNANSWERED_SHARE * total:
            self._end(f"left {self._unanswered} of {total} unanswered")

    def error(self, what: str) -> InputError:
        """The error that ends a run, with what is kept of it."""
        total = sum(1 for _ in self._chat.folder.rglob("*.json"))
        return InputError(
            f"{what}; {total} answers are kept in {self._chat.folder}, {self._kept} of them new: "
            "the next run goes on from there"
        )

    def _end(self, what: str) -> NoReturn:
        """Raise InputError with the server's last words, and what can be done about them."""
        server = self._chat.server
        mend = server.hint(self._last) or "mend the server"
        raise self.error(f"the server {server.url} {what} ({self._last}): {mend}")
