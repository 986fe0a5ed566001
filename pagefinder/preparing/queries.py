"""Check the queries of a source: unusable ones go to quarantine, those of equal text become one."""

import hashlib
from dataclasses import dataclass

import pandas as pd

from pagefinder.preparing.account import MERGED, QUARANTINED, UNJUDGED


@dataclass(frozen=True)
class CheckedQueries:
    """Usable queries with their qrels, and what became of the other rows.

    Attributes:
        queries: query_id, text, split (the source's, or None), origin; a text stands once in
            each split.
        qrels: query_id, page_id, relevance; each pair once.
        quarantine: origin, item, reason of unusable queries and of qrels to unknown pages.
        query_fates: query_id and fate of each query of the source; no fate: it is in `queries`.
        qrel_fates: query_id, page_id and fate of each qrel of the source; no fate: it is in
            `qrels`.
    """

    queries: pd.DataFrame
    qrels: pd.DataFrame
    quarantine: pd.DataFrame
    query_fates: pd.DataFrame
    qrel_fates: pd.DataFrame


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
    queries["query_id"] = [
        query_id(text, split) for text, split in zip(queries["text"], queries["split"], strict=True)
    ]
    qrels = qrels.assign(page_id=qrels["page"].map(page_ids))
    usable_qrels = qrels[qrels["page_id"].notna()]
    dangling = qrels[qrels["page_id"].isna() & ~qrels["page"].isin(bad_keys)]
    reasons, unjudged = _reasons(queries, qrels, usable_qrels)
    bad = reasons.notna()
    unknown = "unknown page: nothing in the source has this key"
    quarantine = pd.concat(
        [
            _entries(queries[bad], queries.loc[bad, "text"], reasons[bad].tolist()),
            _entries(queries.loc[dangling["query"]], dangling["page"], [unknown] * len(dangling)),
        ],
        ignore_index=True,
    )
    query_fates = _fates(queries, bad, unjudged)
    usable = queries[~bad & ~unjudged]
    rows = usable_qrels.merge(usable[["query_id"]], left_on="query", right_index=True)
    grades = rows.groupby(["query_id", "page_id"], sort=False)["relevance"].max().reset_index()
    once = queries[query_fates["fate"].isna()][["query_id", "text", "split", "origin"]]
    return CheckedQueries(
        once.reset_index(drop=True),
        grades,
        quarantine,
        query_fates,
        _qrel_fates(qrels, query_fates),
    )


def query_id(text: str, split: str | None) -> str:
    """Hash of a query's text in lower case and the split that its source gives it (None: none)."""
    return "q" + hashlib.sha256(f"{split or ''}\0{text.casefold()}".encode()).hexdigest()[:16]


def _reasons(
    queries: pd.DataFrame, qrels: pd.DataFrame, usable_qrels: pd.DataFrame
) -> tuple[pd.Series, pd.Series]:
    """Why each query is unusable, None where it is usable; and whether it is merely unjudged."""
    answered, judged = (
        queries.index.isin(rows.loc[rows["relevance"] > 0, "query"])
        for rows in (usable_qrels, qrels)
    )
    reasons = queries["problem"].astype(object).where(queries["problem"].notna(), None)
    empty = pd.Series([not _is_visible(text) for text in queries["text"]], index=queries.index)
    reasons[reasons.isna() & empty] = "empty query"
    unjudged = reasons.isna() & ~judged
    unanswered = reasons.isna() & judged & ~answered
    reasons[unanswered] = "no page left: every page that answers it is unusable"
    return reasons, unjudged


def _fates(queries: pd.DataFrame, bad: pd.Series, unjudged: pd.Series) -> pd.DataFrame:
    """query_id and fate of each query; None for the first of the usable ones of each query_id."""
    fates = pd.Series(None, queries.index, dtype=object)
    fates[bad], fates[unjudged] = QUARANTINED, UNJUDGED
    usable = queries[fates.isna()]
    fates[usable.index[usable["query_id"].duplicated()]] = MERGED
    return queries[["query_id"]].assign(fate=fates)


def _qrel_fates(qrels: pd.DataFrame, query_fates: pd.DataFrame) -> pd.DataFrame:
    """query_id, page_id and fate of each qrel; None for the first usable one of each pair."""
    rows = qrels[["page_id"]].assign(
        query_id=qrels["query"].map(query_fates["query_id"]),
        fate=qrels["query"].map(query_fates["fate"]),
    )
    rows["fate"] = rows["fate"].astype(object).where(rows["fate"] != MERGED, None)
    rows.loc[rows["page_id"].isna(), "fate"] = QUARANTINED
    usable = rows[rows["fate"].isna()]
    rows.loc[usable.index[usable.duplicated(["query_id", "page_id"])], "fate"] = MERGED
    return rows


def _is_visible(text: str) -> bool:
    """Whether a text shows anything: blanks, control characters and marks of no width do not."""
    return any(character.isprintable() and not character.isspace() for character in text)


def _entries(queries: pd.DataFrame, items: pd.Series, reasons: list[str]) -> pd.DataFrame:
    """Rows of the quarantine: each query's place in the source, its item and its reason."""
    # A list, not `.str`: without a single query the column is empty and has no type to speak of.
    item = pd.Series([text[:80] for text in items], dtype=object)
    return pd.DataFrame({"origin": queries["where"].to_numpy(), "item": item, "reason": reasons})
