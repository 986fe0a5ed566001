"""Have a model write questions from pages: which pages, what is asked, what the questions are."""

import hashlib
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from pagefinder.params_writing import Writer
from pagefinder.writing import prompts
from pagefinder.writing.client import Answer, Request
from pagefinder.writing.written import WRITTEN_COLUMNS

# Pages that are never an answer.
NO_ANSWERS = ("contents", "index", "blank")
OTHER = "other"  # a kind that the model made up


def chosen_pages(pages: pd.DataFrame, settings: Writer, seed: int) -> pd.DataFrame:
    """The pages that questions are written from, in order: those that may answer, or a sample.

    A larger sample holds the smaller one, so that the answers about it are asked for once.
    """
    rows = pages[~pages["kind"].isin(NO_ANSWERS)]
    if not settings.pages or settings.pages >= len(rows):
        return rows
    drawn = [hashlib.sha256(f"{seed}/{key}".encode()).hexdigest() for key in rows["key"]]
    return rows[pd.Series(drawn, rows.index).rank(method="first") <= settings.pages]


def requests(pages: pd.DataFrame, settings: Writer) -> tuple[list[Request], list[tuple[str, str]]]:
    """A request to the writer for each page and language, and the page and language of each."""
    asked, written = [], []
    for page, document in zip(pages["key"], pages["document_id"], strict=True):
        for language in settings.languages:
            named = document if isinstance(document, str) else ""
            text = prompts.write(settings.per_page, settings.kinds, language, named)
            asked.append((page, language))
            written.append(Request("write", text, prompts.WrittenQuestions, (page,)))
    return written, asked


def rows(
    asked: Sequence[tuple[str, str]], answers: Sequence[Answer], settings: Writer
) -> tuple[pd.DataFrame, Counter[str]]:
    """The written questions (WRITTEN_COLUMNS), and how many rows of answers are none, by reason.

    Args:
        asked: Page and language of each request.
        answers: Of the writer, in the same order.
        settings: Of the writer; what it wrote beyond `per_page` is left out.
    """
    found, none = [], Counter[str]()
    for (page, language), answer in zip(asked, answers, strict=True):
        if answer.content is None:
            continue
        written = answer.content.questions
        none["beyond_per_page"] += max(len(written) - settings.per_page, 0)
        for question in written[: settings.per_page]:
            texts = (question.question, question.answer, question.evidence)
            text, said, evidence = (" ".join(text.split()) for text in texts)
            if not text or not said:
                none["empty"] += 1
                continue
            kind = question.kind.strip().lower().replace(" ", "_").replace("-", "_")
            kind = kind if kind in settings.kinds else OTHER
            found.append((text, page, kind, language, said, evidence))
    return pd.DataFrame(found, columns=list(WRITTEN_COLUMNS)), none
