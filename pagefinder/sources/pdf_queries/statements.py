"""What sentences, list items and heads of columns say, as statements to be asked about.

Each kind of statement is a function here. A kind asks by what the page says of a thing and leaves
out its name, or the consequence, or the label, so that these are what the page answers.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from pagefinder.sources.pdf_queries import titles
from pagefinder.sources.pdf_queries.layout import Line
from pagefinder.sources.pdf_queries.wording import (
    BARE,
    DEICTIC,
    FINITE,
    ONE_OF_SEVERAL,
    STOP,
    THINGS,
    THIRD_PERSON,
    VERBS,
    content_words,
    is_cut,
)

BULLET = re.compile(r"^(?:[•▪◦‣*–—-]|\(?(?:\d{1,2}|[a-z])[.)])\s+(?=\S)")
LABELLED = re.compile(r"^(\S+(?: \S+){0,3}?)(?:: | [–—-]{1,2} )(\S.*)$")
SENTENCE_END = re.compile(r"(?<=[.!?:;])\s+(?=[A-Z“\"(])")
END = re.compile(r"[.!?:;]$")
REFERENCE = re.compile(r"(?:please\s+)?\b(?:see|refer\s+to)\b[^.]*(?:\.|$)", re.IGNORECASE)
BRACKETS = re.compile(r"\s+\([^()]*\)(?!\w)")
# What follows qualifies the statement: the question does without it.
QUALIFIER = re.compile(
    r"(?:,\s+|;\s*|:\s*|\s+)(?:(?<=[,;:] )(?:which|where|who|but|so|and then|for example"
    r"|for instance|e\.g\.|i\.e\.|such as|like|including|rather|instead|not)\b"
    r"|(?:if|unless|when|whenever|because|since|although|while|until|provided|as well|as follows"
    r"|by default)\b).*$"
)
GOAL = re.compile(
    r"^(?:To|In order to|If you (?:want|wish|need|would like) to) ([a-z]+ [^,;:]+), (?:please )?"
    r"(?!(?:see|refer|consult|read|look|check)\b)"
)
# What follows the first comma must not go on with an enumeration.
CONDITION = re.compile(r"^(If|When) ([^,;:]+), (?!(?:and|or|say|with) |\S+(?: \S+)?,)")
FINAL_CONDITION = re.compile(r"^[^,;:]+ (if|when) ([^,;:]+)$")
RULE = re.compile(
    r"^(You|(?:The|An?|Each|Every|Any|All) [^,;:]{2,50}?) (can|cannot|must|should) "
    r"(?:not )?(?:also |only |therefore |always |never |either )*(.+)$"
)
# An order whose last words say what it is for.
USE = re.compile(
    r"^(?:Use|Run|Call|Type|Press|Click|Select|Choose|Set|Add|Put|Turn|Enter|Apply|Invoke)"
    r" [^,;:]+? to ([a-z]+ [^,;:]+)$"
)
MEANS = re.compile(r"(?<!not )\bused to ([a-z]+ [^,;:]+)")
ENABLES = re.compile(
    r"\b(?:allows?|lets?|enables?|permits?|helps?) (?:you|one|users?|the user|us)(?: to)? "
    r"([a-z]+ [^,;:]+)"
)
DEFINED = re.compile(r"^(?:The |An? )?(\S+(?: \S+){0,3}?) is ((?:an?|the(?! same| only)) [^;:]+)$")
CALLED = re.compile(r"^((?:An?|The) [^,;:]+?) (?:is|are) (?:also )?(?:called|known as) [^,;:]+$")
DISTINCT = re.compile(r" (?:that|which|who|where|used|for|containing|consisting|to|with|by) ")
ABBREVIATION = re.compile(r"((?:[A-Za-z]\w* )+)\(([A-Z][a-z]?[A-Z]\w{0,4})\)")
# A thing behind these is not what acts.
OF = frozenset("of about in for with to on from by".split())
ARTICLES = frozenset("the a an all any each both".split())
CLAUSES = frozenset("which that who if when and".split())
OBJECTS = frozenset("the a an all any each every one whether how several some new your".split())
# Words of a statement, at least and at most, and content words in it at least.
SHORT, LONG, WORDS = 3, 16, 3
SHARE = 0.5  # of the longest line: a shorter one ends its paragraph if a capital follows
GAP = 1.6  # of the usual distance between lines: a paragraph ends
RUN_IN_WORDS, CELL_WORDS = 12, 5  # after a head at least, in a column's head at most


class Statement(NamedTuple):
    """Its kind, the words of the question, and those of them that stand on the page."""

    origin: str
    subject: str
    wording: str


def find(lines: Sequence[Line]) -> Iterator[Statement]:
    """The statements of a page, from its lines without headers and footers."""
    for lead, block in _blocks(lines):
        match = BULLET.match(block)
        if lead:
            yield from _description(lead, block[len(lead) :].strip(" :.–—-"))
        if match:
            yield from _item(block[match.end() :])
        elif labelled := LABELLED.match(block):
            yield from _description(*labelled.groups())
        for text in SENTENCE_END.split(block[match.end() :] if match else block):
            if text.endswith(".") and text[0].isupper():
                yield from _abbreviations(text)
                sentence = BRACKETS.sub("", text[:-1])
                yield from _tasks(sentence)
                yield from _condition(sentence)
                yield from _rule(sentence)
                yield from _definition(sentence)
                yield from _purpose(sentence)


def run_ins(lines: Sequence[Line]) -> Iterator[tuple[str, str]]:
    """Origin and wording of each head in bold type that stands in the first line of its text."""
    for lead, block in _blocks(lines):
        head = lead.strip(" :.–—-")
        named = head[:1].isupper() and titles.is_named(head) and len(content_words(head)) > 1
        text = REFERENCE.sub("", block[len(lead) :])
        if named and len(text.split()) >= RUN_IN_WORDS:
            yield "run_in", head


def columns(lines: Sequence[Line]) -> Iterator[Statement]:
    """The heads of a table's columns, which stand under its caption: asked without the caption."""
    for line in lines:
        plain = all(content_words(cell) and len(cell.split()) <= CELL_WORDS for cell in line.cells)
        text = " ".join(line.cells)
        named = len(content_words(text)) > 1 and not titles.is_formula(text) and not _points(text)
        if len(line.cells) > 1 and plain and named:
            *heads, last = line.cells
            yield Statement("columns", f"{', '.join(heads)} and {last}", text)


