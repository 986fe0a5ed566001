"""Titles: what a bookmark, heading or caption names, without numbers and marks."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from pagefinder.sources.pdf_queries.layout import plain
from pagefinder.sources.pdf_queries.wording import STOP, WRAPPERS, content_words

NUMBER = re.compile(
    r"^(?:(?:chapter|section|appendix|part|annex)\s+[\dA-Z]+(?:\.\d+)*|\d+(?:\.\d+)*"
    r"|[A-Z](?:\.\d+)+|(?-i:[IVX]{1,4}))[.:)]?\s+(?=\S)",
    re.IGNORECASE,
)
# The tokens of such a number, and of the words before it.
NUMBERING = re.compile(r"^(?:\d+|[a-z]|[ivx]+|chapter|section|appendix|part|annex)$")
FORMULA = re.compile(r"[={}<>|\\^@]")
# An underscore that stands for a blank: what names something in a program has no such capital.
JOINED = re.compile(r"\b([A-Z][a-z]+(?:-[a-z]+)*)_(?=[a-z])")
# What means the document that it stands in.
HERE = re.compile(r"\b(?:this|these|our|here)\b", re.IGNORECASE)
MORE = re.compile(
    r"^(?:more|further|additional|some) (?:information|details|notes|words) (?:about|on|for) ", re.I
)
# A number in words, or a part without a name.
UNNAMED = re.compile(
    r"^(?:(?:chapter|section|appendix|part|annex)\s+\w{1,5}|one|two|three|four|five|six|seven|eight"
    r"|nine|ten|eleven|twelve|thirteen|fourteen|fifteen)$",
    re.IGNORECASE,
)


def tokens(text: str) -> list[str]:
    """Words and numbers of a text in lower case; an underscore separates them."""
    return re.findall(r"[^\W_]+", text.lower())


def clean(title: str, numbered: bool) -> str:
    """A title without closing marks and openings such as `More information about`.

    Args:
        title: Title of a bookmark, heading or caption.
        numbered: Whether a number at its beginning counts parts: then it is removed too.
    """
    text = " ".join(title.split())
    text = (NUMBER.sub("", text) if numbered else text).strip(" .:;,–—-")
    return MORE.sub("", JOINED.sub(r"\1 ", text))


def are_numbered(titles: Sequence[str]) -> bool:
    """Whether numbers at the beginning of titles of one rank count them: most have one.

    Otherwise they are part of the name: a version, a quantity.
    """
    return 2 * sum(bool(NUMBER.match(title)) for title in titles) > len(titles)


def stands_in(title: Sequence[str], line: Sequence[str]) -> bool:
    """Whether a line is a title and nothing else, apart from a number before it (both tokens)."""
    before = len(line) - len(title)
    return (
        bool(title)
        and 0 <= before <= 5
        and list(line[before:]) == list(title)
        and all(NUMBERING.match(token) for token in line[:before])
    )


def is_named(text: str) -> bool:
    """Whether a title says what a part is about: no bare number, wrapper, formula or fragment."""
    return (
        bool(content_words(text))
        and not UNNAMED.match(text)
        and plain(text) not in WRAPPERS
        and not is_formula(text)
        and not is_fragment(text)
    )


def is_fragment(text: str) -> bool:
    """Whether a text breaks off: it ends in a function word, or a bracket stays open."""
    last = text.split()[-1].lower()
    return last in STOP - {"all", "about", "out"} or text.count("(") != text.count(")")


def is_formula(text: str) -> bool:
    """Whether a text has symbols of mathematics or of program code."""
    symbols = any(ord(sign) > 127 and unicodedata.category(sign) == "Sm" for sign in text)
    return symbols or bool(FORMULA.search(text))


def spellings(lines: Iterable[str]) -> Counter[str]:
    """How often each spelling of a word stands inside the lines of a document.

    The first word of a line may be the first of a sentence or title, and what is written together
    with other signs is a name: neither counts.
    """
    return Counter(
        word
        for line in lines
        for word in (token.strip("(),.;:!?") for token in line.split()[1:])
        if word.isalpha()
    )


def sentence_case(text: str, counts: Counter[str]) -> str:
    """The title with capitals lowered, except in words that the document writes with a capital.

    Args:
        text: The title. The capital of its first word says nothing.
        counts: What `spellings` counted in the document.
    """
    words = []
    for number, token in enumerate(text.split(" ")):
        small, word = token.lower(), re.split(r"['’]", token.strip("(),.;:!?"))[0]
        more = counts[word.lower()] - counts[word]
        lowered = more > 0 or (number == 0 and more == 0) or word in ("A", "An", "The")
        capital = word.istitle() and word.isalpha() and word != "I"
        words.append(small if capital and lowered else token)
    return " ".join(words)
