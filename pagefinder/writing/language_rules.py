"""Rules for single languages: which questions need the page, and which language a text is in.

All of them stand in languages.json. A language that it does not name has no rules.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

RULES: dict[str, Any] = json.loads(
    (Path(__file__).parent / "languages.json").read_text(encoding="utf-8")
)
WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?")
STOP_WORDS = {code: frozenset(words.split()) for code, words in RULES["stop_words"].items()}


def has_rules(language: str) -> bool:
    """Whether there are rules that tell which questions of a language need the page."""
    return language in RULES["needs_the_page"]


def need_of_the_page(question: str, language: str) -> str:
    """What in a question only the page explains, with the words; empty where nothing does."""
    text = " ".join(question.split())
    for what, pattern in _patterns(language):
        match = pattern.search(text)
        if match:
            return f"{what}: {match[0].strip()!r}"
    return ""


@cache
def _patterns(language: str) -> tuple[tuple[str, re.Pattern[str]], ...]:
    """The patterns of a language, each with what it finds."""
    return tuple(
        (what, re.compile(pattern, re.IGNORECASE))
        for what, patterns in RULES["needs_the_page"].get(language, {}).items()
        for pattern in patterns
    )


def foreign_script(text: str, language: str) -> str:
    """The script of most letters of a text where the language is not written in it; else empty."""
    counts = {name: len(pattern.findall(text)) for name, pattern in _scripts().items()}
    script = max(counts, key=lambda name: counts[name])
    if not counts[script] or script in RULES["script_of"].get(language, ["latin"]):
        return ""
    return script


@cache
def _scripts() -> dict[str, re.Pattern[str]]:
    """A pattern of one letter for each script."""
    return {name: re.compile(f"[{letters}]") for name, letters in RULES["scripts"].items()}


def language_of(text: str) -> str:
    """The language of which a text has the most stop words; empty where that is unclear.

    A word counts once, and a single letter not at all: "bin" in the paths of a listing is no
    German, nor is a variable y Spanish. The language must lead by a third, which a sentence or two
    give: "de la" alone is French and Spanish.
    """
    found = (word.casefold().replace("\u2019", "'") for word in WORD.findall(text))
    words = {word for word in found if len(word) > 1}
    hits = sorted((len(words & stop), code) for code, stop in STOP_WORDS.items())
    (second, _), (first, code) = hits[-2:]
    return code if first >= 2 and 3 * second <= 2 * first else ""
