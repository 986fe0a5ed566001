"""The reranker's first stage where pages have text: the tuned embedder fused with BM25."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import vector_corpus

from pagefinder import layout, params_file
from pagefinder.data.corpus import Corpus
from pagefinder.evaluation import reranker
from pagefinder.params import Params
from pagefinder.retrieval.bm25 import bm25_run
from pagefinder.retrieval.fusion import fuse
from pagefinder.retrieval.metrics import mean_metrics
from pagefinder.retrieval.tasks import task_of
from pagefinder.retrieval.vector_search import search
from pagefinder.retrieval.vectors import open_vectors
from stages import candidates

ROOT = Path(__file__).parents[2]


def settings() -> Params:
    content = params_file.read(ROOT / "params.yaml")
    content["profile"] = "cpu"
    knobs = {"depths": [4, 8], "compared_depth": 8, "train_depth": 8}
    content["profiles"]["cpu"]["reranker"] |= knobs
    return params_file.parse(content)


def make(root: Path, bm25_weight: float) -> pd.DataFrame:
    """The candidates of the made-up corpus with this weight of BM25."""
    vector_corpus.write(root / layout.CORPUS)
    for folder, noise in ((layout.BASE_VECTORS, 2.2), (layout.TUNED_VECTORS, 1.5)):
        vector_corpus.encode(root / layout.CORPUS, root / folder, noise)
    weights = {"tuned": 1 - bm25_weight, "bm25": bm25_weight}
    (root / layout.FIRST_STAGE).write_text(json.dumps(weights))
    candidates.main(settings(), root)
    return pd.read_parquet(root / layout.CANDIDATES)


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> dict[float, Path]:
    folders = {weight: tmp_path_factory.mktemp("root") for weight in (0.0, 0.3)}
    for weight, root in folders.items():
        make(root, weight)
    return folders


@pytest.fixture(scope="module")
def tables(roots) -> dict[float, pd.DataFrame]:
    return {weight: pd.read_parquet(root / layout.CANDIDATES) for weight, root in roots.items()}


def test_training_pairs_come_from_the_embedders_alone(tables) -> None:
    plain, fused = (table[table["split"] == "train"] for table in tables.values())
    pd.testing.assert_frame_equal(plain, fused)
    assert plain["rank"].equals(plain["embedder_rank"])


def test_without_bm25_the_first_stage_is_the_embedder(tables) -> None:
    held_out = tables[0.0].query("split != 'train'")
    assert held_out["rank"].tolist() == held_out["embedder_rank"].tolist()
    assert set(held_out["origin"]) == {"tuned"}


@pytest.mark.parametrize("split", ["dev", "eval"])
def test_dev_and_eval_get_the_best_pages_of_both_together(roots, tables, split) -> None:
    corpus = Corpus(roots[0.3] / layout.CORPUS)
    task = task_of(corpus, split)
    tuned = open_vectors(roots[0.3] / layout.TUNED_VECTORS, corpus)
    expected = fuse([search(task, tuned, 100), bm25_run(task)], [0.7, 0.3]).as_dict()
    part = tables[0.3].query("split == @split")
    first = part[part["rank"].notna()].sort_values(["query_id", "rank"])
    assert set(first["query_id"]) == set(task.query_ids)
    for query_id, pages in first.groupby("query_id"):
        best = list(expected[query_id].items())[:8]
        assert list(zip(pages["page_id"], pages["score"].astype(np.float32), strict=True)) == best
        assert pages["rank"].tolist() == [*range(1, 9)]
    assert part.loc[part["rank"].isna(), "score"].isna().all()
    assert set(part["page_id"]) <= set(corpus.pages["page_id"].iloc[corpus.page_rows(split)])


@pytest.mark.parametrize("split", ["dev", "eval"])
def test_the_embedders_own_pages_are_there_as_without_bm25(tables, split) -> None:
    plain, part = (table[table["split"] == split] for table in tables.values())
    own = part[part["embedder_rank"].notna()].sort_values(["query_id", "embedder_rank"])
    plain = plain.sort_values(["query_id", "rank"])
    for column in ("query_id", "page_id", "label"):
        assert own[column].tolist() == plain[column].tolist()
    assert own["embedder_rank"].tolist() == plain["rank"].tolist()
    assert set(part.loc[part["embedder_rank"].isna(), "origin"]) == {"fused"}
    assert set(own["origin"]) == {"tuned"}


def test_the_histogram_of_ranks_is_the_embedders(roots) -> None:
    files = [root / layout.AUDIT / "candidates/histogram.csv" for root in roots.values()]
    assert files[0].read_bytes() == files[1].read_bytes()


def evaluated(root: Path, table: pd.DataFrame) -> reranker.Result:
    """With a reranker that scores by label and chance."""

    def logits(rows: pd.DataFrame) -> np.ndarray:
        chance = np.random.default_rng(len(rows)).standard_normal(len(rows))
        return (rows["label"].to_numpy() + 2 * chance).astype(np.float32)

    corpus, knobs = Corpus(root / layout.CORPUS), settings().reranker
    return reranker.evaluate(table, corpus, logits, logits, knobs, resamples=50, seed=1)


def test_the_embedder_alone_scores_the_same_and_the_first_stage_has_its_own_figures(
    roots, tables
) -> None:
    corpus = Corpus(roots[0.3] / layout.CORPUS)
    task = task_of(corpus, "eval")
    tuned = open_vectors(roots[0.3] / layout.TUNED_VECTORS, corpus)
    runs = {"embedder": [1, 0], "first_stage": [0.7, 0.3]}
    alone = evaluated(roots[0.0], tables[0.0])
    fused = evaluated(roots[0.3], tables[0.3])
    assert "first_stage" not in alone.metrics["depth"][8]
    assert "over_first_stage" not in alone.metrics
    for name, weights in runs.items():
        run = fuse([search(task, tuned, 100), bm25_run(task)], weights)
        best = {query: dict(list(pages.items())[:8]) for query, pages in run.as_dict().items()}
        pages = [list(of_query) for of_query in best.values()]
        scores = [list(of_query.values()) for of_query in best.values()]
        expected = mean_metrics(reranker.Run(list(best), pages, scores), task.qrels)["ndcg@10"]
        for depth in (4, 8):
            assert fused.metrics["depth"][depth][name]["ndcg@10"] == pytest.approx(expected)
    at = {depth: alone.metrics["depth"][depth]["embedder"] for depth in (4, 8)}
    assert at == {depth: fused.metrics["depth"][depth]["embedder"] for depth in (4, 8)}
    for name in ("tuned", "fused"):
        gain = fused.metrics["over_first_stage"][name]["ndcg@10"]
        scores = fused.metrics["depth"][8]
        assert gain == pytest.approx(scores[name]["ndcg@10"] - scores["first_stage"]["ndcg@10"])
    assert set(fused.runs) == {"embedder", "first_stage", "base", "tuned", "fused"}
    assert "first_stage_rank" in fused.per_query
    missed = (fused.per_query["first_stage_rank"] == 0).sum()
    assert fused.metrics["first_stage_missed"] == missed
