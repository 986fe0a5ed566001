"""Hard negatives from stored vectors: an exact search, then rules in a fixed order.

All work happens on tables of pairs whose `query` and `page` columns are row numbers of the corpus.
`mine` looks at pairs and writes down for each the rule that dropped it. A pair that passes every
rule is KEPT as a negative, or SPARE where its query needs no more. The same code serves the
embedder's negatives and the reranker's candidates.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from pagefinder.data.corpus import Corpus
from pagefinder.mining.pairs import cosines, ranked_pairs
from pagefinder.mining.rules import GIVEN_RULES, exclusions, first_rule
from pagefinder.mining.veto import Veto
from pagefinder.params import Mine
from pagefinder.retrieval.nearest import nearest
from pagefinder.retrieval.vectors import Vectors

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
# "weighted" samples pages in proportion to exp(score / this): the weight that a contrastive loss of
# that temperature gives them.
WEIGHT_TEMPERATURE = 0.05
COLUMNS = ["query", "page", "rank", "score", "origin", "rule"]


@dataclass(frozen=True)
class Mining:
    """What is mined, and by which rules.

    Attributes:
        corpus: The corpus whose train pages are searched.
        rules: As `resolve_rules` returns them.
        qrels: As `qrel_rows` returns them; no pair outside them counts as positive or given.
        seed: Seed of the sampling.
        device: Device that the search runs on, as torch names it.
        veto: The cross-encoder of the rule `veto`; None switches the rule off.
    """

    corpus: Corpus
    rules: Mine
    qrels: pd.DataFrame
    seed: int
    device: str = "cpu"
    veto: Veto | None = None


def required_negatives(qrels: pd.DataFrame, per_query: int, per_positive: int = 0) -> pd.Series:
    """Number of negatives by query row, for each query of `qrels` that has a positive.

    A query gets `per_query`, and `per_positive` more for each of its positives.
    """
    positives = qrels.loc[qrels["relevance"] > 0, "query"].value_counts().sort_index()
    return positives * per_positive + per_query


def mine(mining: Mining, vectors: Vectors, negatives_per_query: pd.Series) -> pd.DataFrame:
    """The pairs of `assess` for the queries of `negatives_per_query`, as `choose` marks them."""
    pairs = assess(mining, vectors, negatives_per_query.index)
    return choose(pairs, mining.rules, negatives_per_query, mining.seed, mining.veto)


def assess(mining: Mining, vectors: Vectors, query_rows: pd.Index) -> pd.DataFrame:
    """List every query's possible negatives, and for each the first rule that drops it.

    They come from the source's own negatives (`given`) and from the nearest train pages (`mined`).
    The margin is NV-Retriever's TopK-PercPos (Moreira et al., 2024, arXiv 2407.15831): a mined page
    is dropped where it scores above p - margin * |p|, p being the query's lowest-scored positive.
    A given page is dropped by GIVEN_RULES alone, never by its score.

    Args:
        mining: Corpus, rules and qrels.
        vectors: Of all queries and pages of the corpus.
        query_rows: Rows of the queries to mine.

    Returns:
        query, page, rank (from 1, among all train pages; 0 for a given page outside the window
        searched), score, origin (given or mined), rule ("" where none dropped the pair; the veto
        comes in `choose`). Given pairs come first, by query in the source's order, then the mined
        ones by query and rank.
    """
    qrels = mining.qrels[mining.qrels["query"].isin(query_rows)]
    positives = qrels[qrels["relevance"] > 0]
    excluded = exclusions(mining.corpus, mining.rules, positives)
    source_negatives = qrels.loc[qrels["relevance"] == 0, ["query", "page"]]
    if mining.rules.given == "ignore":
        source_negatives = source_negatives[:0]
    given = _assess_given(mining.corpus, vectors, source_negatives, excluded)
    # A kept given pair is not mined a second time.
    kept_given = given.loc[given["rule"] == "", ["query", "page"]].assign(rule="given")
    mined = _nearest_pairs(mining, vectors, query_rows, first_rule(excluded, kept_given))
    _apply_score_rules(mined, vectors, mining.rules, positives)
    ranks = mined.set_index(["query", "page"])["rank"]
    ranks = ranks.reindex(pd.MultiIndex.from_frame(given[["query", "page"]]), fill_value=0)
    return pd.concat([given.assign(rank=ranks.to_numpy()), mined], ignore_index=True)[COLUMNS]


def _assess_given(
    corpus: Corpus, vectors: Vectors, source_negatives: pd.DataFrame, excluded: pd.DataFrame
) -> pd.DataFrame:
    """The source's negatives with score, origin (given) and rule, in their order.

    The rule is "" where none drops the pair. Rules that only suspect a page do not count here: the
    source says that it is no answer.

    Args:
        corpus: Of the pages.
        vectors: Of all queries and pages.
        source_negatives: query, page.
        excluded: query, page, rule, each pair at most once.
    """
    certain = excluded[excluded["rule"].isin(GIVEN_RULES)]
    pairs = source_negatives.merge(certain, on=["query", "page"], how="left")
    of_other_split = ~pairs["page"].isin(corpus.page_rows("train"))
    pairs["rule"] = pairs["rule"].mask(of_other_split, "split").fillna("")
    return pairs.assign(score=cosines(pairs, vectors), origin="given")


def _nearest_pairs(
    mining: Mining, vectors: Vectors, query_rows: pd.Index, excluded: pd.DataFrame
) -> pd.DataFrame:
    """Each query's nearest train pages up to the window's end, ranked, with rules but the score's.

    The window ends behind `range_max` pages that are not in `excluded`, so that a query with many
    positives sees as many possible negatives as a query with one. Queries with a similar number of
    excluded pages are searched together: a query whose answer is a blank page, with thousands of
    near-duplicates, does not widen the search of another query.
    """
    page_rows = mining.corpus.page_rows("train")
    counts = excluded.loc[excluded["page"].isin(page_rows), "query"].value_counts()
    counts = counts.reindex(query_rows, fill_value=0)
    # Each search reads every page. So one group holds all counts up to the window's width, and
    # above it there is one per octave.
    octaves = np.ceil(np.log2((counts / mining.rules.range_max).clip(lower=1)))
    parts = []
    for _, group in counts.groupby(octaves):
        scores, rows = nearest(
            vectors.queries[group.index.to_numpy()],
            vectors.pages,
            mining.rules.range_max + int(group.max()),
            rows=page_rows,
            device=mining.device,
        )
        pairs = ranked_pairs(group.index.to_numpy(), scores, rows)
        parts.append(_window(pairs, mining.rules, excluded))
    return pd.concat(parts).sort_values("query", kind="stable", ignore_index=True)


def _window(pairs: pd.DataFrame, rules: Mine, excluded: pd.DataFrame) -> pd.DataFrame:
    """The ranked pairs up to the window's end, with origin (mined) and rule.

    The rule is that of `excluded`, `range_min`, or "".
    """
    pairs = pairs.assign(origin="mined").merge(excluded, on=["query", "page"], how="left")
    remaining = pairs["rule"].isna().astype(int)
    before = remaining.groupby(pairs["query"]).cumsum() - remaining
    skipped = (remaining == 1) & (before < rules.range_min)
    pairs["rule"] = pairs["rule"].fillna("").mask(skipped, "range_min")
    return pairs[before < rules.range_max]


def _apply_score_rules(
    pairs: pd.DataFrame, vectors: Vectors, rules: Mine, positives: pd.DataFrame
) -> None:
    """Set `rule` of the pairs that the margin or the maximum drops and no rule has dropped yet."""
    scores = pd.Series(cosines(positives, vectors))
    lowest = pairs["query"].map(scores.groupby(positives["query"].to_numpy()).min())
    if rules.relative_margin > 0:
        above = pairs["score"] > lowest - lowest.abs() * rules.relative_margin
        pairs.loc[(pairs["rule"] == "") & above, "rule"] = "relative_margin"
    if rules.max_score < 1:
        above = pairs["score"] > rules.max_score
        pairs.loc[(pairs["rule"] == "") & above, "rule"] = "max_score"


def choose(
    pairs: pd.DataFrame,
    rules: Mine,
    negatives_per_query: pd.Series,
    seed: int,
    veto: Veto | None = None,
) -> pd.DataFrame:
    """Mark pairs that no rule dropped as KEPT until each query has its number, the rest as SPARE.

    Negatives that the source gives come first, in the source's order; the sampling orders the mined
    ones alone. A query that runs out of pages has fewer negatives. The veto costs more than all
    other rules: it sees a mined pair only when the pair would be kept, and never a given one.

    Args:
        pairs: As `assess` returns them.
        rules: Sampling, use of given negatives, limit of the veto.
        negatives_per_query: Number of negatives by query row.
        seed: Of the sampling.
        veto: Gives each pair's probability of an answer; above `veto.max_score` a pair is dropped.
    """
    mined = pairs["origin"] != "given"
    order = np.where(mined, _order(pairs, rules.sampling, seed), np.arange(len(pairs)))
    columns = [*pairs]
    pairs = pairs.assign(mined=mined, order=order)
    if rules.given == "use":
        pairs["rule"] = pairs["rule"].mask((pairs["rule"] == "") & pairs["mined"], SPARE)
    while True:
        remaining = pairs[pairs["rule"] == ""].sort_values(["mined", "order"], kind="stable")
        kept = pairs.loc[pairs["rule"] == KEPT, "query"].value_counts()
        missing = negatives_per_query.sub(kept, fill_value=0)
        turn = remaining.groupby("query").cumcount() < remaining["query"].map(missing)
        chosen = remaining[turn].sort_index()
        if chosen.empty:
            break
        pairs.loc[chosen.index, "rule"] = KEPT
        candidates = chosen.loc[chosen["mined"], ["query", "page"]]
        if veto is not None and len(candidates):
            answers = veto(candidates) > rules.veto.max_score
            pairs.loc[candidates.index[answers], "rule"] = "veto"
    pairs["rule"] = pairs["rule"].replace("", SPARE)
    return pairs[columns]


def _order(pairs: pd.DataFrame, sampling: str, seed: int) -> np.ndarray:
    """A number per pair, float [pairs]: a query's negatives are chosen from the lowest number up.

    Weighted sampling without replacement adds Gumbel noise to the log-weights and takes the
    highest (Kool et al., "Stochastic beams and where to find them", ICML 2019).
    """
    random = np.random.default_rng(seed)
    if sampling == "random":
        return random.random(len(pairs))
    if sampling == "weighted":
        return -(pairs["score"].to_numpy() / WEIGHT_TEMPERATURE + random.gumbel(size=len(pairs)))
    return np.arange(len(pairs), dtype=float)
