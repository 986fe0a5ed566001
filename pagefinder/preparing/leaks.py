"""Drop what would leak from one split to another, and say of every row what became of it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pagefinder.preparing.account import BESIDE_CUT, KEPT, LEAKED, MERGED, OTHER_SPLIT

# Where two splits claim a page, the one that measures wins over the one that learns.
RANK = {"train": 0, "dev": 1, "eval": 2}


@dataclass(frozen=True)
class Split:
    """A split corpus and what was dropped to keep the splits apart.

    Attributes:
        pages: Usable pages, each once, with their split, without the dropped ones, in order.
        queries: Queries with their split; queries left without an answer are dropped.
        qrels: Judgements whose query and page are of one split.
        fates: Key of `account.FATES` -> the fate of each row that `split_corpus` was given.
        cut_documents: Documents of which parts went to splits.
    """

    pages: pd.DataFrame
    queries: pd.DataFrame
    qrels: pd.DataFrame
    fates: dict[str, pd.Series]
    cut_documents: frozenset[str]


def without_leaks(
    pages: pd.DataFrame,
    queries: pd.DataFrame,
    qrels: pd.DataFrame,
    left_out: set[str],
    cut_documents: frozenset[str],
) -> Split:
    """The split corpus, each page once, without pages, qrels and queries that would leak.

    Dropped are first the pages beside a cut, then pages whose pixels stand in a split higher in
    RANK, judgements across splits, and queries that this leaves without an answer.

    Args:
        pages: With their split.
        queries: With their split.
        qrels: query_id, page_id, relevance.
        left_out: Ids of the pages beside a cut. Where a document is cut into parts for several
            splits, its text may run on from a part to the next.
        cut_documents: Documents that were cut; they are only passed on.
    """
    # Of pages with equal page_id the first one with a document or text stays.
    bare = pages["document_id"].isna() & (pages["text_hash"] == "")
    unique = pages.iloc[bare.argsort(kind="stable")].drop_duplicates("page_id").sort_values("row")
    page_fates = pd.Series(MERGED, pages.index)
    page_fates[unique.index] = KEPT
    page_beside_cut = unique["page_id"].isin(left_out)
    page_fates[unique.index[page_beside_cut]] = BESIDE_CUT
    unique = unique[~page_beside_cut]
    rank = unique["split"].map(RANK)
    leaks = rank < rank.groupby(unique["digest"]).transform("max")
    page_fates[unique.index[leaks]] = LEAKED
    safe_pages = unique[~leaks].reset_index(drop=True)

    page_split = qrels["page_id"].map(safe_pages.set_index("page_id")["split"])
    same = page_split == qrels["query_id"].map(queries.set_index("query_id")["split"])
    positive, beside_cut = qrels["relevance"] > 0, qrels["page_id"].isin(left_out)
    answered = queries["query_id"].isin(qrels.loc[same & positive, "query_id"])
    cut_off = queries["query_id"].isin(qrels.loc[beside_cut & positive, "query_id"])
    query_fates = pd.Series(
        np.select([answered, cut_off], [KEPT, BESIDE_CUT], LEAKED), queries.index
    )
    of_query = qrels["query_id"].map(query_fates.set_axis(queries["query_id"]))
    leaked = page_split.isna() | (~same & positive)
    # The first condition that holds decides: a page beside a cut is in no split, and so is one
    # that leaked.
    qrel_fates = pd.Series(
        np.select(
            [beside_cut, leaked, ~same, of_query != KEPT],
            [BESIDE_CUT, LEAKED, OTHER_SPLIT, of_query],
            KEPT,
        ),
        qrels.index,
    )
    return Split(
        safe_pages,
        queries[query_fates == KEPT].reset_index(drop=True),
        qrels[qrel_fates == KEPT].reset_index(drop=True),
        {"pages": page_fates, "queries": query_fates, "judgements": qrel_fates},
        cut_documents,
    )


def check_leaks(split: Split) -> None:
    """Raise AssertionError if a qrel crosses splits, or if two splits hold equal stored pixels."""
    pages = split.pages.set_index("page_id")["split"]
    queries = split.queries.set_index("query_id")["split"]
    crossing = split.qrels["query_id"].map(queries) != split.qrels["page_id"].map(pages)
    if crossing.any():
        raise AssertionError(f"leak: a judgement crosses splits: {split.qrels[crossing].iloc[0]}")
    spread = split.pages.groupby("digest")["split"].nunique()
    if (spread > 1).any():
        raise AssertionError(f"leak: the pixels {spread.idxmax()} stand in two splits")