def _blocks(lines: Sequence[Line]) -> Iterator[tuple[str, str]]:
    """Paragraphs and list items, with their bold leads: lines in one type, close together."""
    gaps = [above.below - line.below for above, line in pairwise(lines)]
    usual = median([gap for gap in gaps if gap > 0] or [1.0])
    full = SHARE * max((len(line.text) for line in lines), default=0)
    block: list[str] = []
    lead = ""
    for number, line in enumerate(lines):
        above = lines[number - 1] if number else line
        new = (
            BULLET.match(line.text)
            or LABELLED.match(line.text)
            or abs(line.size - above.size) > 0.12 * above.size
            or not 0 <= above.below - line.below <= GAP * usual
            or (line.text[0].isupper() and len(above.text) < full)
            or (line.bold and line.text[0].isupper() and END.search(above.text))
        )
        if block and new:
            yield lead, " ".join(block)
            block = []
        lead = lead if block else line.lead
        block.append(line.text)
    if block:
        yield lead, " ".join(block)


def _tasks(sentence: str) -> Iterator[Statement]:
    """How to reach a goal: to do this, use that."""
    for pattern in (GOAL, USE, ENABLES):
        match = None if REFERENCE.search(sentence) else pattern.search(sentence)
        task = _clean(match[1]) if match else ""
        if task and task.split()[0] in VERBS:
            yield Statement("task", task, task)


def _condition(sentence: str) -> Iterator[Statement]:
    """What follows from a condition: asked without what follows."""
    match = CONDITION.match(sentence)
    if match is None and not _points(sentence.split()[0]):
        match = FINAL_CONDITION.match(sentence)
    # One that begins with a participle is about what the sentence before speaks of.
    if match and not BARE.match(match[2]):
        condition = re.sub(r"^you\b", "I", re.sub(r"^you are\b", "I am", match[2]))
        clause = _clean(condition)
        # Without what qualifies it, a condition is another one.
        whole = FINITE.search(clause) and not QUALIFIER.search(condition)
        if whole and len(content_words(clause)) > WORDS:
            opening = "if" if match[1].lower() == "if" else "happens when"
            yield Statement("condition", f"{opening} {clause}", clause)


def _rule(sentence: str) -> Iterator[Statement]:
    """Whether something can, must or should be: asked as a question of yes or no."""
    match = RULE.match(sentence)
    if match is None or FINITE.search(match[1]) or not OF.isdisjoint(match[1].lower().split()):
        return
    # One noun alone with its article is what the sentence before speaks of.
    if match[1] != "You" and len(content_words(match[1])) < 2:
        return
    subject = "I" if match[1] == "You" else match[1][0].lower() + match[1][1:]
    clause = _clean(f"{subject} {match[3]}")
    if clause and len(content_words(clause)) > WORDS:
        yield Statement("rule", f"{match[2].removesuffix('not').capitalize()} {clause}", clause)


