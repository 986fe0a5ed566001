"""Which pages can be no negative of a query whatever they score: the judged ones and their like.

All tables hold pairs whose `query` and `page` are row numbers of the corpus.
"""

import pandas as pd

from pagefinder.data.corpus import Corpus
from pagefinder.params import Mine
from pagefinder.sources.kinds import source_kind

# In the order in which they apply. Pages outside the split come first and are never even searched.
RULES = (
    "positive",
    "near_duplicate",
    "given",  # a negative of the source's own, known already
    "same_document",
    "range_min",
    "relative_margin",
    "max_score",
    "veto",
)


def resolve_rules(rules: Mine, source: str) -> Mine:
    """Resolve `same_document_pages: -1` to the number of neighbouring pages of the source."""
    if rules.same_document_pages >= 0:
        return rules
    pages = source_kind(source).neighbouring_pages
    return rules.model_copy(update={"same_document_pages": pages})


def qrel_rows(corpus: Corpus, split: str) -> pd.DataFrame:
    """The qrels of a split's queries as rows: query, page, relevance.

    By query, the right pages first, pages of one relevance in the order of the qrels: that is the
    source's own, whose first negative may be the one that it holds for the best.
    """
    rows = pd.DataFrame(
        {
            "query": corpus.qrels["query_id"].map(corpus.query_row),
            "page": corpus.qrels["page_id"].map(corpus.page_row),
            "relevance": corpus.qrels["relevance"],
        }
    ).astype(int)
    rows = rows[rows["query"].isin(corpus.query_rows(split))]
    # A page that is called right and wrong counts as right.
    rows = rows.sort_values(["query", "relevance"], ascending=[True, False], kind="stable")
    return rows.drop_duplicates(["query", "page"], ignore_index=True)


def exclusions(corpus: Corpus, rules: Mine, positives: pd.DataFrame) -> pd.DataFrame:
    """Pairs that no score can make a negative: query, page and the first rule that says so."""
    found = [positives[["query", "page"]].assign(rule="positive")]
    if rules.near_duplicates:
        twins = pd.DataFrame(
            {
                "page": corpus.near_duplicates["page_id"].map(corpus.page_row),
                "other": corpus.near_duplicates["other_id"].map(corpus.page_row),
            }
        )
        twins = positives.merge(twins, on="page")
        found.append(_pairs(twins["query"], twins["other"], "near_duplicate"))
    numbered = corpus.pages[["document_id", "page_number"]].dropna().reset_index(names="other")
    beside = positives.merge(numbered, left_on="page", right_on="other").drop(columns="other")
    reach = min(
        rules.same_document_pages, int(numbered["page_number"].max() if len(numbered) else 0)
    )
    for step in range(1, reach + 1):
        for side in (-step, step):
            shifted = beside.assign(page_number=beside["page_number"] + side)
            near = shifted.merge(numbered, on=["document_id", "page_number"])
            found.append(_pairs(near["query"], near["other"], "same_document"))
    return first_rule(*found)


def _pairs(queries: pd.Series, pages: pd.Series, rule: str) -> pd.DataFrame:
    return pd.DataFrame({"query": queries, "page": pages, "rule": rule})


def first_rule(*tables: pd.DataFrame) -> pd.DataFrame:
    """One row per pair of several tables of query, page and rule: the rule that applies first."""
    # The columns of an empty table hold objects, which every later merge would take over.
    rows = pd.concat(tables, ignore_index=True).astype({"query": int, "page": int})
    rows["place"] = rows["rule"].map({rule: place for place, rule in enumerate(RULES)})
    rows = rows.sort_values("place", kind="stable").drop_duplicates(["query", "page"])
    return rows[["query", "page", "rule"]]
