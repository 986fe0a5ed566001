"""Split queries and pages into train, dev and eval so that no page teaches what it then tests.

A unit is all pages and queries that a shared document, edition or answer links. They go to one
split as a whole, so that nothing leaks. Which units go to dev and eval is drawn by a hash of seed
and name, so that a changed document moves few others.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from pagefinder.preparing.units import (
    Member,
    Node,
    document_pages,
    find_units,
    has_few_documents,
    nodes,
)

# Where two splits claim a page, the one that measures wins over the one that learns.
RANK = {"train": 0, "dev": 1, "eval": 2}


@dataclass(frozen=True)
class Split:
    """A split corpus and what was dropped to keep the splits apart.

    Attributes:
        pages: Usable pages, each once, with their split, without the dropped ones, in order.
        queries: Queries with their split; queries left without an answer are dropped.
        qrels: Judgements whose query and page are of one split.
        dropped: Counts of leaking pages, judgements and queries.
        few_documents: Fewer documents than splits, so parts of documents went to splits.
    """

    pages: pd.DataFrame
    queries: pd.DataFrame
    qrels: pd.DataFrame
    dropped: dict[str, int]
    few_documents: bool


def split_corpus(
    pages: pd.DataFrame,
    queries: pd.DataFrame,
    qrels: pd.DataFrame,
    eval_share: float,
    dev_share: float,
    seed: int,
) -> Split:
    """Give each page and query a split, and drop what would leak from one split to another.

    A unit is all pages and queries that a shared document, edition or answer links: they go to one
    split as a whole.

    Args:
        pages: Usable pages, duplicates included: page_id, document_id, page_number,
            split (the source's, or None), digest, text_hash, row.
        queries: query_id, split (the source's, or None).
        qrels: query_id, page_id, relevance.
        eval_share: Share of the units without a split of the source that go to eval.
        dev_share: Share of the train units that go to dev, unless the source has a dev split.
        seed: Changes which units are drawn.

    Returns:
        Pages (identical ones merged), queries and qrels of the splits, and what was dropped.
    """
    pages = pages.assign(source_split=pages["split"].map(_or_empty))
    queries = queries.assign(source_split=queries["split"].map(_or_empty))
    by_query = queries[["query_id", "source_split"]]
    answers = qrels[qrels["relevance"] > 0].merge(by_query, on="query_id")
    few_documents = has_few_documents(pages, queries, answers)
    unit_of = find_units(document_pages(pages, answers, few_documents), answers)
    answering = {unit_of[node] for node in nodes(answers, "page", "page_id")}
    unit_split = assign(set(unit_of.values()), answering, eval_share, dev_share, seed)
    node_split = {node: unit_split[unit] for node, unit in unit_of.items()}
    queries["split"] = [node_split[node] for node in nodes(queries, "query", "query_id")]
    pages["split"] = _page_splits(pages, queries, qrels, node_split)
    split = _without_leaks(pages, queries, qrels, few_documents)
    check_leaks(split)
    return split


def draw(names: Iterable[Member], share: float, salt: str) -> set[Member]:
    """Draw a share of names: those with the smallest hashes of `salt` and name.

    At least one name is drawn and at least one stays for the other split. None is drawn where
    there is only one, or `share` is 0.
    """
    ordered = sorted(
        set(names), key=lambda name: hashlib.sha256(f"{salt}\0{name}".encode()).hexdigest()
    )
    if share <= 0 or len(ordered) < 2:
        return set()
    return set(ordered[: min(max(1, round(share * len(ordered))), len(ordered) - 1)])


def assign(
    units: set[Node], answering: set[Node], eval_share: float, dev_share: float, seed: int
) -> dict[Node, str]:
    """The split of each unit: the one that the source gives, else a drawn one.

    Args:
        units: Each is named by its smallest node.
        answering: Units with a page that answers a query. They are drawn apart from the rest, so
            that each split gets its share of both.
        eval_share: Share of the units without a split of the source that go to eval.
        dev_share: Share of the train units that go to dev, unless the source has a dev split.
        seed: Changes which units are drawn.
    """
    result = {unit: unit.source_split or "train" for unit in units}
    has_dev = "dev" in result.values()
    for part in (answering, units - answering):
        free = {unit for unit in part if not unit.source_split}
        result |= dict.fromkeys(draw(free, eval_share, f"{seed} eval"), "eval")
        if not has_dev:
            train = {unit for unit in part if result[unit] == "train"}
            result |= dict.fromkeys(draw(train, dev_share, f"{seed} dev"), "dev")
    return result


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


def _or_empty(split: object) -> str:
    """The split as a text; empty for None and NaN."""
    return split if isinstance(split, str) else ""


def _page_splits(
    pages: pd.DataFrame, queries: pd.DataFrame, qrels: pd.DataFrame, node_split: dict[Node, str]
) -> pd.Series:
    """The split of each page: the highest in RANK of the splits that claim it, eval if none does.

    The split of its unit claims a page, and so does the split that the source gives it. A query
    claims its negatives: strongly where the source put the query into its split, else weakly. A
    weak claim counts only for a page without a strong one. Otherwise a few drawn queries would take
    their negatives, which may be the answers of many other queries, out of train. A page that no
    split claims is a distractor that somebody put into the corpus.
    """
    units = [(node.name, split) for node, split in node_split.items() if node.kind == "page"]
    sources = pages.loc[pages["source_split"] != "", ["page_id", "source_split"]]
    negatives = qrels.loc[qrels["relevance"] <= 0, ["query_id", "page_id"]].merge(
        queries[["query_id", "split", "source_split"]], on="query_id"
    )
    claims = pd.concat(
        [
            pd.DataFrame(units, columns=["page_id", "split"]).assign(strong=True),
            sources.rename(columns={"source_split": "split"}).assign(strong=True),
            negatives.assign(strong=negatives["split"] == negatives["source_split"]),
        ]
    )
    claims["rank"] = claims["split"].map(RANK)
    strongest = claims.sort_values(["strong", "rank"]).drop_duplicates("page_id", keep="last")
    return pages["page_id"].map(strongest.set_index("page_id")["split"]).fillna("eval")


def _without_leaks(
    pages: pd.DataFrame, queries: pd.DataFrame, qrels: pd.DataFrame, few_documents: bool
) -> Split:
    """The split corpus, each page once, without pages, qrels and queries that would leak.

    Dropped are pages whose pixels stand in a split higher in RANK, judgements across splits, and
    queries that this leaves without an answer.
    """
    # Of pages with equal page_id the first one with a document or text stays.
    bare = pages["document_id"].isna() & (pages["text_hash"] == "")
    ordered = pages.iloc[bare.argsort(kind="stable")]
    unique = ordered.drop_duplicates("page_id").sort_values("row").reset_index(drop=True)
    rank = unique["split"].map(RANK)
    leaks = rank < rank.groupby(unique["digest"]).transform("max")
    safe_pages = unique[~leaks].reset_index(drop=True)
    page_split = qrels["page_id"].map(safe_pages.set_index("page_id")["split"])
    same = page_split == qrels["query_id"].map(queries.set_index("query_id")["split"])
    answered = set(qrels.loc[same & (qrels["relevance"] > 0), "query_id"])
    safe_queries = queries[queries["query_id"].isin(answered)].reset_index(drop=True)
    safe_qrels = qrels[same & qrels["query_id"].isin(answered)].reset_index(drop=True)
    dropped = {
        "pages": int(leaks.sum()),
        "judgements": len(qrels) - len(safe_qrels),
        "queries": len(queries) - len(safe_queries),
    }
    return Split(safe_pages, safe_queries, safe_qrels, dropped, few_documents)
