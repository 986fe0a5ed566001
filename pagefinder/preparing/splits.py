"""Split queries and pages into train, dev and eval so that no page teaches what it then tests.

What belongs together stays together: pages of one document, pages that answer one query, editions
of one document. Which of these units go to dev and eval is drawn by a hash of seed and name, so
that a changed document moves few others.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

# Where two splits claim a page, the one that measures wins over the one that learns.
RANK = {"train": 0, "dev": 1, "eval": 2}
# With fewer documents than splits, documents are cut into this many parts of consecutive pages.
FEWEST_DOCUMENTS, PARTS = 3, 10
# A page in more documents than this makes no editions: it is a form, and counting pairs would cost
# the square of them.
COMMON = 50


@dataclass(frozen=True)
class Split:
    """A split corpus and what was dropped to keep the splits apart.

    Attributes:
        pages: The given pages with their split, without the dropped ones, in order.
        queries: The given queries with their split, without those that lost every answer.
        qrels: Judgements whose query and page are of one split.
        dropped: Counts of leaking pages, judgements and queries.
        by_part: Documents were too few, so parts of them were split.
    """

    pages: pd.DataFrame
    queries: pd.DataFrame
    qrels: pd.DataFrame
    dropped: dict[str, int]
    by_part: bool


def split_corpus(
    found: pd.DataFrame,
    queries: pd.DataFrame,
    qrels: pd.DataFrame,
    eval_share: float,
    dev_share: float,
    seed: int,
) -> Split:
    """Give every page and query a split.

    Args:
        found: Usable pages, identical ones still repeated: page_id, document_id, page_number,
            split (the source's own, or None), digest.
        queries: query_id, split (the source's own, or None).
        qrels: query_id, page_id, relevance.
        eval_share: Of the units without a split of their own.
        dev_share: Of the train units.
        seed: Of the draw.
    """
    positive = qrels[qrels["relevance"] > 0]
    own = dict(zip(queries["query_id"], queries["split"].map(_scope), strict=True))
    scopes: dict[str, set[str]] = {}
    answers, members = [], []
    for query_id, pages in positive.groupby("query_id", sort=False)["page_id"]:
        scope = own[query_id]
        answers.append([f"{scope}/page/{page}" for page in pages])
        for page in pages:
            scopes.setdefault(page, set()).add(scope)
    documents = found[found["document_id"].notna()]
    by_part = not any(own.values()) and _too_few(documents, set(scopes))
    documents = documents.assign(part=_parts(documents, by_part))
    drawn_pages = []
    columns = (documents[name] for name in ("page_id", "split", "part", "digest"))
    for page, given, part, digest in zip(*columns, strict=True):
        for scope in {_scope(given)} if _scope(given) else scopes.get(page, {""}):
            members.append([f"{scope}/document/{part}", f"{scope}/page/{page}"])
            if not scope:
                drawn_pages.append((f"/document/{part}", digest))
    component = components(answers + members + editions(drawn_pages))
    units = {root: root.split("/", 1)[0] or None for root in component.values()}
    asked = {component[group[0]] for group in answers}
    unit_split = assign(units, asked, eval_share, dev_share, seed)
    drawn = {node: unit_split[root] for node, root in component.items()}
    answer = positive.drop_duplicates("query_id").set_index("query_id")["page_id"]
    query_split = queries["query_id"].map(
        lambda query_id: drawn[f"{own[query_id]}/page/{answer[query_id]}"]
    )
    page_split = _page_splits(found, drawn, scopes, qrels, queries.assign(split=query_split), own)
    return _separate(found, page_split, queries.assign(split=query_split), qrels, by_part)


def components(groups: Iterable[Iterable[str]]) -> dict[str, str]:
    """Name of the connected component of every member; groups that share a member are connected.

    Union-find with path halving (Tarjan and van Leeuwen, 1984). The smallest name in a component
    names it, so that the order of the groups does not matter.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for group in groups:
        first = None
        for name in group:
            parent.setdefault(name, name)
            first = first or name
            low, high = sorted((root(first), root(name)))
            parent[high] = low
    return {name: root(name) for name in parent}


def editions(pages: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Pairs of documents of which one repeats the other: most of their pages are the same.

    Two editions of a manual, one to learn from and one to be measured on, would make the measure a
    memory test. It takes more than half of the shorter document: a page or two that everybody's
    documents have, blank or of legal notes, would else join all of them into one unit that cannot
    be split, and so would a file that is nothing but such a page. Where fewer pages are the same,
    those are dropped from train and the others stay.

    Args:
        pages: Document and digest of the stored pixels of every page.
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


def draw(names: Iterable[str], share: float, salt: str) -> set[str]:
    """The share of names with the smallest salted hashes: at least one of two or more.

    Never all of them: something has to stay for the other split.
    """
    ordered = sorted(
        set(names), key=lambda name: hashlib.sha256(f"{salt}\0{name}".encode()).hexdigest()
    )
    if share <= 0 or len(ordered) < 2:
        return set()
    return set(ordered[: min(max(1, round(share * len(ordered))), len(ordered) - 1)])


def assign(
    units: Mapping[str, str | None],
    asked: set[str],
    eval_share: float,
    dev_share: float,
    seed: int,
) -> dict[str, str]:
    """Split of every unit.

    Args:
        units: Unit to the split its source gives, or None where that is to be drawn.
        asked: Units that hold the answer to some query. They are drawn apart from the rest, so
            that every split gets its share of both.
        eval_share: Of the units without a split of their own, that go to eval.
        dev_share: Of the units that would be train, that go to dev, unless the source has a dev.
        seed: Of the draw.
    """
    result: dict[str, str] = {}
    has_dev = "dev" in units.values()
    for part in (asked, set(units) - asked):
        free = {unit for unit in part if units[unit] is None}
        evaluated = draw(free, eval_share, f"{seed} eval")
        train = {unit for unit in part if units[unit] == "train"} | (free - evaluated)
        dev = set() if has_dev else draw(train, dev_share, f"{seed} dev")
        for unit in part:
            given = units[unit] or ("eval" if unit in evaluated else "train")
            result[unit] = "dev" if unit in dev else given
    return result


def check_leaks(split: Split) -> None:
    """Assert that no judgement crosses splits and no stored pixels stand in two of them."""
    pages = split.pages.set_index("page_id")["split"]
    queries = split.queries.set_index("query_id")["split"]
    crossing = split.qrels["query_id"].map(queries) != split.qrels["page_id"].map(pages)
    if crossing.any():
        raise AssertionError(f"leak: a judgement crosses splits: {split.qrels[crossing].iloc[0]}")
    spread = split.pages.groupby("digest")["split"].nunique()
    if (spread > 1).any():
        raise AssertionError(f"leak: the pixels {spread.idxmax()} stand in two splits")


def _scope(split: object) -> str:
    return split if isinstance(split, str) else ""


def _too_few(documents: pd.DataFrame, asked: set[str]) -> bool:
    """Whether the documents that answer queries, editions counted once, are fewer than splits."""
    if documents["split"].notna().any():
        return False
    names = documents["document_id"]
    same = editions(zip(names, documents["digest"], strict=True))
    edition = components([*([name] for name in names), *same])
    return 0 < names[documents["page_id"].isin(asked)].map(edition).nunique() < FEWEST_DOCUMENTS


def _parts(documents: pd.DataFrame, by_part: bool) -> pd.Series:
    """Name of the document of every row, or of a tenth of it."""
    if not by_part:
        return documents["document_id"]
    number = documents["page_number"].fillna(1).clip(lower=1)
    last = number.groupby(documents["document_id"]).transform("max").clip(lower=1)
    tenth = ((number - 1) * PARTS // last).astype(int).astype(str)
    return documents["document_id"] + "#" + tenth


def _page_splits(
    found: pd.DataFrame,
    drawn: dict[str, str],
    scopes: dict[str, set[str]],
    qrels: pd.DataFrame,
    queries: pd.DataFrame,
    own: dict[str, str],
) -> dict[str, str]:
    """Split of every page: the strongest of those that claim it, eval if none does.

    A negative of a query claims it too: strongly where the source itself put the query into dev or
    eval; where that was drawn, only a page that answers nothing, or a few drawn queries would take
    their negatives, and with them the answers of many others, out of train. A page that no query
    and no document knows is a distractor that somebody put into the corpus.
    """
    claims: dict[str, str] = {}
    weak: dict[str, str] = {}

    def claim(page: str, split: str, claims: dict[str, str] = claims) -> None:
        if RANK[split] >= RANK[claims.get(page, split)]:
            claims[page] = split

    for page, given in zip(found["page_id"], found["split"], strict=True):
        for scope in scopes.get(page, set()) | {_scope(given)}:
            node = f"{scope}/page/{page}"
            if node in drawn or scope:
                claim(page, drawn.get(node, scope))
    user = dict(zip(queries["query_id"], queries["split"], strict=True))
    negatives = qrels[qrels["relevance"] <= 0]
    for query_id, page_id in negatives[["query_id", "page_id"]].itertuples(index=False):
        drawn_split = own[query_id] != user[query_id]
        claim(page_id, user[query_id], weak if drawn_split else claims)
    return {page: claims.get(page, weak.get(page, "eval")) for page in found["page_id"]}


def _separate(
    found: pd.DataFrame,
    page_split: dict[str, str],
    queries: pd.DataFrame,
    qrels: pd.DataFrame,
    by_part: bool,
) -> Split:
    """Drop pages whose pixels a stronger split has, then what they leave hanging."""
    # Of identical pages the first that says something of itself stands for all.
    mute = found["document_id"].isna() & (found["text_hash"] == "")
    ordered = found.assign(mute=mute).sort_values("mute", kind="stable")
    pages = ordered.drop_duplicates("page_id").sort_values("row").reset_index(drop=True)
    pages["split"] = pages["page_id"].map(page_split)
    rank = pages["split"].map(RANK)
    stays = rank == rank.groupby(pages["digest"]).transform("max")
    kept = pages[stays].reset_index(drop=True)
    split_of = dict(zip(kept["page_id"], kept["split"], strict=True))
    user = dict(zip(queries["query_id"], queries["split"], strict=True))
    same = qrels["page_id"].map(split_of) == qrels["query_id"].map(user)
    judgements = qrels[same].reset_index(drop=True)
    answered = set(judgements.loc[judgements["relevance"] > 0, "query_id"])
    alive = queries["query_id"].isin(answered)
    judgements = judgements[judgements["query_id"].isin(answered)].reset_index(drop=True)
    dropped = {
        "pages": int((~stays).sum()),
        "judgements": len(qrels) - len(judgements),
        "queries": int((~alive).sum()),
    }
    split = Split(kept, queries[alive].reset_index(drop=True), judgements, dropped, by_part)
    check_leaks(split)
    return split