def _definition(sentence: str) -> Iterator[Statement]:
    """What a thing is: asked by its description, without the term."""
    match = DEFINED.match(sentence)
    term = match[1].lower().split() if match else []
    if match and not _points(match[1]) and not (STOP | ONE_OF_SEVERAL | {"default"}) & set(term):
        meaning = _clean(match[2])
        shared = set(content_words(match[1])) & set(content_words(meaning))
        distinct = DISTINCT.search(f" {meaning} ") or len(content_words(meaning)) > WORDS
        if meaning and distinct and not shared and "," not in meaning:
            yield Statement("definition", meaning, meaning)
    match = CALLED.match(sentence)
    if match:
        meaning = _clean(match[1][0].lower() + match[1][1:])
        if meaning:
            yield Statement("definition", meaning, meaning)


def _abbreviations(sentence: str) -> Iterator[Statement]:
    """What letters stand for: asked by the letters, whose page says it in full."""
    for match in ABBREVIATION.finditer(sentence):
        letters = [letter for letter in match[2] if letter.isupper()]
        words = match[1].split()[-len(letters) :]
        if [word[0].upper() for word in words] == letters:
            wording = f"{' '.join(words)} {match[2]}"
            yield Statement("abbreviation", f"does {match[2]} stand for", wording)


def _purpose(sentence: str) -> Iterator[Statement]:
    """What does something: asked by what it does, without its name."""
    means = MEANS.search(sentence)
    action = _clean(means[1]) if means else ""
    if action and action.split()[0] in VERBS and len(content_words(action)) > WORDS:
        yield Statement("purpose", f"What is used to {action}", action)
    words = sentence.split()
    for place in range(1, min(7, len(words) - 2)):
        subject = [word.lower() for word in words[:place]]
        thing = next((word for word in subject if word in THINGS), "")
        thing = thing if OF.isdisjoint(subject) else ""
        is_verb = thing and subject[0] not in VERBS and words[place + 1] != "to"
        if words[place] in THIRD_PERSON and (is_verb or words[place + 1] in OBJECTS):
            action = _clean(" ".join(words[place:]))
            enough = len(content_words(action)) > (WORDS - 1 if thing else WORDS)
            if action and enough and _names(subject, action) and not is_cut(action):
                asked = f"Which {thing}" if thing else "What"
                yield Statement("purpose", f"{asked} {action}", action)
            return


def _names(subject: Sequence[str], action: str) -> bool:
    """Whether a subject in lower case names what does the action, and the action does not."""
    names = set(subject) - STOP - THINGS
    clause = subject[0] in STOP - ARTICLES or (CLAUSES | ONE_OF_SEVERAL) & set(subject)
    told = set(content_words(" ".join(names))) <= set(content_words(action))
    return bool(names) and not clause and not told and not _points(" ".join(subject))


def _description(label: str, text: str) -> Iterator[Statement]:
    """What a label stands for: asked without the label."""
    description = SENTENCE_END.split(text)[0].rstrip(".;")
    meaning = _clean(description[:1].lower() + description[1:])
    if not meaning or _points(label) or STOP & set(label.lower().split()):
        return
    first = meaning.split()[0]
    if first in VERBS:
        yield Statement("item", f"How do I {meaning}", meaning)
    elif first in THIRD_PERSON:
        yield Statement("item", f"What {meaning}", meaning)
    elif first in ("the", "a", "an") and not FINITE.search(meaning) and not _has_clause(meaning):
        yield Statement("item", f"What do you call {meaning}", meaning)


def _item(text: str) -> Iterator[Statement]:
    """An instruction among others, or a label with what it stands for."""
    labelled = LABELLED.match(text)
    if labelled:
        yield from _description(*labelled.groups())
        return
    order = SENTENCE_END.split(text)[0].rstrip(".;")
    meaning = _clean(order[:1].lower() + order[1:])
    if meaning and meaning.split()[0] in VERBS:
        yield Statement("item", f"Where does it say to {meaning}", meaning)


def _has_clause(text: str) -> bool:
    """Whether a thing in the text does something."""
    return any(a in THINGS and b in VERBS for a, b in pairwise(text.lower().split()))


def _points(text: str) -> bool:
    """Whether a text points at something outside it."""
    return any(word.rstrip("0123456789") in DEICTIC for word in titles.tokens(text))


def _clean(text: str) -> str:
    """A statement without brackets and qualifiers; empty where it is no plain and whole one."""
    text = QUALIFIER.sub("", BRACKETS.sub("", text)).strip(" ,.;:")
    text = re.sub(r"\byour(self)?\b", r"my\1", text)
    words = text.split()
    whole = (
        SHORT <= len(words) <= LONG
        and len(content_words(text)) >= WORDS
        and not titles.is_formula(text)
        and not titles.is_fragment(text)
        and not _points(text)
        and not re.search(r"[:\[\]\"“”‘`$#*•…]|[\w\s][\d.]+$|\.\s", text)
    )
    return text if whole else ""
