"""Hard negatives from stored vectors: exact candidates, rules in a fixed order, every drop counted.

All work happens on tables of pairs whose `query` and `page` columns are row numbers of the corpus.
`mine` gives every pair it considered with the name of the rule that dropped it, or KEPT, or SPARE
for a pair that passed every rule and was not needed. The same code serves the embedder's negatives
and the reranker's candidates.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa

from pagefinder.data.corpus import Corpus
from pagefinder.mining.rules import exclusions, first_rule
from pagefinder.params import Mine
from pagefinder.retrieval.nearest import Vectors, nearest, pair_scores

# data/negatives.parquet
SCHEMA = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("page_id", pa.string(), nullable=False),
        pa.field("rank", pa.int32()),  # among all train pages, from 1; null: given, and far away
        pa.field("score", pa.float32(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),  # given | mined
    ]
)
KEPT, SPARE = "kept", "spare"
COLUMNS = ["query", "page", "rank", "score", "origin", "rule"]
# "weighted" draws pages in proportion to exp(score / this): the weight that a contrastive loss of
# that temperature gives them.
WEIGHT_TEMPERATURE = 0.05
# Gives the probability that each pair (columns query, page) is an answer.
Veto = Callable[[pd.DataFrame], np.ndarray]


def wanted_by_query(known: pd.DataFrame, per_query: int, per_positive: int = 0) -> pd.Series:
    """Number of negatives by query row, for every query that has a positive."""
    positives = known.loc[known["relevance"] > 0, "query"].value_counts().sort_index()
    return positives * per_positive + per_query


def mine(
    corpus: Corpus,
    vectors: Vectors,
    rules: Mine,
    known: pd.DataFrame,
    wanted: pd.Series,
    *,
    seed: int,
    device: str = "cpu",
    veto: Veto | None = None,
) -> pd.DataFrame:
    """Assess the pages of every wanted query and choose among them: see `assess` and `choose`."""
    pairs = assess(corpus, vectors, rules, known, wanted.index, device)
    return choose(pairs, rules, wanted, seed, veto)


def assess(
    corpus: Corpus,
    vectors: Vectors,
    rules: Mine,
    known: pd.DataFrame,
    queries: pd.Index,
    device: str = "cpu",
) -> pd.DataFrame:
    """Consider the source's negatives and the nearest train pages of every query, apply the rules.

    The margin is NV-Retriever's TopK-PercPos (Moreira et al., 2024, arXiv 2407.15831): a negative
    scores at most positive - margin * |positive|, where several positives count by the lowest.
    The source's own negatives are checked against the split and the positives, not by score.

    Args:
        corpus: Whose train pages are searched.
        vectors: Of all its queries and pages.
        rules: Settled by `settle_rules`.
        known: Judgements as `qrel_rows` gives them; only these pairs count as positive or given.
        queries: Rows of the queries to mine.
        device: Where the search runs.

    Returns:
        query, page, rank (from 1, among all train pages; 0 beyond those looked at), score, origin
        (given or mined), rule ("" where none dropped the pair, the veto being `choose`'s); given
        pairs first, by query in the source's order, then the others by query and rank.
    """
    known = known[known["query"].isin(queries)]
    positives = known[known["relevance"] > 0]
    excluded = exclusions(corpus, rules, positives)
    given = known.loc[known["relevance"] == 0, ["query", "page"]]
    given = _given(corpus, vectors, given[: 0 if rules.given == "ignore" else None], excluded)
    right = given.loc[given["rule"] == "", ["query", "page"]].assign(rule="given")
    pairs = _considered(corpus, vectors, rules, queries, first_rule(excluded, right), device)
    _score_rules(pairs, vectors, rules, positives)
    found = pairs.set_index(["query", "page"])["rank"]
    ranks = found.reindex(pd.MultiIndex.from_frame(given[["query", "page"]]), fill_value=0)
    return pd.concat([given.assign(rank=ranks.to_numpy()), pairs], ignore_index=True)[COLUMNS]


def choose(
    pairs: pd.DataFrame, rules: Mine, wanted: pd.Series, seed: int, veto: Veto | None = None
) -> pd.DataFrame:
    """Mark pairs that no rule dropped as KEPT until every query has its number, the rest as SPARE.

    Given pairs come first and in the source's order, whatever the sampling of the others. A query
    that runs out of pages keeps what it has. The veto, a cross-encoder, sees a pair only
    when its turn comes, and never the source's own negatives: it is by far the dearest rule.

    Args:
        pairs: Of `assess`.
        rules: The sampling, the use of given negatives, the veto's limit.
        wanted: Number of negatives by query row.
        seed: Of the sampling.
        veto: Drops the pairs to which it gives more than `veto.max_score`.
    """
    late = pairs["origin"] != "given"
    drawn = _order(pairs, rules.sampling, seed)
    pairs = pairs.assign(order=np.where(late, drawn, np.arange(len(pairs))), late=late)
    if rules.given == "use":
        pairs["rule"] = pairs["rule"].mask((pairs["rule"] == "") & pairs["late"], SPARE)
    while True:
        standing = pairs[pairs["rule"] == ""].sort_values(["late", "order"], kind="stable")
        kept = pairs.loc[pairs["rule"] == KEPT, "query"].value_counts()
        missing = wanted.sub(kept, fill_value=0)
        turn = standing.groupby("query").cumcount() < standing["query"].map(missing)
        chosen = standing[turn].sort_index()
        if chosen.empty:
            break
        pairs.loc[chosen.index, "rule"] = KEPT
        mined = chosen.loc[chosen["late"], ["query", "page"]]
        if veto is not None and len(mined):
            answers = veto(mined) > rules.veto.max_score
            pairs.loc[mined.index[answers], "rule"] = "veto"
    pairs["rule"] = pairs["rule"].replace("", SPARE)
    return pairs[COLUMNS]


def _given(
    corpus: Corpus, vectors: Vectors, given: pd.DataFrame, excluded: pd.DataFrame
) -> pd.DataFrame:
    """The source's negatives with score and rule, in their order."""
    # The source says that these are wrong: that they stand beside a right page proves nothing.
    excluded = excluded[excluded["rule"] != "same_document"]
    given = given.merge(excluded, on=["query", "page"], how="left")
    outside = ~given["page"].isin(corpus.page_rows("train"))
    given["rule"] = given["rule"].mask(outside, "split").fillna("")
    rows = given["query"].to_numpy(), given["page"].to_numpy()
    given["score"] = pair_scores(vectors.queries, vectors.pages, *rows)
    given["origin"] = "given"
    return given


def _considered(
    corpus: Corpus,
    vectors: Vectors,
    rules: Mine,
    queries: pd.Index,
    excluded: pd.DataFrame,
    device: str,
) -> pd.DataFrame:
    """Every query's nearest train pages to the window's end, with the rules that need no score.

    The window counts the pages that are left by then, so that a query with many positives sees as
    many others as a query with one. Queries with alike many pages left out are searched together:
    one whose answer is a blank page, with thousands of twins, widens no other's search.
    """
    pages = corpus.page_rows("train")
    inside = excluded.loc[excluded["page"].isin(pages), "query"].value_counts()
    inside = inside.reindex(queries, fill_value=0)
    # All alike up to a window's width, for each search reads every page; beyond that by octaves.
    octave = np.ceil(np.log2((inside / rules.range_max).clip(lower=1)))
    parts = [
        _window(vectors, rules, alike.index, pages, int(alike.max()), excluded, device)
        for _, alike in inside.groupby(octave)
    ]
    return pd.concat(parts).sort_values("query", kind="stable", ignore_index=True)


def _window(
    vectors: Vectors,
    rules: Mine,
    queries: pd.Index,
    pages: np.ndarray,
    most: int,
    excluded: pd.DataFrame,
    device: str,
) -> pd.DataFrame:
    """The windows of queries for each of which at most so many pages are left out."""
    scores, rows = nearest(
        vectors.queries[queries.to_numpy()],
        vectors.pages,
        rules.range_max + most,
        rows=pages,
        device=device,
    )
    pairs = pd.DataFrame(
        {
            "query": np.repeat(queries.to_numpy(), rows.shape[1]),
            "page": rows.ravel(),
            "rank": np.tile(np.arange(1, rows.shape[1] + 1), len(rows)),
            "score": scores.ravel(),
            "origin": "mined",
        }
    ).merge(excluded, on=["query", "page"], how="left")
    free = pairs["rule"].isna().to_numpy().reshape(rows.shape)
    before = (free.cumsum(axis=1) - free).ravel()
    skipped = free.ravel() & (before < rules.range_min)
    pairs["rule"] = pairs["rule"].fillna("").mask(skipped, "range_min")
    return pairs[before < rules.range_max]


def _score_rules(
    pairs: pd.DataFrame, vectors: Vectors, rules: Mine, positives: pd.DataFrame
) -> None:
    """Name the margin and the maximum where a pair that is still standing scores above them."""
    scores = positive_scores(vectors, positives)
    lowest = pd.Series(scores).groupby(positives["query"].to_numpy()).min()
    floor = pairs["query"].map(lowest)
    if rules.relative_margin > 0:
        above = pairs["score"] > floor - floor.abs() * rules.relative_margin
        pairs.loc[(pairs["rule"] == "") & above, "rule"] = "relative_margin"
    if rules.max_score < 1:
        above = pairs["score"] > rules.max_score
        pairs.loc[(pairs["rule"] == "") & above, "rule"] = "max_score"


def positive_scores(vectors: Vectors, positives: pd.DataFrame) -> np.ndarray:
    """Scores of the positives' pairs, float32, in their order."""
    rows = positives["query"].to_numpy(), positives["page"].to_numpy()
    return pair_scores(vectors.queries, vectors.pages, *rows)


def _order(pairs: pd.DataFrame, sampling: str, seed: int) -> np.ndarray:
    """A number per pair by which its query takes pages, the lowest first.

    Weighted sampling without replacement adds Gumbel noise to the log-weights and takes the
    highest (Kool et al., "Stochastic beams and where to find them", ICML 2019).
    """
    random = np.random.default_rng(seed)
    if sampling == "random":
        return random.random(len(pairs))
    if sampling == "weighted":
        return -(pairs["score"].to_numpy() / WEIGHT_TEMPERATURE + random.gumbel(size=len(pairs)))
    return np.arange(len(pairs), dtype=float)
