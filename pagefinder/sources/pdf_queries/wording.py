"""English words: which ones carry meaning, and other words for them."""

import json
import re
from collections.abc import Sequence
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

# Other words that fit in any sentence, not only in titles.
EQUALS: dict[str, list[str]] = _english["equals"]
# Verbs in their base form, each with others that take the same objects.
VERBS: dict[str, list[str]] = _english["verbs"]
# Words that point at something else on the page or in the document.
DEICTIC: frozenset[str] = frozenset(_english["deictic"])
# What manuals call the things that do something.
THINGS: frozenset[str] = frozenset(_english["things"])

# Of a statement's content words, so many must be new.
LEAST_NEW = 1 / 3
VOWEL = re.compile(r"[aeio]|u[np]", re.IGNORECASE)  # of the words in these lists

# These take an object: `dealing with` needs what is dealt with.
OPEN = tuple(f" {last}" for last in "in up with out at for into of after down to about on".split())

# A verb in its form for one or several: the text is a clause.
FINITE = re.compile(
    r"\b(?:is|are|was|were|has|have|had|does|do|can|cannot|must|should|may|exists?|am|\w+[^s\W]s)\b"
    r"|n[’']t\b"
)
# A participle without what it is said of: *when checked*, *if set to*.
BARE = re.compile(r"\w+(?:ing|ed)\b|set (?:to|by|with)\b")


def content_words(text: str) -> list[str]:
    """Words of three letters or more that are no function words, in lower case."""
    return [word for word in re.findall(r"[^\W\d_]{3,}", text.lower()) if word not in STOP]


def stem(word: str) -> str:
    """A word without common English endings: enough to see that two are forms of one."""
    for ending in ("ations", "ation", "ings", "ing", "ies", "ions", "ion", "es", "ed", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def stems(text: str) -> frozenset[str]:
    """The stems of a text's content words."""
    return frozenset(stem(word) for word in content_words(text))


# One of several that the text speaks of, not a thing with a name of its own.
ONE_OF_SEVERAL = frozenset("only other another first second third last simplest easiest".split())


def third_person(verb: str) -> str:
    """The form of a verb, with what belongs to it, after he, she or it."""
    first, *rest = verb.split(" ")
    if first.endswith(("s", "x", "z", "ch", "sh", "o")):
        first += "es"
    elif first.endswith("y") and first[-2] not in "aeiou":
        first = f"{first[:-1]}ies"
    else:
        first += "s"
    return " ".join([first, *rest])


THIRD_PERSON: dict[str, list[str]] = {
    third_person(verb): [third_person(other) for other in others] for verb, others in VERBS.items()
}


def is_cut(action: str) -> bool:
    """Whether an action is an enumeration of verbs without its last: *does this, writes that*."""
    verbs = [word for word in re.findall(r", (\w+)", action) if word in THIRD_PERSON]
    return bool(verbs) and not re.search(r"\band\b", action.rpartition(", ")[2])


def reword(text: str, page: str, task: bool = True) -> str | None:
    """The text with many of its content words replaced; None where too few can be.

    None of the new content words, nor another form of one, stands on the page.

    Args:
        text: A statement or title.
        page: The text of its page.
        task: It begins with a verb. A third of its content words must be new and two at least; of
            a title half.
    """
    present = stems(page)
    words: list[str] = []
    tokens, before, replaced = text.split(), "", 0
    for place, token in enumerate(tokens):
        bare = token.strip(",;")
        # The first word is a verb, as is one after `to`; elsewhere it may look like a noun.
        head = task and (place == 0 or before in ("to", "I"))
        synonyms = (VERBS.get(bare) or THIRD_PERSON.get(bare) or ()) if head else ()
        synonyms = synonyms or EQUALS.get(bare, ()) or (() if task else SYNONYMS.get(bare, ()))
        fitting = (
            word
            for word in synonyms
            if (head or _stands(word, tokens[place + 1 : place + 2])) and not stems(word) & present
        )
        new = next(fitting, None)
        if new is not None and before in ("a", "an"):
            words[-1] = "an" if VOWEL.match(new) else "a"
        words.append(token if new is None else token.replace(bare, new))
        replaced += new is not None
        before = token
    count = len(content_words(text))
    enough = replaced >= max(2, LEAST_NEW * count) if task else 2 * replaced >= count >= 2
    return " ".join(words) if enough else None


def _stands(synonym: str, after: Sequence[str]) -> bool:
    """Whether a synonym may stand before the words `after`: several words name nothing else."""
    return " " not in synonym or not (after and content_words(after[0]))


def paraphrase(title: str, page: str) -> str | None:
    """The title with each content word replaced; None where a word has no fitting synonym.

    None of the new content words, nor another form of one, stands on the page: what the query
    shares with its answer is function words.
    """
    present = stems(page)

    def is_new(text: str) -> bool:
        return not stems(text) & present

    purpose = PARTS.get(title.lower())
    if purpose is not None:
        return purpose if is_new(purpose) else None
    words, replaced = [], 0
    for place, token in enumerate(title.split()):
        if not content_words(token):
            words.append(token if token.isupper() and token != "A" else token.lower())
            continue
        bare = token.lower().strip(",;:()")
        synonyms = (*SYNONYMS.get(bare, ()), *EQUALS.get(bare, ()))
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
