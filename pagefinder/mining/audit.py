"""What mining did, for a person to judge: counts, scores, sampled queries, hidden answers.

The tables of pairs are those of `mining`: `query` and `page` are row numbers of the corpus.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa

from pagefinder.data.corpus import Corpus
from pagefinder.mining.negatives import KEPT, SPARE, positive_scores
from pagefinder.mining.rules import RULES
from pagefinder.params import Mine
from pagefinder.retrieval.nearest import Vectors

SHEET_SCHEMA = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("page_id", pa.string(), nullable=False),
        pa.field("role", pa.string(), nullable=False),  # positive | kept | dropped
        pa.field(
            "rule", pa.string(), nullable=False
        ),  # that dropped it; where it came from if kept
        pa.field("score", pa.float32(), nullable=False),
        pa.field("rank", pa.int32()),  # among all train pages, from 1; null: not looked at
    ]
)
SHEET_QUERIES = 20
SHEET_DROPPED = 6  # dropped pages shown per query, the nearest first
BIN = 0.02  # of the histogram, in cosine
# What can be wrong with a negative that the source gives.
GIVEN_RULES = ("split", "near_duplicate")
QUANTILES = {"p05": 0.05, "p50": 0.5, "p95": 0.95}


def with_positives(pairs: pd.DataFrame, vectors: Vectors, known: pd.DataFrame) -> pd.DataFrame:
    """The pairs with every positive among them once, also those the search never met (rank 0)."""
    positives = known[(known["relevance"] > 0) & known["query"].isin(pairs["query"])]
    positives = positives[["query", "page"]].assign(score=positive_scores(vectors, positives))
    met = pairs.loc[pairs["rule"] == "positive", ["query", "page", "rank"]]
    positives = positives.merge(met.drop_duplicates(["query", "page"]), how="left")
    positives["rank"] = positives["rank"].fillna(0).astype(int)
    positives = positives.assign(origin="qrels", rule="positive")
    return pd.concat([positives, pairs[pairs["rule"] != "positive"]], ignore_index=True)


def summary(pairs: pd.DataFrame, wanted: pd.Series, corpus: Corpus) -> dict[str, object]:
    """metrics/mining.json: counts in pairs of query and page, and quantiles of their scores.

    `range_max` counts the pages beyond the window, at which nobody looked. Without pairs that the
    source gives, what was kept, spare and dropped adds up to every query with every train page.

    Args:
        pairs: Of `mine`, completed by `with_positives`.
        wanted: Number of negatives by query row.
        corpus: Whose pages were searched.
    """
    kept = pairs[pairs["rule"] == KEPT]
    counts = kept["query"].value_counts().reindex(wanted.index, fill_value=0)
    mined = pairs.loc[pairs["origin"] == "mined", "rule"].value_counts()
    given = pairs[pairs["origin"] == "given"]
    train = len(corpus.page_rows("train"))
    dropped = pairs[~pairs["rule"].isin((KEPT, SPARE, "positive"))]
    seen = (pairs["rank"] > 0) & (pairs["origin"] != "given")
    groups = {"positive": pairs[pairs["rule"] == "positive"], "kept": kept, "dropped": dropped}
    return {
        "queries": {
            "mined": len(wanted),
            "short": int((counts < wanted).sum()),
            "without": int((counts == 0).sum()),
        },
        "pages": {"searched": train, "other_splits": len(corpus.pages) - train},
        "kept": {
            "mined": int(mined.get(KEPT, 0)),
            "given": int((given["rule"] == KEPT).sum()),
        },
        "spare": int(mined.get(SPARE, 0)),
        "dropped": {
            "positive": int(((pairs["rule"] == "positive") & (pairs["rank"] > 0)).sum()),
            **{
                rule: int(mined.get(rule, 0)) for rule in RULES if rule not in ("positive", "given")
            },
            "range_max": len(wanted) * train - int(seen.sum()),
            "given": {rule: int((given["rule"] == rule).sum()) for rule in GIVEN_RULES},
        },
        "score": {
            name: {key: float(group["score"].quantile(q)) for key, q in QUANTILES.items()}
            for name, group in groups.items()
            if len(group)
        },
    }


def hidden_positives(
    search: Callable[[Mine, pd.DataFrame, pd.Series], pd.DataFrame],
    corpus: Corpus,
    rules: Mine,
    known: pd.DataFrame,
    wanted: pd.Series,
    seed: int,
) -> dict[str, object] | None:
    """How many wrong negatives each rule lets through, measured on right pages that were hidden.

    Mined pages that no judgement names may be right or wrong: nobody knows. So for every query
    with several right train pages all but one, drawn with the seed, are hidden, the queries are
    mined again, and the share of hidden right pages among the pairs still standing is taken after
    every rule. It is the rate at which a corpus with one judged page per query would go wrong.

    Args:
        search: `mine` with all but rules, known and wanted filled in.
        corpus: Whose train pages are searched.
        rules: As mined by.
        known: Judgements.
        wanted: Number of negatives by query row.
        seed: Draws the right page that stays.

    Returns:
        queries, hidden, and rate.{before, after each rule, kept}; None where no query has several
        right pages, for then there is nothing to measure.
    """
    positives = known[(known["relevance"] > 0) & known["page"].isin(corpus.page_rows("train"))]
    positives = positives[positives["query"].isin(wanted.index)]
    several = positives[positives.groupby("query")["page"].transform("size") > 1]
    if several.empty:
        return None
    shown = several.sample(frac=1, random_state=seed).drop_duplicates("query").index
    hidden = several.drop(shown)[["query", "page"]].assign(hidden=True)
    only_mined = rules.model_copy(update={"given": "ignore"})
    pairs = search(only_mined, known.loc[shown], wanted[several["query"].unique()])
    pairs = pairs[pairs["rule"] != "positive"].merge(hidden, on=["query", "page"], how="left")
    rate = _rates(pairs, pairs["hidden"].notna())
    del rate["after_positive"]  # as before: those shown count for nothing
    return {"queries": len(shown), "hidden": len(hidden), "rate": rate}


def false_negatives(pairs: pd.DataFrame) -> dict[str, float]:
    """How many wrong negatives each rule lets through, where the qrels name every right page.

    They do where the pages are drawn: each question is made to have its answer on one page alone.
    The rule `positive` then drops every right page, and whatever the others drop is no answer.

    Args:
        pairs: Of `mine`.

    Returns:
        Share of right pages among the pairs still standing: before, after each rule, kept.
    """
    mined = pairs[pairs["origin"] == "mined"]
    return _rates(mined, mined["rule"] == "positive")


def _rates(pairs: pd.DataFrame, right: pd.Series) -> dict[str, float]:
    """Share of right pairs among those still standing: before, after each rule, kept."""
    standing = pd.Series(True, index=pairs.index)
    rate = {"before": float(right.mean())}
    for rule in RULES:
        if rule in ("given", "veto"):  # the veto is asked about few pairs: see kept
            continue
        standing &= pairs["rule"] != rule
        if standing.any():
            rate[f"after_{rule}"] = float(right[standing].mean())
    kept = pairs["rule"] == KEPT
    if kept.any():
        rate["kept"] = float(right[kept].mean())
    return rate


def histogram(pairs: pd.DataFrame) -> pd.DataFrame:
    """Counts by score for every group: the positives, the kept, the spare, each rule's dropped.

    Returns:
        group, score (lower edge of a bin of width BIN), pairs; empty bins are left out.
    """
    bins = np.floor(pairs["score"].to_numpy(np.float64) / BIN + 1e-6).astype(int)
    frame = pd.DataFrame({"group": pairs["rule"], "bin": bins})
    counts = frame.groupby(["group", "bin"]).size().reset_index(name="pairs")
    counts["score"] = (counts["bin"] * BIN).round(2)
    return counts[["group", "score", "pairs"]]


def sheet(pairs: pd.DataFrame, corpus: Corpus, seed: int) -> pd.DataFrame:
    """Sampled queries with their positives, kept and nearest dropped pages, as SHEET_SCHEMA."""
    queries = np.unique(pairs["query"])
    drawn = np.random.default_rng(seed).permutation(queries)[:SHEET_QUERIES]
    rows = pairs[pairs["query"].isin(drawn) & (pairs["rule"] != SPARE)].copy()
    rows["role"] = rows["rule"].where(rows["rule"].isin(("positive", KEPT)), "dropped")
    rows["rule"] = rows["rule"].where(rows["role"] == "dropped", rows["origin"])
    rows["place"] = rows["role"].map({"positive": 0, KEPT: 1, "dropped": 2})
    rows = rows.sort_values(
        ["query", "place", "score", "page"], ascending=[True, True, False, True]
    )
    late = rows.groupby(["query", "role"]).cumcount() >= SHEET_DROPPED
    rows = rows[~(late & (rows["role"] == "dropped"))]
    named: pd.DataFrame = with_ids(rows, corpus)[SHEET_SCHEMA.names]
    return named


def with_ids(pairs: pd.DataFrame, corpus: Corpus) -> pd.DataFrame:
    """The pairs with query_id and page_id, and a null for rank 0."""
    result: pd.DataFrame = pairs.assign(
        query_id=corpus.queries["query_id"].to_numpy()[pairs["query"]],
        page_id=corpus.pages["page_id"].to_numpy()[pairs["page"]],
        rank=pairs["rank"].astype("Int32").mask(pairs["rank"] == 0),
    ).reset_index(drop=True)
    return result
