"""The prompts and what a model must answer to them: texts in the files beside this one.

A placeholder in a text is a word behind a dollar sign.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from string import Template

import pydantic

FOLDER = Path(__file__).parent
PAGE_LANGUAGE = "page"  # stands for the language that the page is written in
# What a code is called in a prompt; another name stands there as it is.
LANGUAGES = {
    "ar": "Arabic",
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "hi": "Hindi",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "nl": "Dutch",
    "pl": "Polish",
    "pt": "Portuguese",
    "ru": "Russian",
    "zh": "Chinese",
}
# Kind of question -> what the writer is told of it.
KINDS: dict[str, str] = json.loads((FOLDER / "kinds.json").read_text(encoding="utf-8"))


class WrittenQuestion(pydantic.BaseModel):
    """A question as the model gives it; `evidence` are the words of the page that prove it."""

    question: str
    kind: str
    answer: str
    evidence: str


class WrittenQuestions(pydantic.BaseModel):
    """The answer to `write`."""

    questions: list[WrittenQuestion]


class AnswerJudgement(pydantic.BaseModel):
    """The answer to `judge_answer`: evidence first, so that the verdict follows from it."""

    evidence: str
    answered: bool
    correct: bool
    understood: bool
    reason: str


class PageJudgement(pydantic.BaseModel):
    """The answer to `judge_page`."""

    evidence: str
    answers: bool
    reason: str


def write(count: int, kinds: Sequence[str], language: str, document: str = "") -> str:
    """The prompt that asks for questions about the page beside it.

    Args:
        count: Questions at most.
        kinds: Names from KINDS.
        language: Of the questions, as `queries.writer.languages` names it: a code such as "en", a
            name such as "English", or PAGE_LANGUAGE.
        document: What the document is called; empty: not known.
    """
    name = LANGUAGES.get(language, language)
    named = f"{name}, whatever the page is written in"
    return _render(
        "write",
        count=str(count),
        kinds="\n".join(f"- {kind}: {KINDS[kind]}" for kind in kinds),
        language="the language of the page" if language == PAGE_LANGUAGE else named,
        document=f"The document is called: {document}" if document else "Its title is not known.",
    )


def judge_answer(question: str, answer: str) -> str:
    """The prompt that asks whether the page beside it gives this answer to the question."""
    return _render("judge_answer", question=question, answer=answer)


def judge_page(question: str) -> str:
    """The prompt that asks whether the page beside it answers the question."""
    return _render("judge_page", question=question)


def _render(name: str, **values: str) -> str:
    """The text of a prompt with its placeholders filled in."""
    text = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    return Template(text).substitute(values)
