"""Cut long documents at their sections, where there are too few of them to fill three splits.

A section is a run of consecutive pages. What is drawn is then a section instead of a document, and
the pages on both sides of a cut stay out of the corpus: text runs on from one to the other.
"""

from collections.abc import Collection
from itertools import pairwise

import numpy as np
import pandas as pd

from pagefinder.sources.storing import SECTION_PAGES, SECTIONS


def with_sections(pages: pd.DataFrame) -> pd.DataFrame:
    """The pages with their place in the document, its number of pages, and their section.

    Where the source names no sections, a document has up to SECTIONS of equal length.

    Args:
        pages: Columns page_id, document_id, page_number, section (the source's, or None), row.

    Returns:
        The pages with `place` (counted from 0; by page number where all pages of the document have
        one, else in the order of the source), `length` and `section`. All three are null for a page
        without a document, `section` too for a document too short to have several.
    """
    rows = pages[pages["document_id"].notna()]
    numbers = rows["page_number"].astype("float64")
    complete = numbers.notna().groupby(rows["document_id"]).transform("all")
    order = numbers.where(complete, rows["row"]).sort_values(kind="stable").index
    # Two rows of one page, and two pages of one number, have one place.
    key = rows["page_number"].where(complete, rows["page_id"]).astype(str).loc[order]
    documents = rows["document_id"].loc[order]
    place = (~pd.concat([documents, key], axis=1).duplicated()).groupby(documents).cumsum() - 1
    first_place = place.groupby([documents, key]).transform("first")
    length = first_place.groupby(documents).transform("max") + 1
    result = pages.assign(place=first_place.astype(float), length=length.astype(float))
    named = result["section"].notna().groupby(result["document_id"]).transform("any")
    parts = (result["length"] // SECTION_PAGES).clip(upper=SECTIONS)
    has_parts = result["document_id"].notna() & (named != True) & (parts > 1)  # noqa: E712  # NaN
    result["section"] = result["section"].astype(object).where(result["section"].notna(), None)
    result.loc[has_parts, "section"] = _labels(result[has_parts], parts[has_parts])
    return result


def parts(
    pages: pd.DataFrame, documents: Collection[str], tenths: bool, answers: Collection[str]
) -> pd.Series:
    """The name of what goes to a split as a whole: a document, or a part of one that is cut.

    Args:
        pages: With the columns of `with_sections`.
        documents: Those that are cut: into sections, which all their pages have.
        tenths: Cut them into tenths instead.
        answers: page_id of the pages that answer queries. A section without any goes with the one
            before it, since a cut between them would cost pages for nothing.
    """
    names = pages["document_id"].copy()
    cut = pages[names.isin(set(documents))].sort_values(["document_id", "place"])
    numbers = cut["place"] * SECTIONS // cut["length"] if tenths else _section_numbers(cut, answers)
    names[cut.index] = cut["document_id"] + "#" + numbers.astype(int).astype(str)
    return names


def _section_numbers(pages: pd.DataFrame, answers: Collection[str]) -> pd.Series:
    """The number of each page's section in its document; pages are in the order of their places."""
    keys = [pages["document_id"], pages["section"]]
    start = pages["place"].groupby(keys).transform("min")
    answered = pages["page_id"].isin(set(answers)).groupby(keys).transform("any")
    start = start.where(answered).groupby(pages["document_id"]).ffill()
    start = start.groupby(pages["document_id"]).bfill().fillna(0)
    numbers: pd.Series = start.groupby(pages["document_id"]).rank("dense") - 1
    return numbers


def beside_cuts(pages: pd.DataFrame, documents: Collection[str]) -> set[str]:
    """page_id of each page of `documents` that stands next to a page of another split.

    `pages` have the columns of `with_sections`, and split.
    """
    rows = pages[pages["document_id"].isin(set(documents))].sort_values(["document_id", "place"])
    columns = (rows[name] for name in ("document_id", "page_id", "split"))
    return {
        page_id
        for before, after in pairwise(zip(*columns, strict=True))
        if before[0] == after[0] and before[2] != after[2]
        for page_id in (before[1], after[1])
    }


def _labels(pages: pd.DataFrame, parts: pd.Series) -> pd.Series:
    """The section of each page of documents without named ones: "pages 1 to 12", by place."""
    part = pages["place"] * parts // pages["length"]
    # The places p of a part have part <= p * parts / length < part + 1.
    first = np.ceil(part * pages["length"] / parts).astype(int) + 1
    last = np.ceil((part + 1) * pages["length"] / parts).astype(int)
    labels: pd.Series = "pages " + first.astype(str) + " to " + last.astype(str)
    return labels
