"""Ask a model whether pages answer questions."""

from collections.abc import Sequence

import pandas as pd

from pagefinder.writing import prompts
from pagefinder.writing.client import Answer, Ask, Request

NEIGHBOURS = (-1, 1)  # pages of a document that may answer a question of the page between them


def answerable(
    rows: pd.DataFrame, pages: pd.DataFrame, judge: Ask
) -> tuple[pd.Series, dict[int, list[str]]]:
    """Whether each question is answered by its page as it says, and by no neighbour of the page.

    The neighbours of a page are judged only where the page itself passes.

    Args:
        rows: text, page and answer of each question.
        pages: key, document_id, page_number.
        judge: Asks the judge.

    Returns:
        "" or why not, by the index of `rows`; and by that index too, where there are any, the keys
        of neighbours that may answer the question: those that the judge gave no word of.
    """
    requests = [
        Request("judge", prompts.judge_answer(text, answer), prompts.AnswerJudgement, (page,))
        for text, page, answer in zip(rows["text"], rows["page"], rows["answer"], strict=True)
    ]
    reasons = pd.Series([_fault(a) for a in judge(requests)], rows.index, dtype=object)
    passed = rows[reasons == ""]
    beside = _neighbours(pages, passed["page"])
    pairs = [
        (int(row), key)
        for row, page in zip(passed.index, passed["page"], strict=True)
        for key in beside[page]
    ]
    answers = answers_of_pages([(str(rows.at[row, "text"]), key) for row, key in pairs], judge)
    unjudged: dict[int, list[str]] = {}
    for (row, key), says in zip(pairs, answers, strict=True):
        if says is None:
            unjudged.setdefault(row, []).append(key)
        elif says:
            reasons[row] = "a neighbour of the page answers it too"
    return reasons, unjudged


def answers_of_pages(pairs: Sequence[tuple[str, str]], judge: Ask) -> list[bool | None]:
    """Whether a page answers a question, for pairs of text and page key; None: no word of it."""
    requests = [
        Request("judge_page", prompts.judge_page(text), prompts.PageJudgement, (key,))
        for text, key in pairs
    ]
    return [a.content.answers if a.content is not None else None for a in judge(requests)]


def _fault(answer: Answer) -> str:
    """What the judge found wrong with a question and its answer; "" for nothing."""
    judgement = answer.content
    if judgement is None:
        return f"the judge gave no answer: {answer.failure}"
    faults = {
        "the page does not answer it": not judgement.answered,
        "its answer is not that of the page": not judgement.correct,
        "it cannot be understood without the page": not judgement.understood,
    }
    fault = next((name for name, true in faults.items() if true), "")
    reason = " ".join(judgement.reason.split())[:200]
    return f"{fault}: {reason}" if fault and reason else fault


def _neighbours(pages: pd.DataFrame, keys: pd.Series) -> dict[str, list[str]]:
    """The keys of the pages beside each page in its document."""
    numbered = pages.dropna(subset=["document_id", "page_number"])
    places = zip(numbered["document_id"], numbered["page_number"].astype(int), strict=True)
    place_by_key = dict(zip(numbered["key"], places, strict=True))
    key_by_place = {place: key for key, place in place_by_key.items()}
    beside: dict[str, list[str]] = {}
    for key in keys:
        document, number = place_by_key.get(key, (None, 0))
        places_beside = [(document, number + step) for step in NEIGHBOURS]
        beside[key] = [key_by_place[place] for place in places_beside if place in key_by_place]
    return beside
