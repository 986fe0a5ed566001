"""Split queries and pages into train, dev and eval so that no page teaches what it then tests.

A unit is all pages and queries that a shared document, edition or answer links. They go to one
split as a whole, so that nothing leaks. Which units go to dev and eval is drawn by a hash of seed
and name, so that a changed document moves few others.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from pagefinder.data.corpus import SPLITS
from pagefinder.preparing.cuts import beside_cuts, parts, with_sections
from pagefinder.preparing.draws import DEV_QUERIES, Shares, assign
from pagefinder.preparing.leaks import RANK, Split, check_leaks, without_leaks
from pagefinder.preparing.units import Node, document_pages, find_units, nodes

# Splits that have less than this share of the questions that they should have need cut documents.
ENOUGH = 2 / 3
EMPTY = 1e-9  # a fullness below this is 0


@dataclass(frozen=True)
class Cuts:
    """Which documents are cut into which parts.

    Attributes:
        documents: What is cut; empty: every document goes to a split as a whole.
        tenths: Cut into tenths, of however few pages. False: at the sections, and the pages beside
            the cuts are left out.
        spare: Share of questions that is drawn for dev beyond what it needs, as pages beside the
            cuts take questions with them.
    """

    documents: frozenset[str] = frozenset()
    tenths: bool = False
    spare: float = 0.0


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
    split as a whole. Where whole documents do not fill the splits, long documents are cut.

    Args:
        pages: Usable pages, duplicates included: page_id, document_id, page_number, section,
            split (the source's, or None), digest, text_hash, row.
        queries: query_id, split (the source's, or None); counts, where only some of them count
            towards the shares: the others follow their pages.
        qrels: query_id, page_id, relevance.
        eval_share: Share of the questions without a split of the source that go to eval.
        dev_share: Share of the train questions that go to dev, unless the source has a dev split.
        seed: Changes which units are drawn.

    Returns:
        Pages (identical ones merged), queries and qrels of the splits, and what was dropped.
    """
    pages = with_sections(pages.assign(source_split=pages["split"].map(_or_empty)))
    queries = queries.assign(source_split=queries["split"].map(_or_empty))
    queries = queries if "counts" in queries else queries.assign(counts=True)
    drawn = bool((queries["source_split"] == "").all() and (pages["source_split"] == "").all())
    documented = drawn and bool(pages["document_id"].notna().any())
    shares = Shares(eval_share, dev_share, seed, fill_dev=documented)
    best = _split(pages, queries, qrels, shares, Cuts())
    if documented:
        best = _cut_where_needed(best, pages, queries, qrels, shares)
    check_leaks(best)
    return best


def _cut_where_needed(
    whole: Split, pages: pd.DataFrame, queries: pd.DataFrame, qrels: pd.DataFrame, shares: Shares
) -> Split:
    """The split of whole documents if it fills train, dev and eval; else the fullest of cut ones.

    Long documents, those with more questions than dev needs, are cut at their sections. Where a
    split is empty all the same, all documents are, and where sections are too short for that, they
    are cut into tenths.
    """
    wanted = _wanted_queries(int(queries["counts"].sum()), shares)
    counted = qrels["query_id"].isin(queries.loc[queries["counts"], "query_id"])
    answers = qrels[counted & (qrels["relevance"] > 0)]
    answered = answers[["query_id", "page_id"]].drop_duplicates()
    asked = answered.merge(pages[["page_id", "document_id"]].drop_duplicates(), on="page_id")
    questions = asked.groupby("document_id")["query_id"].nunique()
    sections = pages.groupby("document_id")["section"].nunique()
    several = frozenset(sections.index[sections > 1])
    long = several & frozenset(questions.index[questions > wanted["dev"]])
    best, fullest = whole, _fullness(whole, wanted)
    attempts = [(Cuts(long, spare=spare), 1.0) for spare in (0.0, 0.25, 0.5)]
    tenths = Cuts(frozenset(sections.index), tenths=True)
    # Each with the fullness from which on it is not tried: the last two only fill an empty split.
    for cuts, enough in [*attempts, (Cuts(several), EMPTY), (tenths, EMPTY)]:
        if not cuts.documents or fullest >= enough:
            continue
        split = _split(pages, queries, qrels, shares, cuts)
        fullness = _fullness(split, wanted)
        if fullness > fullest:
            best, fullest = split, fullness
    return best


