"""What mining did, for a person to judge: counts, scores, sampled queries, hidden positives.

The tables of pairs come from `mine`: `query` and `page` are row numbers of the corpus.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa

from pagefinder.data.corpus import Corpus
from pagefinder.mining.negatives import KEPT, SPARE, Mining, mine
from pagefinder.mining.pairs import scored_positives, with_ids
from pagefinder.mining.rules import GIVEN_RULES, RULES, UNCOMMON_RULES
from pagefinder.retrieval.vectors import Vectors

SHEET_SCHEMA = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("page_id", pa.string(), nullable=False),
        pa.field("role", pa.string(), nullable=False),  # positive | kept | dropped
        pa.field("rule", pa.string(), nullable=False),  # or the origin of a page not dropped
        pa.field("score", pa.float32(), nullable=False),
        pa.field("rank", pa.int32()),  # among all train pages, from 1; null: not looked at
    ]
)
SHEET_QUERIES = 20
SHEET_DROPPED = 6  # dropped pages shown per query, the nearest first
BIN = 0.02  # of the histogram, in cosine
QUANTILES = {"p05": 0.05, "p50": 0.5, "p95": 0.95}


def with_positives(pairs: pd.DataFrame, vectors: Vectors, qrels: pd.DataFrame) -> pd.DataFrame:
    """The pairs of `mine` with each positive of their queries once, positives first.

    A positive that the search did not reach has rank 0.
    """
    qrels = qrels[qrels["query"].isin(pairs["query"])]
    positives = scored_positives(qrels, pairs, vectors).assign(rule="positive")
    return pd.concat([positives, pairs[pairs["rule"] != "positive"]], ignore_index=True)


def summary(
    pairs: pd.DataFrame, negatives_per_query: pd.Series, corpus: Corpus
) -> dict[str, object]:
    """metrics/mining.json: counts in pairs of query and page, and quantiles of their scores.

    `range_max` counts the pages beyond the window, which were not looked at. Without pairs that the
    source gives, the numbers of kept, spare and dropped pairs add up to queries times train pages.

    Args:
        pairs: As `mine` returns them, completed by `with_positives`.
        negatives_per_query: Number of negatives by query row.
        corpus: The corpus that was mined.
    """
    kept = pairs[pairs["rule"] == KEPT]
    kept_per_query = kept["query"].value_counts().reindex(negatives_per_query.index, fill_value=0)
    train = len(corpus.page_rows("train"))
    dropped = pairs[~pairs["rule"].isin((KEPT, SPARE, "positive"))]
    groups = {"positive": pairs[pairs["rule"] == "positive"], "kept": kept, "dropped": dropped}
    mined = pairs.loc[pairs["origin"] == "mined", "rule"]
    return {
        "queries": {
            "mined": len(negatives_per_query),
            "short": int((kept_per_query < negatives_per_query).sum()),
            "without": int((kept_per_query == 0).sum()),
        },
        "pages": {"searched": train, "other_splits": len(corpus.pages) - train},
        "kept": {name: int((kept["origin"] == name).sum()) for name in ("mined", "given")},
        "spare": int((mined == SPARE).sum()),
        "dropped": _dropped(pairs, len(negatives_per_query) * train),
        "score": {
            name: {key: float(group["score"].quantile(q)) for key, q in QUANTILES.items()}
            for name, group in groups.items()
            if len(group)
        },
    }


def _dropped(pairs: pd.DataFrame, searched: int) -> dict[str, object]:
    """Number of pairs that each rule dropped, of `searched` mined pairs and of the given pairs."""
    given = pairs["origin"] == "given"
    ranked = pairs[~given & (pairs["rank"] > 0)]
    counts: dict[str, object] = {
        rule: int((ranked["rule"] == rule).sum()) for rule in _rules(pairs) if rule != "given"
    }
    by_rule = pairs.loc[given, "rule"]
    return counts | {
        "range_max": searched - len(ranked),
        "given": {rule: int((by_rule == rule).sum()) for rule in GIVEN_RULES},
    }


def hidden_positives(
    mining: Mining, vectors: Vectors, negatives_per_query: pd.Series
) -> dict[str, object] | None:
    """How many false negatives each rule lets through, measured on positives that were hidden.

    A mined page that no qrel names may be relevant: nobody knows. So for each query with several
    relevant train pages all but a random one are hidden, and the queries are mined again. The share
    of hidden positives among the pairs that remain after a rule is the rate of false negatives in a
    corpus with one judged page per query.

    Args:
        mining: The one of the stage; its seed chooses the positive of each query that stays.
        vectors: The vectors that the queries were mined with.
        negatives_per_query: Number of negatives by query row.

    Returns:
        queries, hidden, and rate.{before, after each rule, kept}; None where no query has several
        relevant pages, for then there is nothing to measure.
    """
    qrels = mining.qrels
    train = qrels["page"].isin(mining.corpus.page_rows("train"))
    positives = qrels[train & (qrels["relevance"] > 0)]
    positives = positives[positives["query"].isin(negatives_per_query.index)]
    several = positives[positives.groupby("query")["page"].transform("size") > 1]
    if several.empty:
        return None
    shown = several.sample(frac=1, random_state=mining.seed).drop_duplicates("query").index
    hidden = several.drop(shown)[["query", "page"]].assign(hidden=True)
    only_mined = mining.rules.model_copy(update={"given": "ignore"})
    mining = replace(mining, rules=only_mined, qrels=qrels.loc[shown])
    pairs = mine(mining, vectors, negatives_per_query[several["query"].unique()])
    pairs = pairs[pairs["rule"] != "positive"].merge(hidden, on=["query", "page"], how="left")
    rate = _rates(pairs, pairs["hidden"].notna())
    del rate["after_positive"]  # the same as `before`: the shown positives are left out
    return {"queries": len(shown), "hidden": len(hidden), "rate": rate}


def false_negatives(pairs: pd.DataFrame) -> dict[str, float]:
    """Share of relevant pages among the mined pairs, where the qrels name every relevant page.

    A pair is relevant there exactly if the rule `positive` dropped it. That rule comes first, so
    the share is 0 after it and after all later rules.

    Args:
        pairs: As `mine` returns them.

    Returns:
        The share before any rule, after each rule in turn, and among the kept: before, after_RULE,
        kept. A share of no pairs is left out.
    """
    mined = pairs[pairs["origin"] == "mined"]
    return _rates(mined, mined["rule"] == "positive")


def _rates(pairs: pd.DataFrame, relevant: pd.Series) -> dict[str, float]:
    """Share of relevant pairs: before any rule, after each rule in turn, and among the kept.

    `relevant` holds a truth value for each of the pairs.
    """
    remaining = pd.Series(True, index=pairs.index)
    rate = {"before": float(relevant.mean())}
    for rule in _rules(pairs):
        if rule in ("given", "veto"):  # the veto sees few pairs: `kept` shows its effect
            continue
        remaining &= pairs["rule"] != rule
        if remaining.any():
            rate[f"after_{rule}"] = float(relevant[remaining].mean())
    kept = pairs["rule"] == KEPT
    if kept.any():
        rate["kept"] = float(relevant[kept].mean())
    return rate


def _rules(pairs: pd.DataFrame) -> list[str]:
    """The rules to count, in their order."""
    applied = set(pairs["rule"])
    return [rule for rule in RULES if rule in applied or rule not in UNCOMMON_RULES]


def histogram(pairs: pd.DataFrame) -> pd.DataFrame:
    """Count the pairs by group and score; the groups are the values of the column `rule`.

    Returns:
        group, score (lower edge of a bin of width BIN), pairs; empty bins are left out.
    """
    bins = np.floor(pairs["score"].to_numpy(np.float64) / BIN + 1e-6).astype(int)
    groups = pd.DataFrame({"group": pairs["rule"], "bin": bins})
    counts = groups.groupby(["group", "bin"]).size().reset_index(name="pairs")
    counts["score"] = (counts["bin"] * BIN).round(2)
    return counts[["group", "score", "pairs"]]


def sheet(pairs: pd.DataFrame, corpus: Corpus, seed: int) -> pd.DataFrame:
    """Sampled queries with their positives, kept and nearest dropped pages, as SHEET_SCHEMA."""
    query_rows = np.random.default_rng(seed).permutation(np.unique(pairs["query"]))[:SHEET_QUERIES]
    rows = pairs[pairs["query"].isin(query_rows) & (pairs["rule"] != SPARE)].copy()
    rows["role"] = rows["rule"].where(rows["rule"].isin(("positive", KEPT)), "dropped")
    rows["rule"] = rows["rule"].where(rows["role"] == "dropped", rows["origin"])
    rows["order"] = rows["role"].map({"positive": 0, KEPT: 1, "dropped": 2})
    order = ["query", "order", "score", "page"]
    rows = rows.sort_values(order, ascending=[True, True, False, True])
    beyond = rows.groupby(["query", "role"]).cumcount() >= SHEET_DROPPED
    rows = rows[~(beyond & (rows["role"] == "dropped"))]
    named: pd.DataFrame = with_ids(rows, corpus)[SHEET_SCHEMA.names]
    return named
