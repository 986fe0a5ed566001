"""The reranker's candidates: pairs of query and page to train on and to measure on.

All tables hold pairs whose `query` and `page` are row numbers of the corpus.
"""

from dataclasses import replace
from itertools import islice

import numpy as np
import pandas as pd
import pyarrow as pa

from pagefinder.data.corpus import Corpus
from pagefinder.mining.negatives import KEPT, Mining, assess, choose, required_negatives
from pagefinder.mining.pairs import cosines, qrel_rows, ranked_pairs, scored_positives
from pagefinder.retrieval.bm25 import bm25_run
from pagefinder.retrieval.fusion import fuse
from pagefinder.retrieval.nearest import nearest, trec_order
from pagefinder.retrieval.runs import DEPTH
from pagefinder.retrieval.tasks import Task, task_of
from pagefinder.retrieval.vector_search import search
from pagefinder.retrieval.vectors import Vectors

# data/candidates.parquet
SCHEMA = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("page_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        # From 1, null below the pages looked at: of train the tuned embedder's, of dev and eval the
        # first stage's, which is the tuned embedder or, where pages have text, it fused with BM25.
        pa.field("rank", pa.int32()),
        pa.field("score", pa.float32()),  # of the same system
        pa.field("embedder_rank", pa.int32()),  # the tuned embedder's
        pa.field("label", pa.int32(), nullable=False),
        pa.field(
            "origin", pa.string(), nullable=False
        ),  # qrels | given | base | tuned | both | fused
    ]
)
COLUMNS = ["query", "page", "rank", "score", "embedder_rank", "label", "origin"]
RANKS = ["split", "pages", "rank", "queries", "share"]  # of rank_histogram


def training_candidates(
    mining: Mining, base: Vectors, tuned: Vectors, depth: int, negatives: int
) -> pd.DataFrame:
    """The reranker's training pairs: each train query's positives, and negatives mined for it.

    Both embedders' nearest pages go through the same rules. Where the two embedders disagree the
    tuned one decides: a pair that it looked at and dropped is not used, even if the base embedder
    keeps it.

    Args:
        mining: Of the train queries. Its range_max is replaced, so that `depth` pages behind
            range_min are considered.
        base: Vectors of the embedder before fine-tuning.
        tuned: Vectors of the embedder after it.
        depth: Nearest pages considered per query and embedder.
        negatives: How many to choose per positive.

    Returns:
        query, page, rank and embedder_rank (among all train pages for the tuned embedder, from 1; 0
        if it did not look at the page), score (the tuned embedder's), label, origin (qrels, given,
        base, tuned, both); by query, positives first, then by score.
    """
    rules, qrels = mining.rules, mining.qrels
    rules = rules.model_copy(update={"range_max": rules.range_min + depth})
    train = qrels["page"].isin(mining.corpus.page_rows("train"))
    qrels = qrels[train | (qrels["relevance"] == 0)]
    mining = replace(mining, rules=rules, qrels=qrels)
    negatives_per_query = required_negatives(qrels, per_query=0, per_positive=negatives)
    by_base = assess(mining, base, negatives_per_query.index)
    by_tuned = assess(mining, tuned, negatives_per_query.index)
    union = _union(by_base, by_tuned, tuned)
    chosen = choose(union, rules, negatives_per_query, mining.seed, mining.veto)
    chosen = chosen[chosen["rule"] == KEPT].assign(label=0)
    positives = scored_positives(qrels, by_tuned, tuned).assign(label=1)
    rows = pd.concat([positives, chosen], ignore_index=True)
    rows = rows.assign(embedder_rank=rows["rank"])[COLUMNS]
    order = ["query", "label", "score", "page"]
    return rows.sort_values(order, ascending=[True, False, False, True], ignore_index=True)


def _union(base: pd.DataFrame, tuned: pd.DataFrame, vectors: Vectors) -> pd.DataFrame:
    """The pairs to choose from, each once, scored and ranked by the tuned embedder.

    A pair is in if the tuned embedder looked at it and no rule dropped it. It is in as well if only
    the base embedder looked at it and no rule dropped it.

    Args:
        base: As `assess` returns them with the base embedder.
        tuned: As `assess` returns them with the tuned embedder.
        vectors: Of the tuned embedder.
    """
    key = ["query", "page"]
    given = tuned[(tuned["origin"] == "given") & (tuned["rule"] == "")]
    mined = tuned[tuned["origin"] == "mined"]
    passed_by_base = base.loc[(base["origin"] == "mined") & (base["rule"] == ""), key]
    pairs = mined.merge(passed_by_base.assign(base=True), on=key, how="outer")
    # A missing rule means that the tuned embedder never looked at the pair.
    pairs = pairs[(pairs["rule"] == "") | pairs["rule"].isna()]
    by_tuned, by_base = pairs["rule"].notna(), pairs["base"].notna()
    pairs["origin"] = np.select([by_tuned & by_base, by_tuned], ["both", "tuned"], "base")
    pairs["score"] = cosines(pairs, vectors)
    pairs["rank"] = pairs["rank"].fillna(0).astype(int)
    pairs["rule"] = ""
    pairs = pairs.sort_values(["query", "score", "page"], ascending=[True, False, True])
    return pd.concat([given, pairs[given.columns]], ignore_index=True)


