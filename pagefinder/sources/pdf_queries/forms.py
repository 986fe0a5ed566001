"""The forms of questions: how a phrase is asked, with as much context as it needs."""

import hashlib
from collections.abc import Sequence
from enum import IntEnum

from pagefinder.sources.pdf_queries.titles import tokens
from pagefinder.sources.storing import Phrase

# The hash of a phrase chooses among several forms, so that a model does not learn one.
OPEN = (
    "Which page is about {}?",
    "Where can I read about {}?",
    "What is there to know about {}?",
)
CLAUSE = ("Where do I find out {}?", "Which page tells {}?")
SECTION = ("Where is the section on {}?", "Which page has the section about {}?")
PARAGRAPH = ("Where is the paragraph on {}?", "Which page has the paragraph about {}?")
DESCRIBED = ("Where is {} described?",)  # a title that calls itself a section
ORDER = ("Where does it say {}?",)  # a title that is an order
BEGINNING = (
    "Where does the section on {} begin?",
    "On which page does the section about {} begin?",
)
FIGURE = ("Which figure shows {}?", "Where is there a picture of {}?")
TABLE = ("Which table lists {}?", "Where is the table of {}?")
STATEMENTS = {
    "task": ("How do I {}", "What do I need to {}", "How would one {}"),
    "purpose": ("{}",),
    "condition": ("What {}",),
    "abbreviation": ("What {}",),
    "definition": ("What do you call {}",),
    "item": ("{}",),
    "rule": ("{}",),
    "columns": ("Which table has the columns {}",),
}
REWORDED = "_reworded"
OPENERS = frozenset("how what when where when why which who".split())
ORDERS = frozenset("always avoid be choose do don't ensure keep never remember try write".split())
AUXILIARIES = frozenset("to do does did can could is are was should must may will".split())


class Scope(IntEnum):
    """Where a question looks: DOCUMENT names the document, PART also the part around it."""

    FOLDER = 0
    DOCUMENT = 1
    PART = 2


def open_question(phrase: Phrase, scope: Scope) -> str:
    """A question on the phrase's subject that any page on it answers; empty if there is none."""
    subject = phrase.subject
    first, second = [*subject.lower().split(" "), ""][:2]
    if subject.endswith("?") or (first in OPENERS and second in AUXILIARIES):
        return _ask(("{}?",), subject[:1].upper() + subject[1:].rstrip("?"), phrase, scope)
    if first in ORDERS:
        return _ask(ORDER, f'"{subject}"', phrase, scope)
    clause = is_reworded(phrase) and first in OPENERS
    return _ask(CLAUSE if clause else OPEN, subject, phrase, scope)


def is_reworded(phrase: Phrase) -> bool:
    """Whether a phrase says in other words what another one says."""
    return phrase.origin == "paraphrase" or phrase.origin.endswith(REWORDED)


def is_statement(phrase: Phrase) -> bool:
    """Whether a phrase comes from a sentence or list item, not from a title or caption."""
    return phrase.origin.removesuffix(REWORDED) in STATEMENTS


def statement_question(phrase: Phrase, scope: Scope) -> str:
    """A question on what a sentence or list item says."""
    forms = STATEMENTS[phrase.origin.removesuffix(REWORDED)]
    document = f", according to {phrase.document}" if scope >= Scope.DOCUMENT else ""
    return f"{_form(forms, phrase).format(phrase.subject)}{document}?"


def specific_question(phrase: Phrase, scope: Scope) -> str:
    """A question that only the phrase's figure, table or section answers; or empty."""
    subject = phrase.subject
    if phrase.origin in ("figure", "table"):
        return _ask(FIGURE if phrase.origin == "figure" else TABLE, subject, phrase, scope)
    if is_reworded(phrase) and subject.split()[0] in OPENERS:
        return _ask(CLAUSE, subject, phrase, scope)
    if subject.startswith("What does "):  # a routine
        subject = phrase.wording
    if subject.endswith("?"):
        return ""
    if subject.split()[0].lower() in ORDERS:
        return _ask(ORDER, f'"{subject}"', phrase, scope)
    if phrase.origin == "run_in":
        return _ask(PARAGRAPH, subject, phrase, scope)
    if "section" in tokens(subject):
        return _ask(DESCRIBED, subject, phrase, scope)
    return _ask(BEGINNING if phrase.beginning else SECTION, subject, phrase, scope)


def _ask(forms: Sequence[str], subject: str, phrase: Phrase, scope: Scope) -> str:
    """The question in one of `forms`, naming what `scope` asks for; or empty."""
    # A paraphrase with the words of the part around it would copy these from the page.
    if scope == Scope.PART and (not phrase.parent or is_reworded(phrase)):
        return ""
    part = f" under {phrase.parent}" if scope == Scope.PART else ""
    document = f" in {phrase.document}" if scope >= Scope.DOCUMENT else ""
    return _form(forms, phrase).format(f"{subject}{part}{document}")


def _form(forms: Sequence[str], phrase: Phrase) -> str:
    """One of `forms`: the hash of the phrase's subject chooses."""
    return forms[hashlib.sha256(phrase.subject.encode()).digest()[0] % len(forms)]
