"""Turn the phrases of all documents into questions whose answers are known.

A question may be open (where can I read about it?): then its wording stands on its answers and on
no other content page of the folder, the document or the part that the question names. Or it asks
for one thing (where is the section on it? which figure shows it?): a page that only mentions the
wording does not answer that, so it suffices that nothing else has the same name. A statement is
asked where no other content page has all of its content words near each other.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pagefinder.sources.pdf_queries.forms import (
    Scope,
    is_reworded,
    is_statement,
    open_question,
    specific_question,
    statement_question,
)
from pagefinder.sources.pdf_queries.occurrences import Wording, Words, pages_with, pages_with_all
from pagefinder.sources.pdf_queries.phrases import routine
from pagefinder.sources.pdf_queries.titles import HERE, tokens
from pagefinder.sources.pdf_queries.wording import GENERIC, content_words, stems
from pagefinder.sources.storing import Phrase, SourceQuery

# A statement of fewer content words names its document.
FEW_WORDS = 5

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Candidate:
    """A phrase that may become a question.

    Attributes:
        phrase: With the subject and wording that the question uses.
        document: Key of the document: its pages have the keys DOCUMENT/INDEX.
        names: What the part, figure or table is called in each scope.
    """

    phrase: Phrase
    document: str
    names: dict[Scope, tuple[str, ...]]

    @property
    def wording(self) -> Wording:
        """Tokens of the wording."""
        return tuple(tokens(self.phrase.wording))

    @property
    def words(self) -> Words:
        """Stems of the wording's content words."""
        return stems(self.phrase.wording)


def choose_queries(queries: list[SourceQuery], folder: Path) -> list[SourceQuery]:
    """Turn each phrase into a question that only its own pages answer.

    A question names the document, then also the part around the phrase, if without this something
    else has the same name or wording. Phrases without such a question, and questions that occur
    twice, are dropped.

    Args:
        queries: One for each phrase of each document; their text is empty.
        folder: Holds the shards of all pages, in which each wording is looked for.

    Returns:
        The remaining queries, with the question as text.
    """
    candidates = _candidates(queries)
    # A paraphrase has the name of its original: if both counted, no such name would be unique.
    name_counts = Counter(
        name
        for candidate in candidates
        if not is_reworded(candidate.phrase)
        for name in candidate.names.values()
    )
    titles = {candidate.wording for candidate in candidates if not is_statement(candidate.phrase)}
    words = {candidate.words for candidate in candidates if is_statement(candidate.phrase)}
    pages, pages_of_words = pages_with(titles, folder), pages_with_all(words, folder)
    questions = []
    for query, candidate in zip(queries, candidates, strict=True):
        names = candidate.names.items()
        unique_scopes = [scope for scope, name in names if name_counts[name] == 1]
        stated = is_statement(candidate.phrase)
        keys = pages_of_words[candidate.words] if stated else pages[candidate.wording]
        elsewhere = set(keys) - set(query.relevance)
        text = _question(candidate, unique_scopes, elsewhere)
        if text:
            questions.append(replace(query, text=text))
    times = Counter(query.text.casefold() for query in questions)
    chosen = [query for query in questions if times[query.text.casefold()] == 1]
    log.info(
        "%d questions; dropped %d for which no question tells their page from others",
        len(chosen),
        len(queries) - len(chosen),
    )
    return chosen


def _candidates(queries: Sequence[SourceQuery]) -> list[Candidate]:
    """The candidate of each query, from its phrase.

    Where several files have one title, the file name is added to the title.
    """
    located = []
    documents: dict[str, set[str]] = defaultdict(set)  # by title
    for query in queries:
        if query.phrase is None:
            raise ValueError(f"the query of {query.where} has no phrase to make a question from")
        document = next(iter(query.relevance)).split("/")[0]
        documents[query.phrase.document].add(document)
        located.append((query.phrase, document, query.where.rsplit(" page ", 1)[0]))
    candidates = []
    for phrase, document, file in located:
        if len(documents[phrase.document]) > 1:
            phrase = replace(phrase, document=f"{phrase.document} ({Path(file).stem})")
        candidates.append(Candidate(routine(phrase), document, _names(phrase, document)))
    return candidates


def _names(phrase: Phrase, document: str) -> dict[Scope, tuple[str, ...]]:
    """What a phrase is called in the folder, in its document and in the part around it.

    Names of figures, tables and parts are kept apart; a paraphrase has the name of its section.
    """
    kind = phrase.origin if phrase.origin in ("figure", "table") else "part"
    kind = "statement" if is_statement(phrase) else kind
    name = (kind, " ".join(tokens(phrase.wording)))
    parent = " ".join(tokens(phrase.parent))
    return {
        Scope.FOLDER: name,
        Scope.DOCUMENT: (*name, document),
        Scope.PART: (*name, document, parent),
    }


def _question(candidate: Candidate, unique_scopes: Sequence[Scope], elsewhere: set[str]) -> str:
    """The question with the least context that it needs; empty if there is none.

    Args:
        candidate: What the question is about.
        unique_scopes: The scopes in which nothing else has the candidate's name, widest first.
        elsewhere: Keys of content pages that hold the candidate's wording but are no answer.
    """
    phrase = candidate.phrase
    if not phrase.subject:
        return ""
    scopes = [scope for scope in unique_scopes if scope >= _least_scope(phrase)]
    if is_statement(phrase):
        alone = (
            scope
            for scope in scopes
            if not any(_is_within(key, candidate, scope) for key in elsewhere)
        )
        return next((statement_question(phrase, scope) for scope in alone), "")
    if phrase.origin not in ("figure", "table") and not phrase.beginning:
        for scope in scopes:
            text = open_question(phrase, scope)
            if text and not any(_is_within(key, candidate, scope) for key in elsewhere):
                return text
    return specific_question(phrase, scopes[0]) if scopes else ""


def _least_scope(phrase: Phrase) -> Scope:
    """The widest scope that a question on a phrase may have.

    A title of one content word needs its document. A title that says nothing alone needs the part
    around it.
    """
    words = content_words(phrase.wording)
    if is_statement(phrase):
        return Scope.DOCUMENT if len(words) < FEW_WORDS else Scope.FOLDER
    if is_reworded(phrase):
        return Scope.DOCUMENT if len(words) < 2 else Scope.FOLDER
    meaning = [word for word in words if word not in GENERIC]
    if len(meaning) >= 2 and not HERE.search(phrase.wording):
        return Scope.FOLDER
    return Scope.DOCUMENT if meaning else Scope.PART


def _is_within(key: str, candidate: Candidate, scope: Scope) -> bool:
    """Whether the page `key` lies in the candidate's folder, document or part, as scope says."""
    document, _, index = key.partition("/")
    if scope == Scope.FOLDER:
        return True
    first, last = candidate.phrase.parent_pages
    inside = scope == Scope.DOCUMENT or first <= int(index) <= last
    return document == candidate.document and inside