def held_out_candidates(
    corpus: Corpus,
    tuned: Vectors,
    split: str,
    depth: int,
    *,
    bm25_weight: float = 0.0,
    device: str = "cpu",
) -> pd.DataFrame:
    """The first stage's `depth` best pages of each dev or eval query, in the same split.

    No rule drops a page and no missing positive is added, as where a reranker is in use. Ties are
    ordered as trec_eval orders them.

    Args:
        corpus: Queries and pages.
        tuned: Vectors of the tuned embedder.
        split: dev or eval.
        depth: Pages per query.
        bm25_weight: Of BM25 in the first stage; 0: the tuned embedder alone.
        device: Of the search.

    Returns:
        The columns of `training_candidates`, by query and rank (from 1). Where BM25 has a weight,
        the tuned embedder's own `depth` nearest pages are there too; a page that the first stage
        does not have has rank 0 and no score, and one that they do not have is of origin fused.
    """
    query_rows = corpus.query_rows(split)
    scores, page_rows = nearest(
        tuned.queries[query_rows],
        tuned.pages,
        depth,
        rows=corpus.page_rows(split),
        tie_break=trec_order(corpus.pages["page_id"].tolist()),
        device=device,
    )
    pairs = ranked_pairs(query_rows, scores, page_rows).assign(origin="tuned")
    pairs["embedder_rank"] = pairs["rank"]
    if bm25_weight:
        fused = _fused_pairs(task_of(corpus, split), tuned, depth, bm25_weight, device)
        pairs = fused.merge(
            pairs.drop(columns=["rank", "score"]), on=["query", "page"], how="outer"
        )
        pairs = pairs.fillna({"rank": 0, "embedder_rank": 0, "origin": "fused"})
        pairs = pairs.astype({"rank": int, "embedder_rank": int})
        pairs["missing"] = pairs["rank"] == 0
        pairs = pairs.sort_values(["query", "missing", "rank", "embedder_rank"], ignore_index=True)
    qrels = qrel_rows(corpus, split)
    positives = qrels.loc[qrels["relevance"] > 0, ["query", "page"]].assign(label=1)
    pairs = pairs.merge(positives, on=["query", "page"], how="left")
    pairs["label"] = pairs["label"].fillna(0).astype(int)
    return pairs[COLUMNS]


def _fused_pairs(
    task: Task, tuned: Vectors, depth: int, bm25_weight: float, device: str
) -> pd.DataFrame:
    """The `depth` best pairs of each query by the tuned embedder fused with BM25.

    Returns:
        query, page, rank (from 1), score; a query without a right page is not searched.
    """
    runs = [search(task, tuned, DEPTH, device=device), bm25_run(task)]
    corpus, rows = task.corpus, []
    for query_id, pages in fuse(runs, [1 - bm25_weight, bm25_weight]).as_dict().items():
        best = islice(pages.items(), depth)
        rows += [
            (corpus.query_row[query_id], corpus.page_row[page_id], rank, score)
            for rank, (page_id, score) in enumerate(best, 1)
        ]
    return pd.DataFrame(rows, columns=["query", "page", "rank", "score"])


def rank_histogram(tables: dict[str, pd.DataFrame], corpus: Corpus, depth: int) -> pd.DataFrame:
    """How high the tuned embedder puts the best positive, by split.

    The embedder was trained on the train queries, so it ranks their positives higher than the
    positives of new queries: the histogram says by how much. The splits differ in size: see
    `pages`.

    Args:
        tables: Candidates by split, of which train and dev count.
        corpus: Of the candidates.
        depth: The deepest rank that both splits have; a positive below it counts as rank 0.

    Returns:
        split, pages (searched), rank, queries, share (of the split's queries with a positive).
    """
    parts = []
    for split in ("train", "dev"):
        pairs, qrels = tables[split], qrel_rows(corpus, split)
        query_rows = qrels.loc[qrels["relevance"] > 0, "query"].unique()
        positives = pairs[(pairs["label"] == 1) & pairs["embedder_rank"].between(1, depth)]
        best = positives.groupby("query")["embedder_rank"].min().reindex(query_rows, fill_value=0)
        counts = best.value_counts().reindex(range(depth + 1), fill_value=0)
        rows = counts.rename_axis("rank").reset_index(name="queries")
        rows.insert(0, "split", split)
        rows.insert(1, "pages", len(corpus.page_rows(split)))
        parts.append(rows.assign(share=(rows["queries"] / max(1, len(query_rows))).round(6)))
    return pd.concat(parts, ignore_index=True)
