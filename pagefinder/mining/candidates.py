"""The pairs that the reranker learns from, and those that it is measured on.

All tables hold pairs whose `query` and `page` are row numbers of the corpus.
"""

import numpy as np
import pandas as pd
import pyarrow as pa

from pagefinder.data.corpus import Corpus
from pagefinder.mining.negatives import KEPT, Veto, assess, choose, positive_scores, wanted_by_query
from pagefinder.mining.rules import qrel_rows
from pagefinder.params import Mine
from pagefinder.retrieval.nearest import Vectors, nearest, pair_scores, trec_order

# data/candidates.parquet
SCHEMA = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("page_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("rank", pa.int32()),  # the tuned embedder's, from 1; null: below those looked at
        pa.field("score", pa.float32(), nullable=False),  # the tuned embedder's cosine
        pa.field("label", pa.int32(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),  # qrels | given | base | tuned | both
    ]
)
COLUMNS = ["query", "page", "rank", "score", "label", "origin"]


def train_candidates(
    corpus: Corpus,
    base: Vectors,
    tuned: Vectors,
    rules: Mine,
    depth: int,
    negatives: int,
    *,
    seed: int,
    device: str = "cpu",
    veto: Veto | None = None,
) -> pd.DataFrame:
    """Every train query's positives and the negatives that mining finds with either embedder.

    Both embedders' nearest pages go through the same rules. What the base embedder would keep is
    out where the tuned one looked at it and dropped it: the tuned one is the better judge.

    Args:
        corpus: Whose train pages are searched.
        base: Vectors before fine-tuning.
        tuned: Vectors after it.
        rules: Of mining, settled; the window's width is `depth` instead of range_max.
        depth: Nearest pages considered per query and embedder.
        negatives: Per positive.
        seed: Of the sampling.
        device: Where the search runs.
        veto: Cross-encoder of the veto.

    Returns:
        query, page, rank (among all train pages for the tuned embedder, from 1; 0 beyond those
        looked at), score (the tuned embedder's), label, origin (qrels, given, base, tuned, both);
        by query, positives first, then by score.
    """
    rules = rules.model_copy(update={"range_max": rules.range_min + depth})
    known = qrel_rows(corpus, "train")
    known = known[known["page"].isin(corpus.page_rows("train")) | (known["relevance"] == 0)]
    wanted = wanted_by_query(known, 0, negatives)
    first = assess(corpus, base, rules, known, wanted.index, device)
    second = assess(corpus, tuned, rules, known, wanted.index, device)
    union = _union(first, second, tuned)
    chosen = choose(union, rules, wanted, seed, veto)
    chosen = chosen[chosen["rule"] == KEPT].assign(label=0)
    right = known.loc[known["relevance"] > 0, ["query", "page"]]
    right = right.assign(score=positive_scores(tuned, right), label=1, origin="qrels")
    met = second.loc[second["rule"] == "positive", ["query", "page", "rank"]]
    right = right.merge(met.drop_duplicates(["query", "page"]), on=["query", "page"], how="left")
    right["rank"] = right["rank"].fillna(0).astype(int)
    both = pd.concat([right[COLUMNS], chosen[COLUMNS]], ignore_index=True)
    order = ["query", "label", "score", "page"]
    return both.sort_values(order, ascending=[True, False, False, True], ignore_index=True)


def _union(base: pd.DataFrame, tuned: pd.DataFrame, vectors: Vectors) -> pd.DataFrame:
    """Pairs that no rule dropped, each once, scored and ranked by the tuned embedder."""
    key = ["query", "page"]
    given = tuned[(tuned["origin"] == "given") & (tuned["rule"] == "")]
    mined = tuned[tuned["origin"] == "mined"]
    extra = base[(base["origin"] == "mined") & (base["rule"] == "")][key].assign(base=True)
    pairs = mined.merge(extra, on=key, how="outer")
    # A missing rule means that the tuned embedder never looked at the pair.
    pairs = pairs[(pairs["rule"] == "") | pairs["rule"].isna()]
    by_tuned, by_base = pairs["rule"].notna(), pairs["base"].notna()
    pairs["origin"] = np.select([by_tuned & by_base, by_tuned], ["both", "tuned"], "base")
    rows = pairs["query"].to_numpy(), pairs["page"].to_numpy()
    pairs["score"] = pair_scores(vectors.queries, vectors.pages, *rows)
    pairs["rank"] = pairs["rank"].fillna(0).astype(int)
    pairs["rule"] = ""
    pairs = pairs.sort_values(["query", "score", "page"], ascending=[True, False, True])
    return pd.concat([given, pairs[given.columns]], ignore_index=True)


def held_out_candidates(
    corpus: Corpus, tuned: Vectors, split: str, depth: int, device: str = "cpu"
) -> pd.DataFrame:
    """The tuned embedder's nearest pages of every query of dev or eval, among that split's pages.

    Nothing is filtered and no positive is added: this is what a reranker gets to see in use. Ties
    are ordered as trec_eval does.

    Returns:
        The columns of `train_candidates`, origin tuned, by query and rank (from 1).
    """
    queries = corpus.query_rows(split)
    scores, rows = nearest(
        tuned.queries[queries],
        tuned.pages,
        depth,
        rows=corpus.page_rows(split),
        tie_break=trec_order(corpus.pages["page_id"].tolist()),
        device=device,
    )
    pairs = pd.DataFrame(
        {
            "query": np.repeat(queries, rows.shape[1]),
            "page": rows.ravel(),
            "rank": np.tile(np.arange(1, rows.shape[1] + 1), len(rows)),
            "score": scores.ravel(),
            "origin": "tuned",
        }
    )
    known = qrel_rows(corpus, split)
    right = known.loc[known["relevance"] > 0, ["query", "page"]].assign(label=1)
    pairs = pairs.merge(right, on=["query", "page"], how="left")
    pairs["label"] = pairs["label"].fillna(0).astype(int)
    return pairs[COLUMNS]


def rank_histogram(tables: dict[str, pd.DataFrame], corpus: Corpus, depth: int) -> pd.DataFrame:
    """How high the tuned embedder puts the best positive, by split.

    It has been trained on the train queries, so their positives rank higher than any new query's:
    the histogram says by how much. The splits differ in size, which `pages` records.

    Args:
        tables: Candidates by split, of which train and dev count.
        corpus: That they come from.
        depth: Ranks that all splits looked at; what lies beyond counts as rank 0.

    Returns:
        split, pages (searched), rank, queries, share (of the split's queries with a positive).
    """
    result = []
    for split in ("train", "dev"):
        table, known = tables[split], qrel_rows(corpus, split)
        queries = known.loc[known["relevance"] > 0, "query"].unique()
        right = table[(table["label"] == 1) & table["rank"].between(1, depth)]
        best = right.groupby("query")["rank"].min().reindex(queries, fill_value=0)
        counts = best.value_counts().reindex(range(depth + 1), fill_value=0)
        rows = counts.rename_axis("rank").reset_index(name="queries")
        rows.insert(0, "split", split)
        rows.insert(1, "pages", len(corpus.page_rows(split)))
        result.append(rows.assign(share=(rows["queries"] / max(1, len(queries))).round(6)))
    return pd.concat(result, ignore_index=True)
