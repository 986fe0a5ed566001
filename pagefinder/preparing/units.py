"""Units: all pages and queries that a shared document, edition or answer links.

A unit goes to one split as a whole, so that nothing leaks.
"""

import itertools
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

import pandas as pd
from scipy.cluster.hierarchy import DisjointSet

# A page in more documents than this makes no editions: it is a form, and counting pairs would cost
# the square of them.
COMMON = 50


class Node(NamedTuple):
    """A page, document or query, under the split that the source gives it.

    A page under two splits is two nodes, so that it joins nothing across them.

    Attributes:
        source_split: Empty where the source gives none: it is drawn.
        kind: document, page or query.
        name: Unique among the nodes of its kind.
    """

    source_split: str
    kind: str
    name: str

    def __str__(self) -> str:
        """What is hashed to draw: any other text would move the pages of published splits."""
        return "/".join(self)


Member = TypeVar("Member", bound=str | Node)


def document_pages(
    pages: pd.DataFrame, answers: pd.DataFrame, part: pd.Series, unjudged: set[str]
) -> pd.DataFrame:
    """The pages that have a document, with the column `part`, once for each of their source splits.

    A page has its own source split; without one, those of the queries that it answers; where it
    answers none, `unjudged`.

    Args:
        pages: document_id, page_id, source_split.
        answers: page_id and source_split of each qrel with relevance above 0.
        part: What goes to a split as a whole: the document of each page, or its section.
        unjudged: Source splits of a page that answers no query; none: no document holds it.
    """
    rows = pages[pages["document_id"].notna()]
    query_splits = answers.groupby("page_id")["source_split"].agg(set).to_dict()
    splits = [
        {split} if split else query_splits.get(page_id, unjudged)
        for page_id, split in zip(rows["page_id"], rows["source_split"], strict=True)
    ]
    source_splits = pd.Series(splits, rows.index, dtype=object)
    rows = rows.assign(part=part, source_split=source_splits)
    return rows.explode("source_split").dropna(subset="source_split")


def find_units(documents: pd.DataFrame, answers: pd.DataFrame) -> dict[Node, Node]:
    """Node -> the smallest node of its unit, for the nodes of pages, documents and queries.

    Editions are joined only if their split is drawn: the source may have put them into two splits.

    Args:
        documents: As `document_pages` returns them.
        answers: query_id, page_id, source_split of each qrel with relevance above 0.
    """
    free = documents[documents["source_split"] == ""]
    same = editions(zip(free["part"], free["digest"], strict=True))
    document_nodes = nodes(documents, "document", "part")
    query_nodes = nodes(answers, "query", "query_id")
    pairs = [
        *zip(document_nodes, nodes(documents, "page", "page_id"), strict=True),
        *zip(query_nodes, nodes(answers, "page", "page_id"), strict=True),
        *((Node("", "document", one), Node("", "document", other)) for one, other in same),
    ]
    return components(pairs)


def nodes(rows: pd.DataFrame, kind: str, column: str) -> list[Node]:
    """The node of each row, named by `column`; rows have a column `source_split`."""
    splits, names = rows["source_split"], rows[column]
    return [Node(split, kind, name) for split, name in zip(splits, names, strict=True)]


def components(groups: Iterable[Iterable[Member]]) -> dict[Member, Member]:
    """Member -> the smallest member of its component.

    Groups that share a member are one component, whatever the order of groups and members.
    """
    sets: DisjointSet[Member] = DisjointSet()
    for first, *others in groups:
        sets.add(first)
        for other in others:
            sets.add(other)
            sets.merge(first, other)
    smallest: dict[Member, Member] = {}
    for members in sets.subsets():
        smallest |= dict.fromkeys(members, min(members))
    return smallest


def editions(pages: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Pairs of documents of which one repeats the other: most of their pages are the same.

    Two editions of a manual, one to learn from and one to be measured on, would make the measure a
    memory test. It takes more than half of the shorter document: a page or two that everybody's
    documents have, blank or of legal notes, would else join all of them into one unit that cannot
    be split, and so would a file that is nothing but such a page. Where fewer pages are the same,
    only these pages are dropped from train.

    Args:
        pages: (document, digest of the stored pixels) of each page.

    Returns:
        Pairs of documents, each sorted.
    """
    holders: dict[str, set[str]] = {}
    for document, digest in pages:
        holders.setdefault(digest, set()).add(document)
    length = Counter(itertools.chain.from_iterable(holders.values()))
    shared = Counter(
        pair
        for documents in holders.values()
        if len(documents) <= COMMON
        for pair in itertools.combinations(sorted(documents), 2)
    )
    return [
        [a, b]
        for (a, b), count in shared.items()
        if count > 1 and 2 * count > min(length[a], length[b])
    ]
