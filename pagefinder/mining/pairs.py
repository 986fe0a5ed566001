"""Tables of pairs of a query and a page, by their row numbers in the corpus: `query` and `page`."""

import numpy as np
import pandas as pd

from pagefinder.data.corpus import Corpus
from pagefinder.retrieval.nearest import pair_scores
from pagefinder.retrieval.vectors import Vectors

RANKS = ("rank", "embedder_rank")  # columns that count from 1


def qrel_rows(corpus: Corpus, split: str) -> pd.DataFrame:
    """The qrels of a split's queries as pairs: query, page, relevance.

    They are ordered by query, relevant pages first. Pages of one relevance keep the order of the
    qrels, which is the source's: its first negative may be its best.
    """
    rows = pd.DataFrame(
        {
            "query": corpus.qrels["query_id"].map(corpus.query_row),
            "page": corpus.qrels["page_id"].map(corpus.page_row),
            "relevance": corpus.qrels["relevance"],
        }
    ).astype(int)
    rows = rows[rows["query"].isin(corpus.query_rows(split))]
    # A page that is called both relevant and not counts as relevant.
    rows = rows.sort_values(["query", "relevance"], ascending=[True, False], kind="stable")
    return rows.drop_duplicates(["query", "page"], ignore_index=True)


def ranked_pairs(query_rows: np.ndarray, scores: np.ndarray, page_rows: np.ndarray) -> pd.DataFrame:
    """The result of `nearest` as pairs: query, page, rank (from 1), score."""
    queries, k = page_rows.shape
    return pd.DataFrame(
        {
            "query": np.repeat(query_rows, k),
            "page": page_rows.ravel(),
            "rank": np.tile(np.arange(1, k + 1), queries),
            "score": scores.ravel(),
        }
    )


def cosines(pairs: pd.DataFrame, vectors: Vectors) -> np.ndarray:
    """Cosines of pairs, float32, in the order of the pairs, equal to the scores of `nearest`."""
    query_rows, page_rows = pairs["query"].to_numpy(), pairs["page"].to_numpy()
    return pair_scores(vectors.queries, vectors.pages, query_rows, page_rows)


def scored_positives(qrels: pd.DataFrame, assessed: pd.DataFrame, vectors: Vectors) -> pd.DataFrame:
    """The positives of the qrels: query, page, score, origin (qrels), rank.

    The rank comes from `assessed`, the pairs of `assess`; a positive that is not in it has rank 0.
    """
    positives = qrels.loc[qrels["relevance"] > 0, ["query", "page"]]
    positives = positives.assign(score=cosines(positives, vectors), origin="qrels")
    ranks = assessed.loc[assessed["rule"] == "positive", ["query", "page", "rank"]]
    ranks = ranks.drop_duplicates(["query", "page"])
    positives = positives.merge(ranks, on=["query", "page"], how="left")
    positives["rank"] = positives["rank"].fillna(0).astype(int)
    return positives


def with_ids(pairs: pd.DataFrame, corpus: Corpus) -> pd.DataFrame:
    """The pairs with query_id and page_id, and a null for a rank of 0."""
    ranks = {name: pairs[name].astype("Int32") for name in RANKS if name in pairs}
    result: pd.DataFrame = pairs.assign(
        query_id=corpus.queries["query_id"].to_numpy()[pairs["query"]],
        page_id=corpus.pages["page_id"].to_numpy()[pairs["page"]],
        **{name: values.mask(values == 0) for name, values in ranks.items()},
    ).reset_index(drop=True)
    return result
