"""Check the queries of a source: unusable ones go to quarantine, those of equal text become one."""

import hashlib
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class CheckedQueries:
    """Usable queries with their qrels, and the unusable ones with the reasons.

    Attributes:
        queries: query_id, text, split (the source's, or None), origin; a text stands once in
            each split.
        qrels: query_id, page_id, relevance; each pair once.
        quarantine: origin, item, reason of unusable queries and of qrels to unknown pages.
        merged: Queries that were joined with another of the same text and split.
    """

    queries: pd.DataFrame
    qrels: pd.DataFrame
    quarantine: pd.DataFrame
    merged: int


def check_queries(
    page_ids: dict[str, str], bad_keys: set[str], queries: pd.DataFrame, qrels: pd.DataFrame
) -> CheckedQueries:
    """Check a source's queries and qrels against its usable pages.

    Queries of equal text and split become one.

    Args:
        page_ids: page_id of each usable page, by its key in the source.
        bad_keys: Source keys of pages already in quarantine; a qrel that names one is dropped
            without an entry of its own.
        queries: As `storing.QUERY_SCHEMA`.
        qrels: As `storing.QREL_SCHEMA`.

    Returns:
        Usable queries and qrels under query_id and page_id, and the quarantine.
    """
    queries = queries.set_index("query")
    queries["text"] = [" ".join(text.split()) for text in queries["text"]]
    queries["split"] = queries["split"].astype(object).where(queries["split"].notna(), None)
    qrels = qrels.assign(page_id=qrels["page"].map(page_ids))
    usable_qrels = qrels[qrels["page_id"].notna()]
    dangling = qrels[qrels["page_id"].isna() & ~qrels["page"].isin(bad_keys)]
    reasons = _reasons(queries, usable_qrels)
    bad = reasons.notna()
    unknown = "unknown page: nothing in the source has this key"
    quarantine = pd.concat(
        [
            _entries(queries[bad], queries.loc[bad, "text"], reasons[bad].tolist()),
            _entries(queries.loc[dangling["query"]], dangling["page"], [unknown] * len(dangling)),
        ],
        ignore_index=True,
    )
    usable = queries[~bad].copy()
    usable["query_id"] = [
        query_id(text, split) for text, split in zip(usable["text"], usable["split"], strict=True)
    ]
    rows = usable_qrels.merge(usable[["query_id"]], left_on="query", right_index=True)
    grades = rows.groupby(["query_id", "page_id"], sort=False)["relevance"].max().reset_index()
    once = usable.drop_duplicates("query_id")[["query_id", "text", "split", "origin"]]
    return CheckedQueries(once.reset_index(drop=True), grades, quarantine, len(usable) - len(once))


def query_id(text: str, split: str | None) -> str:
    """Hash of a query's text in lower case and the split that its source gives it (None: none)."""
    return "q" + hashlib.sha256(f"{split or ''}\0{text.casefold()}".encode()).hexdigest()[:16]


def _reasons(queries: pd.DataFrame, usable_qrels: pd.DataFrame) -> pd.Series:
    """Why each query is unusable; None where it is usable."""
    answered = usable_qrels.loc[usable_qrels["relevance"] > 0, "query"]
    reasons = queries["problem"].astype(object).where(queries["problem"].notna(), None)
    empty = pd.Series([not _is_visible(text) for text in queries["text"]], index=queries.index)
    reasons[reasons.isna() & empty] = "empty query"
    unanswered = reasons.isna() & ~queries.index.isin(answered)
    reasons[unanswered] = "no page left: every page that answers it is unusable"
    return reasons


def _is_visible(text: str) -> bool:
    """Whether a text shows anything: blanks, control characters and marks of no width do not."""
    return any(character.isprintable() and not character.isspace() for character in text)


def _entries(queries: pd.DataFrame, items: pd.Series, reasons: list[str]) -> pd.DataFrame:
    """Rows of the quarantine: each query's place in the source, its item and its reason."""
    # A list, not `.str`: without a single query the column is empty and has no type to speak of.
    item = pd.Series([text[:80] for text in items], dtype=object)
    return pd.DataFrame({"origin": queries["where"].to_numpy(), "item": item, "reason": reasons})
