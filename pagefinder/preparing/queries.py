"""Resolve the queries of a source: drop what is unusable and say why, merge what is one query."""

import hashlib
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Judged:
    """Usable queries and what was wrong with the others.

    Attributes:
        queries: query_id, text, split (the source's own, or None), origin; each text once a split.
        qrels: query_id, page_id, relevance; each pair once.
        quarantine: origin, item, reason.
        merged: Queries that were joined with another of the same text and split.
    """

    queries: pd.DataFrame
    qrels: pd.DataFrame
    quarantine: pd.DataFrame
    merged: int


def judge(
    page_of: dict[str, str], bad_keys: set[str], queries: pd.DataFrame, qrels: pd.DataFrame
) -> Judged:
    """Check the queries of a source against its usable pages.

    Args:
        page_of: Key in the source to page_id, of usable pages.
        bad_keys: Keys of pages that are in quarantine themselves.
        queries: As `storing.QUERY_SCHEMA`.
        qrels: As `storing.QREL_SCHEMA`.
    """
    queries = queries.set_index("query")
    queries["text"] = [" ".join(text.split()) for text in queries["text"]]
    qrels = qrels.assign(page_id=qrels["page"].map(page_of))
    known = qrels[qrels["page_id"].notna()]
    unknown = qrels[qrels["page_id"].isna() & ~qrels["page"].isin(bad_keys)]
    answered = set(known.loc[known["relevance"] > 0, "query"])
    reason = queries["problem"].astype(object).where(queries["problem"].notna(), None)
    reason[reason.isna() & (queries["text"] == "")] = "empty query"
    unanswered = reason.isna() & ~queries.index.isin(answered)
    reason[unanswered] = "no page left: every page that answers it is unusable"
    bad = reason.notna()
    quarantine = pd.concat(
        [
            _entries(queries[bad], queries.loc[bad, "text"], reason[bad]),
            _entries(
                queries.loc[unknown["query"]],
                unknown["page"],
                "unknown page: nothing in the source has this key",
            ),
        ],
        ignore_index=True,
    )
    usable = queries[~bad].copy()
    split = usable["split"].astype(object).where(usable["split"].notna(), None)
    usable["query_id"] = [
        query_id(text, own) for text, own in zip(usable["text"], split, strict=True)
    ]
    usable["split"] = split
    known = known.merge(usable[["query_id"]], left_on="query", right_index=True)
    grades = known.groupby(["query_id", "page_id"], sort=False)["relevance"].max().reset_index()
    once = usable.drop_duplicates("query_id")[["query_id", "text", "split", "origin"]]
    return Judged(once.reset_index(drop=True), grades, quarantine, len(usable) - len(once))


def query_id(text: str, split: str | None) -> str:
    """Identity of a query: its words in any case, and the split that its source gives it."""
    return "q" + hashlib.sha256(f"{split or ''}\0{text.casefold()}".encode()).hexdigest()[:16]


def _entries(queries: pd.DataFrame, item: pd.Series, reason: "pd.Series | str") -> pd.DataFrame:
    values = reason if isinstance(reason, str) else reason.to_numpy()
    # A list, not `.str`: without a single query the column is empty and has no type to speak of.
    items = pd.Series([text[:80] for text in item], dtype=object)
    return pd.DataFrame({"origin": queries["where"].to_numpy(), "item": items, "reason": values})
