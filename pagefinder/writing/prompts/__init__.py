"""The prompts and what a model must answer to them: texts in the files beside this one.

A placeholder in a text is a word behind a dollar sign.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

import pydantic

FOLDER = Path(__file__).parent
PAGE_LANGUAGE = "page"  # stands for the language that the page is written in
# What a code is called in a prompt; another name stands there as it is.
LANGUAGES = {
    "ar": "Arabic",
    "bg": "Bulgarian",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fa": "Persian",
    "fi": "Finnish",
    "fr": "French",
    "he": "Hebrew",
    "hi": "Hindi",
    "hu": "Hungarian",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sr": "Serbian",
    "sv": "Swedish",
    "th": "Thai",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "ur": "Urdu",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
# Kind of question -> what the writer is told of it.
KINDS: dict[str, str] = json.loads((FOLDER / "kinds.json").read_text(encoding="utf-8"))


class Form(pydantic.BaseModel):
    """What a model fills in: strict in the schema that it is shown, lenient in what it gives.

    OpenAI takes a strict schema only where every object forbids other keys.
    """

    model_config = pydantic.ConfigDict(
        coerce_numbers_to_str=True, json_schema_extra={"additionalProperties": False}
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _filled(cls, data: Any) -> Any:  # noqa: ANN401  # of a model
        """Texts that the model left out, or gave as null or a list, are texts."""
        if not isinstance(data, dict):
            return data
        texts = {name for name, field in cls.model_fields.items() if field.annotation is str}
        return data | {name: _as_text(data.get(name)) for name in texts}


class WrittenQuestion(Form):
    """A question as the model gives it; `evidence` are the words of the page that prove it."""

    question: str
    kind: str
    answer: str
    evidence: str


class WrittenQuestions(Form):
    """The answer to `write`; the list alone, or a single question, is one too."""

    questions: list[WrittenQuestion]

    @pydantic.model_validator(mode="before")
    @classmethod
    def _wrapped(cls, data: Any) -> Any:  # noqa: ANN401  # of a model
        if isinstance(data, dict) and "question" in data:
            data = [data]
        return {"questions": data} if isinstance(data, list) else data


class AnswerJudgement(Form):
    """The answer to `judge_answer`: evidence and reason first, so that the verdict follows."""

    evidence: str
    reason: str
    answered: bool
    correct: bool
    understood: bool


class PageJudgement(Form):
    """The answer to `judge_page`."""

    evidence: str
    reason: str
    answers: bool


def _as_text(value: Any) -> Any:  # noqa: ANN401  # of a model
    if value is None:
        return ""
    return "; ".join(map(str, value)) if isinstance(value, list) else value


def write(count: int, kinds: Sequence[str], language: str, document: str = "") -> str:
    """The prompt that asks for questions about the page beside it.

    Args:
        count: Questions at most.
        kinds: Names from KINDS.
        language: Of the questions, as `queries.writer.languages` names it: a code such as "en", a
            name such as "English", or PAGE_LANGUAGE.
        document: What the document is filed as; empty: not known.
    """
    name = LANGUAGES.get(language, language)
    named = f"{name}, whatever the page is written in"
    return _render(
        "write",
        count=str(count),
        kinds="\n".join(f"- {kind}: {KINDS[kind]}" for kind in kinds),
        language="the language of the page" if language == PAGE_LANGUAGE else named,
        document=_named(document),
    )


def _named(document: str) -> str:
    """What the writer is told of a document's name, mostly that of a file: no asker writes it."""
    if not document:
        return "The name of the document is not known."
    return (
        f"The document is filed as: {document}. Take from that name what helps to say what a "
        "question is about, but never write the file name itself."
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
