"""The rules by which mining drops pages, and the pages that are excluded at any score.

All tables hold pairs whose `query` and `page` are row numbers of the corpus.
"""

import pandas as pd

from pagefinder.data.corpus import Corpus
from pagefinder.params import Mine
from pagefinder.sources.traits import source_traits

# In the order in which they apply. Pages of another split are not even searched.
RULES = (
    "positive",
    "near_duplicate",
    "possible_answer",  # of a question that a model wrote: what its filters found to be one
    "given",  # the source gives the page as a negative: it needs no mining
    "same_document",
    "range_min",
    "relative_margin",
    "max_score",
    "veto",
)
# What drops a negative that the source gives: a page of another split, or a rule. A rule that only
# suspects a page is not among them, for the source says that the page is no answer.
GIVEN_RULES = ("split", "near_duplicate")
# Counted only where it drops a page: most corpora have no written questions.
UNCOMMON_RULES = ("possible_answer",)


def resolve_rules(rules: Mine, source: str) -> Mine:
    """Resolve `same_document_pages: -1` to the number of neighbouring pages of the source."""
    if rules.same_document_pages >= 0:
        return rules
    pages = source_traits(source).neighbouring_pages
    return rules.model_copy(update={"same_document_pages": pages})


def exclusions(corpus: Corpus, rules: Mine, positives: pd.DataFrame) -> pd.DataFrame:
    """The excluded pages of each query: query, page and the first rule that excludes the page."""
    tables = [positives[["query", "page"]].assign(rule="positive")]
    if rules.near_duplicates:
        tables.append(_near_duplicates(corpus, positives))
    tables.append(_possible_answers(corpus, positives))
    tables += _same_document(corpus, positives, rules.same_document_pages)
    return first_rule(*tables)


def _near_duplicates(corpus: Corpus, positives: pd.DataFrame) -> pd.DataFrame:
    """The near-duplicates of each query's positives: query, page, rule."""
    pairs = pd.DataFrame(
        {
            "page": corpus.near_duplicates["page_id"].map(corpus.page_row),
            "other": corpus.near_duplicates["other_id"].map(corpus.page_row),
        }
    )
    pairs = positives.merge(pairs, on="page")
    return _excluded(pairs["query"], pairs["other"], "near_duplicate")


def _possible_answers(corpus: Corpus, positives: pd.DataFrame) -> pd.DataFrame:
    """The pages that may answer a written question beside its own: query, page, rule."""
    pairs = corpus.written[["query_id", "possible_page_ids"]].explode("possible_page_ids").dropna()
    rows = pd.DataFrame(
        {
            "query": pairs["query_id"].map(corpus.query_row),
            "page": pairs["possible_page_ids"].map(corpus.page_row),
        }
    )
    rows = rows[rows["query"].isin(positives["query"])]
    return _excluded(rows["query"], rows["page"], "possible_answer")


def _same_document(corpus: Corpus, positives: pd.DataFrame, reach: int) -> list[pd.DataFrame]:
    """The pages at most `reach` pages before or behind a positive in its document.

    Returns:
        A table of query, page, rule for each distance.
    """
    numbered = corpus.pages[["document_id", "page_number"]].dropna().reset_index(names="page_row")
    reach = min(reach, int(numbered["page_number"].max()) if len(numbered) else 0)
    positives = positives.merge(numbered, left_on="page", right_on="page_row")
    positives = positives.drop(columns="page_row")
    tables = []
    for step in (*range(-reach, 0), *range(1, reach + 1)):
        neighbours = positives.assign(page_number=positives["page_number"] + step)
        neighbours = neighbours.merge(numbered, on=["document_id", "page_number"])
        tables.append(_excluded(neighbours["query"], neighbours["page_row"], "same_document"))
    return tables


def _excluded(queries: pd.Series, pages: pd.Series, rule: str) -> pd.DataFrame:
    """A table of query, page and rule; `queries` and `pages` belong together row by row."""
    return pd.DataFrame({"query": queries, "page": pages, "rule": rule})


def first_rule(*tables: pd.DataFrame) -> pd.DataFrame:
    """One row per pair of several tables of query, page and rule: the rule that applies first."""
    # The columns of an empty table hold objects, which every later merge would take over.
    rows = pd.concat(tables, ignore_index=True).astype({"query": int, "page": int})
    rows["order"] = rows["rule"].map({rule: place for place, rule in enumerate(RULES)})
    rows = rows.sort_values("order", kind="stable").drop_duplicates(["query", "page"])
    return rows[["query", "page", "rule"]]
