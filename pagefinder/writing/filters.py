"""Which written questions can be trusted: each filter says of each question whether it passes.

A question is dropped by the first filter that it does not pass. The filters that cost nothing look
at every question; the judge sees only those that pass them, and near-duplicates are looked for
among those that pass the judge.
"""

import logging
import re
from difflib import SequenceMatcher
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from pagefinder.params_writing import Writer
from pagefinder.retrieval.words import bm25_index, bm25_scores, has_words
from pagefinder.writing import judging, language_rules
from pagefinder.writing.client import Ask
from pagefinder.writing.duplicates import repeated
from pagefinder.writing.prompts import LANGUAGES, PAGE_LANGUAGE

log = logging.getLogger(__name__)

# In the order in which they apply.
FILTERS = ("language", "stands_alone", "not_copied", "round_trip", "answerable", "distinct")
PASSED = "passed"
# So many words in a row that stand on the page too are a copied line. Names of organisations, laws
# and products run to five or six.
COPIED_WORDS = 8
# And so many where they are most of the question: whoever asks is not that near to the page.
COPIED_PART, COPIED_SHARE = 4, 0.75
# BM25 finds the page of a question among so many, or the question fits the page too badly. A
# question in other words than the page's still shares its names with it.
ROUND_TRIP = 20
# Words in common over all words, without the language's commonest, from which two questions are
# one. A question of five such words may differ from another one by none, one of nine by one.
SIMILARITY = 0.8
SEARCH_WORDS = 6  # of a keyword question: too few to tell a language by, and mostly names
# A word; of scripts that put no blanks between words, a character.
_WORD = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff\u0e00-\u0e7f]|[^\W\u3040-\u30ff\u4e00-\u9fff]+")


def requests_per_question(pages: int) -> int:
    """How many requests to the judge a question may take, at most, in a source of so many pages."""
    return 1 + min(len(judging.NEIGHBOURS), max(pages - 1, 0))


