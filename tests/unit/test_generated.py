"""The default's documents: byte for byte the same, one right page a question, near-misses."""

import hashlib
import itertools
import re
from collections import Counter
from pathlib import Path

import pytest

from pagefinder import params_file
from pagefinder.params import Generated
from pagefinder.sources.generated import invented, reports
from pagefinder.sources.generated.source import pages_and_queries
from pagefinder.sources.storing import SourcePage, SourceQuery

SMALL = Generated(companies=6, years=3, eval_share=0.34, eval_queries=4)

Rows = list[tuple[SourcePage, list[SourceQuery]]]


def rows_of(seed: int) -> Rows:
    return [(page, queries) for page, *queries in pages_and_queries(SMALL, seed)]


@pytest.fixture(scope="module")
def rows() -> Rows:
    return rows_of(13)


def digest(rows: Rows) -> str:
    content = hashlib.sha256()
    for page, queries in rows:
        content.update(f"{page.key} {page.split} {page.kind} {page.text} {queries}".encode())
        content.update(page.image)
    return content.hexdigest()


def test_the_same_seed_draws_the_same_bytes(rows: Rows) -> None:
    assert digest(rows) == digest(rows_of(13))
    assert digest(rows) != digest(rows_of(14))


def test_splits_are_whole_documents(rows: Rows) -> None:
    splits = {(page.document_id, page.split) for page, _ in rows}
    assert len(splits) == len({page.document_id for page, _ in rows}) == 18
    assert Counter(split for _, split in splits) == {"train": 12, "eval": 6}


def test_keys_and_pictures_are_unique(rows: Rows) -> None:
    assert len({page.key for page, _ in rows}) == len(rows) == 18 * 12
    assert len({page.image for page, _ in rows}) == len(rows)


def test_what_a_question_names_stands_on_its_page_alone(rows: Rows) -> None:
    names = {metric: metric for metric in invented.METRICS}
    for metric, (aliases, _) in invented.METRICS.items():
        names |= dict.fromkeys(aliases, metric)
    for page, queries in rows:
        for query in queries:
            if query.origin == "lookup":
                continue
            metric = names[max((name for name in names if name in query.text), key=len)]
            company = page.text.splitlines()[0]
            assert company in query.text
            fits = [
                other.key
                for other, _ in rows
                if f" {metric} " in f" {' '.join(other.text.split())} "
                and other.text.splitlines()[0] == company
                and str(page_year(page)) in other.text
                and page_year(other) == page_year(page)
                and (not quarter(query.text, page) or quarter(query.text, page) in other.text)
            ]
            assert fits == [page.key], query.text


def page_year(page: SourcePage) -> int:
    return int(page.document_id.split("-")[-1])


def quarter(text: str, page: SourcePage) -> str:
    """The quarter that a question about a key-figure slide asks for, as such slides print it."""
    if page.kind != "key figures":
        return ""
    spoken = {f"the {word} quarter": f"Q{number}" for number, word in invented.QUARTERS.items()}
    named = [code for phrase, code in spoken.items() if phrase in text or code in text]
    assert len(named) == 1
    return named[0]


def test_a_lookup_names_a_figure_of_its_page_and_of_no_other(rows: Rows) -> None:
    lookups = [(page, query) for page, queries in rows for query in queries]
    lookups = [(page, query) for page, query in lookups if query.origin == "lookup"]
    names = {alias: name for name, (aliases, _) in invented.METRICS.items() for alias in aliases}
    names |= {name: name for name in invented.METRICS}
    assert len(lookups) > 20
    for page, query in lookups:
        figure = re.findall(r"\b\d[\d.]*%?", query.text.removesuffix(str(page_year(page)) + "?"))[0]
        company = page.text.splitlines()[0]
        named = [name for name in names if name in query.text]
        needed = [figure.rstrip("."), *([company] if company in query.text else [])]
        needed += [names[max(named, key=len)]] if named else []
        text = f" {' '.join(page.text.split())} ".replace(". ", " ")
        assert all(f" {part} " in text for part in needed), (query.text, text)


def test_no_question_is_asked_of_two_pages(rows: Rows) -> None:
    pages: dict[str, set[str]] = {}
    for page, queries in rows:
        for query in queries:
            pages.setdefault(query.text, set()).add(page.key)
    assert all(len(keys) == 1 for keys in pages.values())


def test_near_misses_are_built_in(rows: Rows) -> None:
    slides = Counter((p.document_id, p.kind) for p, _ in rows)
    assert set(slides[key] for key in slides if key[1] == "key figures") == {4}
    names = [name.split() for name in reports.companies(40)]
    for first, last in names:
        assert any(a == first and b != last for a, b in names)
        assert any(a != first and b == last for a, b in names)


def test_questions_are_of_several_kinds(rows: Rows) -> None:
    origins = {query.origin for _, queries in rows for query in queries}
    assert {"what", "how much", "which", "comparison", "why", "paraphrase", "lookup"} <= origins


def test_the_default_is_large_enough() -> None:
    size = params_file.load(Path("params.yaml")).data.generated
    all_reports = reports.reports(size, 13)
    held_out = [report for report in all_reports if report.split == "eval"]
    assert 12 * (len(all_reports) - len(held_out)) >= 1500
    assert size.eval_queries * len(held_out) >= 300
    assert 12 * len(held_out) >= 1000


def test_company_names_are_distinct() -> None:
    assert len(set(reports.companies(160))) == 160
    assert reports.companies(5) == list(itertools.islice(reports.companies(160), 5))
    with pytest.raises(ValueError, match="160"):
        reports.companies(161)