def _wanted_queries(total: int, shares: Shares) -> dict[str, float]:
    """Number of questions that each split should have, of `total`."""
    train = total * (1 - shares.eval)
    share, least = shares.of_dev(train)
    dev = max(share * train, least)
    return {"train": train - dev, "dev": dev, "eval": total - train}


def _fullness(split: Split, wanted: Mapping[str, float]) -> float:
    """How well the splits are filled.

    0: one of them has no questions. 1: each has ENOUGH of the questions that it should have, and
    dev DEV_QUERIES of them, if it should have as many.
    """
    counts = split.queries[split.queries["counts"]]["split"].value_counts()
    shares = [counts.get(name, 0) / (ENOUGH * wanted[name]) for name in SPLITS if wanted[name]]
    if wanted["dev"] >= DEV_QUERIES:
        shares.append(counts.get("dev", 0) / DEV_QUERIES)
    return min([1.0, *shares])


def _split(
    pages: pd.DataFrame, queries: pd.DataFrame, qrels: pd.DataFrame, shares: Shares, cuts: Cuts
) -> Split:
    """Draw the splits of all pages and queries, and drop what leaks; pages have their sections."""
    by_query = queries[["query_id", "source_split", "counts"]]
    answers = qrels[qrels["relevance"] > 0].merge(by_query, on="query_id")
    counted = answers[answers["counts"]]
    part = parts(pages, cuts.documents, cuts.tenths, set(counted["page_id"]))
    # Where the source splits its queries, a page that answers none is a distractor, see below.
    unjudged = {""} if (by_query["source_split"] == "").any() else set[str]()
    unit_of = find_units(document_pages(pages, answers, part, unjudged), answers)
    answering = Counter(unit_of[node] for node in set(nodes(counted, "query", "query_id")))
    unit_split = assign(set(unit_of.values()), answering, shares, cuts.spare)
    node_split = {node: unit_split[unit] for node, unit in unit_of.items()}
    query_splits = [node_split[node] for node in nodes(queries, "query", "query_id")]
    queries = queries.assign(split=query_splits)
    pages = pages.assign(split=_page_splits(pages, queries, qrels, node_split))
    left_out = set[str]() if cuts.tenths else beside_cuts(pages, cuts.documents)
    return without_leaks(pages, queries, qrels, left_out, cuts.documents)


def _or_empty(split: object) -> str:
    """The split as a text; empty for None and NaN."""
    return split if isinstance(split, str) else ""


def _page_splits(
    pages: pd.DataFrame, queries: pd.DataFrame, qrels: pd.DataFrame, node_split: dict[Node, str]
) -> pd.Series:
    """The split of each page: the highest in RANK of the splits that claim it, eval if none does.

    The split of its unit claims a page, and so does the split that the source gives it. A query
    claims its negatives: strongly where the source put the query into dev or eval, else weakly. A
    weak claim counts only for a page without a strong one. Otherwise a few drawn queries would take
    their negatives, which may be the answers of many other queries, out of train. Train's own
    claim is weak too: where a negative is nothing but that, dev has the better use for it. A page
    that no split claims is a distractor that somebody put into the corpus.
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
            negatives.assign(strong=negatives["source_split"].isin(["dev", "eval"])),
        ]
    )
    claims["rank"] = claims["split"].map(RANK)
    strongest = claims.sort_values(["strong", "rank"]).drop_duplicates("page_id", keep="last")
    return pages["page_id"].map(strongest.set_index("page_id")["split"]).fillna("eval")