def filtered(
    rows: pd.DataFrame, pages: pd.DataFrame, judge: Ask, settings: Writer
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The written questions with the verdict of each filter, and what the filters counted.

    Args:
        rows: WRITTEN_COLUMNS of each question.
        pages: All usable pages of the source, in its order: key, document_id, page_number, kind,
            text ("" where there is none).
        judge: Asks the judge.
        settings: Of the writer; `filters` names those that apply.

    Returns:
        All rows, in their order, with the columns of WRITTEN_SCHEMA; counts for
        metrics/written.json.
    """
    rows = rows.reset_index(drop=True)
    texts = dict(zip(pages["key"], pages["text"].fillna(""), strict=True))
    # Filter -> why a question fails, "" where it passes; missing where the filter does not look.
    faults = text_faults(rows, texts, settings.filters)
    possible: dict[int, list[str]] = {row: [] for row in rows.index}
    if "round_trip" in settings.filters:
        faults["round_trip"], ranked = round_trip(rows, pages)
        _add(possible, ranked)
    if "answerable" in settings.filters:
        rest = rows[_passes(faults, rows.index)]
        faults["answerable"], unjudged = judging.answerable(rest, pages, judge)
        _add(possible, unjudged)
    if "distinct" in settings.filters:
        rest = rows[_passes(faults, rows.index)]
        faults["distinct"], others = distinct(rest)
        _add(possible, others)
    looked = {name: column.reindex(rows.index) for name, column in faults.items()}
    verdicts = [
        [
            (name, looked[name][row] or PASSED)
            for name in looked
            if isinstance(looked[name][row], str)
        ]
        for row in rows.index
    ]
    dropped = [next((n for n, verdict in row if verdict != PASSED), None) for row in verdicts]
    result = rows.assign(
        dropped_by=pd.Series(dropped, rows.index, dtype=object),
        verdicts=pd.Series(verdicts, rows.index, dtype=object),
        possible_pages=pd.Series([possible[row] for row in rows.index], rows.index, dtype=object),
    )
    return result, counts(result)


def counts(rows: pd.DataFrame) -> dict[str, dict[str, int]]:
    """By filter how many questions it has seen, did not let pass, and dropped as the first one.

    Args:
        rows: As `filtered` returns them.
    """
    verdicts = [dict(row) for row in rows["verdicts"]]
    return {
        name: {
            "seen": sum(name in row for row in verdicts),
            "failed": sum(row.get(name, PASSED) != PASSED for row in verdicts),
            "dropped": int((rows["dropped_by"] == name).sum()),
        }
        for name in FILTERS
    }


def text_faults(
    rows: pd.DataFrame, texts: dict[str, str], names: tuple[str, ...]
) -> dict[str, pd.Series]:
    """What the filters find that look at a question and the text of its page alone.

    Args:
        rows: text, page, kind and language of each question.
        texts: Text of each page by its key.
        names: Filters that apply.

    Returns:
        Filter -> "" or why not, by the index of `rows`; None where the filter cannot tell.
    """
    wanted = [
        language_rules.language_of(texts[page]) if name == PAGE_LANGUAGE else code_of(name)
        for name, page in zip(rows["language"], rows["page"], strict=True)
    ]
    _log_languages({code for code in wanted if code})
    found: dict[str, list[str | None]] = {name: [] for name in FILTERS[:3] if name in names}
    for code, row in zip(wanted, rows.itertuples(index=False), strict=True):
        text = str(row.text)
        verdicts = {
            "language": in_language(text, code, str(row.kind)),
            "stands_alone": stands_alone(text, code or language_rules.language_of(text)),
            "not_copied": not_copied(text, texts[str(row.page)]),
        }
        for name, faults in found.items():
            faults.append(verdicts[name])
    return {name: pd.Series(faults, rows.index, dtype=object) for name, faults in found.items()}


def code_of(language: str) -> str:
    """The code of a language that a param names by code or name; another name as it is."""
    codes = {name.casefold(): code for code, name in LANGUAGES.items()}
    return codes.get(language.casefold(), language.casefold())


def _log_languages(codes: set[str]) -> None:
    """Say for which languages there are no rules."""
    for code in sorted(codes):
        if not language_rules.has_rules(code):
            log.warning(
                "no rules for %s tell which questions need their page: the judge alone does", code
            )
        if code not in language_rules.STOP_WORDS:
            log.warning("of questions in %s only the script is checked, not the language", code)


def in_language(question: str, language: str, kind: str) -> str | None:
    """What a question is in if not in this language, else ""; None where the language is ""."""
    if not language:
        return None
    script = language_rules.foreign_script(question, language)
    if script:
        return f"it is written in {script} letters, not in {language}"
    few = kind == "keyword" and len(question.split()) <= SEARCH_WORDS
    if few or language not in language_rules.STOP_WORDS:
        return ""
    other = language_rules.language_of(question)
    return f"it is in {other}, not in {language}" if other not in ("", language) else ""


def stands_alone(question: str, language: str) -> str | None:
    """What in a question only its page explains, else ""; None where the language has no rules."""
    if not language_rules.has_rules(language):
        return None
    return language_rules.need_of_the_page(question, language)


def not_copied(question: str, page: str) -> str | None:
    """What a question copies from the text of its page, else ""; None where there is no text."""
    words, there = (_WORD.findall(text.casefold()) for text in (question, page))
    if not there:
        return None
    match = SequenceMatcher(None, words, there, autojunk=False).find_longest_match()
    part = match.size >= COPIED_PART and match.size >= COPIED_SHARE * len(words)
    if match.size >= COPIED_WORDS or part:
        return f"it copies the page: {' '.join(words[match.a : match.a + match.size])!r}"
    return ""


def round_trip(rows: pd.DataFrame, pages: pd.DataFrame) -> tuple[pd.Series, dict[int, list[str]]]:
    """Whether BM25 finds the page of each question among the first ROUND_TRIP pages.

    A page without text is not looked for. What ranks as high as the page may answer the question.

    Args:
        rows: text and page of each question.
        pages: key and text.

    Returns:
        "" or why not, None where the page has no text; and the keys of the pages that rank as high
        as that of a question that passes; both by the index of `rows`.
    """
    faults = pd.Series([None] * len(rows), rows.index, dtype=object)
    ranked: dict[int, list[str]] = {}
    searched = pages[pages["text"].fillna("").map(lambda text: has_words([text]))]
    if searched.empty or rows.empty:
        return faults, ranked
    keys = searched["key"].to_numpy()
    place = {key: number for number, key in enumerate(keys)}
    index = bm25_index(searched["text"].to_list())
    for row, text, page in tqdm(
        zip(rows.index, rows["text"], rows["page"], strict=True),
        desc="round trip",
        total=len(rows),
        unit=" questions",
        disable=None,
    ):
        if page not in place:
            continue
        scores = bm25_scores(index, text)
        scored = scores[place[page]]
        rank = 1 + int((scores > scored).sum())
        if scored <= 0:
            faults[row] = "it has no word in common with the page"
        elif rank > ROUND_TRIP:
            faults[row] = f"BM25 finds the page at rank {rank}"
        else:
            faults[row] = ""
            above = np.flatnonzero(scores >= scored)
            ranked[row] = [str(keys[n]) for n in above if n != place[page]]
    return faults, ranked


def distinct(rows: pd.DataFrame) -> tuple[pd.Series, dict[int, list[str]]]:
    """Whether each question asks something that no question before it asks.

    Args:
        rows: text and page of each question.

    Returns:
        "" or why not; and for a question that others repeat, the keys of their pages, which answer
        it too; both by the index of `rows`.
    """
    texts, keys = rows["text"].to_list(), rows["page"].to_list()
    faults = pd.Series([""] * len(rows), rows.index, dtype=object)
    others: dict[int, list[str]] = {}
    originals = repeated([_content_words(text) for text in texts], SIMILARITY)
    for place, original in enumerate(originals):
        if original is None:
            continue
        faults.iloc[place] = f"it repeats {texts[original]!r}"
        if keys[place] != keys[original]:
            others.setdefault(rows.index[original], []).append(keys[place])
    return faults, others


def _content_words(text: str) -> frozenset[str]:
    """The words of a text without those that are commonest in its language, if any are left."""
    words = frozenset(_WORD.findall(text.casefold()))
    stop_words = language_rules.STOP_WORDS.get(language_rules.language_of(text), frozenset())
    return words - stop_words or words


def _passes(faults: dict[str, pd.Series], rows: pd.Index) -> pd.Series:
    """Which rows no filter has dropped yet."""
    passes = pd.Series(True, rows)
    for series in faults.values():
        passes &= ~series.reindex(rows).fillna("").astype(bool)
    return passes


def _add(possible: dict[int, list[str]], more: dict[int, list[str]]) -> None:
    """Add the pages of `more` to those of each row, each page once."""
    for row, keys in more.items():
        possible[row] = list(dict.fromkeys([*possible[row], *keys]))
