"""English words: which ones carry meaning, and other words for them."""

import json
import re
from pathlib import Path

_english = json.loads(Path(__file__).with_name("english.json").read_text(encoding="utf-8"))
# Function words: they carry no meaning of their own.
STOP: frozenset[str] = frozenset(_english["stop"])
# Titles of these words alone say nothing without the part they stand in.
GENERIC: frozenset[str] = frozenset(_english["generic"])
# Titles of parts that list or wrap the rest: nobody looks for what they say.
WRAPPERS: frozenset[str] = frozenset(_english["wrappers"])
# What the usual parts of documents are for: a title of one word says more than its synonym does.
PARTS: dict[str, str] = _english["parts"]
# Each word with others for it that keep the sentence whole; the first that is not on the page
# is taken. A term of a program, a product or a formula has none, and its titles no paraphrase.
SYNONYMS: dict[str, list[str]] = _english["synonyms"]

# These take an object: `dealing with` needs what is dealt with.
OPEN = tuple(f" {last}" for last in "in up with out at for into of after down to about on".split())


def content_words(text: str) -> list[str]:
    """Words of three letters or more that are no function words, in lower case."""
    return [word for word in re.findall(r"[^\W\d_]{3,}", text.lower()) if word not in STOP]


def stem(word: str) -> str:
    """A word without common English endings: enough to see that two are forms of one."""
    for ending in ("ations", "ation", "ings", "ing", "ies", "ions", "ion", "es", "ed", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def paraphrase(title: str, page: str) -> str | None:
    """The title with each content word replaced; None where a word has no fitting synonym.

    None of the new content words, nor another form of one, stands on the page: what the query
    shares with its answer is function words.
    """
    present = {stem(word) for word in content_words(page)}

    def is_new(text: str) -> bool:
        return not any(stem(word) in present for word in content_words(text))

    purpose = PARTS.get(title.lower())
    if purpose is not None:
        return purpose if is_new(purpose) else None
    words, replaced = [], 0
    for place, token in enumerate(title.split()):
        if not content_words(token):
            words.append(token if token.isupper() and token != "A" else token.lower())
            continue
        synonyms = SYNONYMS.get(token.lower().strip(",;:()"), ())
        fitting = (word for word in synonyms if _fits(word, place, len(title.split())))
        word = next((word for word in fitting if is_new(word)), None)
        if word is None:
            return None
        words.append(word)
        replaced += 1
    return " ".join(words) if replaced >= 2 else None


def _fits(synonym: str, place: int, count: int) -> bool:
    """Whether a synonym can be word `place` of `count`: several words stand first or last only."""
    if " " not in synonym:
        return True
    return (place == 0 and place + 1 < count) if synonym.endswith(OPEN) else place + 1 == count
