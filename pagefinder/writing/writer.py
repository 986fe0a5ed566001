"""From data/source to written questions: choose pages, ask the writer, filter by the judge."""

import logging
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from pagefinder.params import Params, Pixels
from pagefinder.params_writing import Queries
from pagefinder.runtime import outputs
from pagefinder.sources.traits import source_traits
from pagefinder.writing import audit, filters, questions
from pagefinder.writing.calls import Server, judge_server
from pagefinder.writing.client import Chat, Request, answer, missing
from pagefinder.writing.costs import estimate
from pagefinder.writing.pictures import SourcePictures, read_pages
from pagefinder.writing.tally import Tally
from pagefinder.writing.written import WRITTEN_SCHEMA

log = logging.getLogger(__name__)


class Folders(NamedTuple):
    """Where the writer reads and keeps: data/source, the answers, and pictures until the end."""

    source: Path
    answers: Path
    pictures: Path


def write_questions(
    folders: Folders, params: Params
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """The questions that the model writes from the pages of data/source.

    Returns:
        The questions (WRITTEN_SCHEMA), the sheet of some of them (audit.SHEET_SCHEMA), and
        metrics/written.json. Without a writer all are empty.

    Raises:
        InputError: it would take more than `max_requests`, or the server is of no use.
    """
    settings = params.queries.writer
    if not settings.url:
        empty = (WRITTEN_SCHEMA.empty_table(), audit.SHEET_SCHEMA.empty_table())
        return empty[0].to_pandas(), empty[1].to_pandas(), {}
    pages, places = read_pages(folders.source)
    isolate = source_traits(params.data.source).may_crash
    budget = Pixels(min=1, max=settings.max_pixels, multiple=1)
    pictures = SourcePictures(places, folders.pictures, params.data.pdf.dpi, budget, isolate)
    tally = Tally(settings.max_requests)
    servers = (_writer_server(params.queries), judge_server(params.queries))
    chats = [Chat(server, pictures, folders.answers, tally) for server in servers]
    chosen = questions.chosen_pages(pages, settings, params.seed)
    requests, asked = questions.requests(chosen, settings)
    judged = filters.requests_per_question(len(pages)) if "answerable" in settings.filters else 0
    _plan(requests, chats[0], judged, params)
    answers = answer(requests, chats[0])
    rows, none = questions.rows(asked, answers, settings)
    log.info("the writer wrote %d questions about %d pages", len(rows), len(chosen))
    failures = Counter(one.failure for one in answers if one.failure)
    if failures:
        named = ", ".join(f"{number} {name}" for name, number in sorted(failures.items()))
        log.warning("%d of its answers are of no use: %s", failures.total(), named)
    rows, counted = filters.filtered(rows, pages, partial(answer, chat=chats[1]), settings)
    sheet = audit.sheet(rows, pictures, params.seed)
    outputs.remove(folders.pictures)
    metrics = {
        "pages": len(chosen),
        "questions": _questions(rows, none),
        "filters": counted,
        "requests": tally.steps,
    }
    log.info("kept %d of %d written questions", rows["dropped_by"].isna().sum(), len(rows))
    return rows, sheet, metrics


def _writer_server(queries: Queries) -> Server:
    """The writer's server."""
    writer = queries.writer
    return Server(writer.url, writer.model, writer.key_variable, writer, writer.temperature)


def _plan(requests: list[Request], chat: Chat, judged: int, params: Params) -> None:
    """Log what the run will take; raises InputError where that is more than `max_requests`."""
    settings = params.queries.writer
    kept = len(requests) - missing(requests, chat)
    needed = estimate(len(requests), judged, settings, kept)
    log.info(
        "%d of %d answers of the writer are kept in %s; left are at most %s, less what the judge "
        "has said before",
        kept,
        len(requests),
        chat.folder,
        needed,
    )
    if kept < len(requests):
        # What the judge has said is not known before the questions are.
        chat.tally.check(needed.write_requests + needed.judge_requests)


def _questions(rows: pd.DataFrame, none: dict[str, int]) -> dict[str, Any]:
    """Counts of what was written and kept, and of what the writer gave that is none by reason."""
    kept = rows[rows["dropped_by"].isna()]
    by_kind = kept["kind"].value_counts().sort_index()
    return {
        "written": len(rows),
        "kept": len(kept),
        "kept_by_kind": {str(kind): int(count) for kind, count in by_kind.items()},
        "none": {name: count for name, count in sorted(none.items()) if count},
    }
