"""Read what a model wrote as the form that it was asked to fill in."""

import json
import re
from collections.abc import Iterator

import pydantic

# What a model that reasons writes before its answer.
_THOUGHTS = re.compile(r"^.*</think>", re.DOTALL)
_FENCED = re.compile(r"```(?:json)?\s*\n(.*?)```", re.DOTALL)
_REFUSAL = re.compile(
    r"\s*(I['’]m sorry|I am sorry|Sorry,|I can['’]?t\b|I cannot\b|I['’]m (not able|unable))",
    re.IGNORECASE,
)


def parse(text: str, form: type[pydantic.BaseModel]) -> tuple[pydantic.BaseModel | None, str]:
    """The form that a text fills in, or None and why not: empty, refused or malformed.

    The JSON may stand alone, in a fenced block, or between other words.
    """
    text = _THOUGHTS.sub("", text).strip()
    if not text:
        return None, "empty"
    for candidate in _candidates(text):
        try:
            return form.model_validate(json.loads(candidate)), ""
        # RecursionError: thousands of nested brackets.
        except (ValueError, RecursionError):
            continue
    return None, "refused" if _REFUSAL.match(text) else "malformed"


def _candidates(text: str) -> Iterator[str]:
    """The parts of a text that may be JSON, the likeliest first."""
    yield text
    yield from _FENCED.findall(text)
    for opening, closing in ("{}", "[]"):
        first, last = text.find(opening), text.rfind(closing)
        if 0 <= first < last:
            yield text[first : last + 1]
