"""Rows that the embedder trains on, and the dev evaluators, on corpora made for the question."""

import itertools
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from corpora import write_corpus
from PIL import Image
from sentence_transformers.base.sampler import NoDuplicatesBatchSampler
from tiny import FILE, ranked_candidates, tiny_params, write_tiny_corpus

from pagefinder import params_file
from pagefinder.data.corpus import Corpus
from pagefinder.mining.pairs import qrel_rows
from pagefinder.mining.rules import exclusions
from pagefinder.training.batches import embedder_rows, no_duplicates, with_content
from pagefinder.training.dev import dev_reranking, dev_retrieval

KNOBS = tiny_params().embedder


@pytest.fixture
def dev(tmp_path, monkeypatch) -> Corpus:
    """Thirty dev pages, only one of which is asked for."""
    pages = [{"page_id": f"p{row:02}", "split": "dev"} for row in range(30)]
    asked = [{"query_id": "q", "split": "dev"}]
    monkeypatch.setattr(Corpus, "image", lambda self, row: Image.new("RGB", (4, 4)))
    return write_corpus(tmp_path / "corpus", pages, asked, [("q", "p29", 1)])


def dev_pages(corpus: Corpus, count: int, seed: int) -> list[str]:
    knobs = KNOBS.model_copy(update={"dev_pages": count})
    return list(dev_retrieval(corpus, knobs, 8, seed).corpus_ids)


def test_dev_pages_are_drawn_and_keep_the_answers(dev):
    drawn = dev_pages(dev, 10, 1)
    assert len(drawn) == 10
    assert drawn[0] == "p29"
    assert drawn == dev_pages(dev, 10, 1)
    assert drawn != dev_pages(dev, 10, 2)
    assert set(drawn) != {"p29", *(f"p{row:02}" for row in range(9))}


def test_questions_pages_and_candidates_are_drawn_with_the_seed(tmp_path):
    corpus = write_tiny_corpus(tmp_path / "corpus")

    def questions(seed):
        knobs = KNOBS.model_copy(update={"dev_pages": 4})
        return list(dev_retrieval(corpus, knobs, 8, seed).queries_ids)

    def samples(seed):
        evaluator = dev_reranking(
            corpus, ranked_candidates(), tiny_params().reranker, seed, lambda *_: None
        )
        return [sample["query"] for sample in evaluator.samples]

    def negatives(seed):
        mined = pd.DataFrame([["q00", "p07"]], columns=["query_id", "page_id"])
        return embedder_rows(corpus, mined, seed)["negative_0_id"].tolist()

    for draw in (questions, samples, negatives):
        assert draw(1) == draw(1)
        assert draw(1) != draw(2)
    dev = set(corpus.positives("dev"))
    assert set(questions(1)) | set(samples(1)) <= dev


@pytest.mark.parametrize("count", [30, 31])
def test_where_all_dev_pages_are_taken_they_stand_in_table_order(dev, count):
    assert dev_pages(dev, count, 1) == ["p29", *(f"p{row:02}" for row in range(29))]


def test_drawn_negatives_obey_the_rules_that_need_no_score(tmp_path, caplog):
    """Of eight train pages all but p6 and p7 answer q, are like its answer or stand beside it."""
    pages = [
        {"page_id": f"p{row}", "split": "train", "document_id": "d", "page_number": 10 + row}
        for row in range(8)
    ]
    pages.append({"page_id": "dev", "split": "dev"})
    asked = [{"query_id": "q"}, {"query_id": "other"}]
    qrels = [("q", "p0", 1), ("q", "p3", 1), ("other", "p7", 1)]
    corpus = write_corpus(
        tmp_path / "corpus", pages, asked, qrels, [("p0", "p5"), ("p0", "dev"), ("p3", "dev")]
    )
    mined = pd.DataFrame([["other", "p1"], ["other", "p2"]], columns=["query_id", "page_id"])
    rules = params_file.load(FILE).mine
    rules = rules.model_copy(update={"same_document_pages": 1})
    known = qrel_rows(corpus, "train")
    excluded = exclusions(corpus, rules, known[known["relevance"] > 0])
    caplog.set_level("INFO")
    for seed in range(20):
        rows = embedder_rows(corpus, mined, seed, excluded).set_index("query_id")
        assert rows.loc["q", "image_id"].tolist() == ["p0", "p3"]
        drawn = rows.loc["q", ["negative_0_id", "negative_1_id"]].to_numpy()
        assert {*drawn[0]} == {*drawn[1]} == {"p6", "p7"}
    assert "1 of 2 queries had fewer than 2 mined negatives: they got 2 pages" in caplog.text
    known = rows.loc["other", ["negative_0_id", "negative_1_id"]].tolist()
    assert known == ["p1", "p2"]


def batches(sampler, dataset, seed, size=4):
    return list(
        sampler(
            dataset,
            batch_size=size,
            drop_last=False,
            valid_label_columns=["label"],
            generator=torch.Generator(),
            seed=seed,
        )
    )


def test_batches_are_those_that_the_library_makes_of_the_pages_themselves(tmp_path):
    corpus = write_tiny_corpus(tmp_path / "corpus")
    # Several questions a page and negatives that are others' answers, so that rows do collide.
    rows = pd.DataFrame(
        [[f"q{i:02}", f"p{i % 11:02}", f"p{(i * 5 + 3) % 13:02}"] for i in range(24)],
        columns=["query_id", "image_id", "negative_0_id"],
    )
    dataset = with_content(rows, corpus)
    for seed in range(3):
        ours = batches(lambda *a, **k: no_duplicates(corpus, *a, **k), dataset, seed)
        assert ours == batches(NoDuplicatesBatchSampler, dataset, seed)
        assert ours != [list(range(i, i + 4)) for i in range(0, 24, 4)]
    assert any(len(batch) < 4 for batch in ours)


def test_no_batch_holds_a_page_that_answers_anothers_query(tmp_path):
    pages = [{"page_id": f"p{row:02}", "split": "train"} for row in range(20)]
    asked = [{"query_id": f"q{row:02}"} for row in range(14)]
    qrels = [(f"q{row:02}", f"p{row:02}", 1) for row in range(14)]
    qrels += [("q00", "p05", 1), ("q00", "p16", 1), ("q07", "p05", 1)]
    twins = [("p01", "p02"), ("p02", "p15"), ("p16", "p17")]
    corpus = write_corpus(tmp_path / "corpus", pages, asked, qrels, twins)
    negatives = [f"p{14 + row % 6:02}" for row in range(14)]
    mined = pd.DataFrame({"query_id": [f"q{row:02}" for row in range(14)], "page_id": negatives})
    rows = embedder_rows(corpus, mined, 1)
    dataset = with_content(rows, corpus)
    answers: dict[str, set[str]] = {}
    for query_id, page_id, _ in qrels:
        answers.setdefault(query_id, set()).add(page_id)
    near = {frozenset(pair) for pair in [*twins, ("p01", "p15")]}

    def clash(one: pd.Series, other: pd.Series) -> bool:
        own, others = (row[["image_id", "negative_0_id"]].tolist() for row in (one, other))
        same = any(a == b or frozenset((a, b)) in near for a in own for b in others)
        wrong = {page for pair in near for page in pair if pair & answers[one["query_id"]]}
        return same or bool((answers[one["query_id"]] | wrong) & set(others))

    for seed in range(10):
        found = batches(lambda *a, **k: no_duplicates(corpus, *a, **k), dataset, seed)
        assert sorted(itertools.chain(*found)) == list(range(len(rows)))
        for batch in found:
            for one, other in itertools.permutations(batch, 2):
                assert not clash(rows.iloc[one], rows.iloc[other]), (one, other)
        # With the ids alone such batches do occur.
    plain = [
        pair
        for seed in range(10)
        for batch in batches(NoDuplicatesBatchSampler, dataset.with_format(None), seed)
        for pair in itertools.permutations(batch, 2)
    ]
    assert any(clash(rows.iloc[one], rows.iloc[other]) for one, other in plain)


def test_dev_reranking_scores_each_query_with_its_candidates(tmp_path):
    corpus = write_tiny_corpus(tmp_path / "corpus")
    rows = [
        (f"q{i}", f"p{24 + (i + step) % 8}", "dev", step + 1)
        for i in range(24, 28)
        for step in range(3)
    ]
    table = pd.DataFrame(rows, columns=["query_id", "page_id", "split", "rank"])
    seen = []

    def score(model, pairs):
        """The right page, which has the query's number, comes second."""
        seen.append(pairs)
        right = pairs["query_id"].str[1:] == pairs["page_id"].str[1:]
        return np.where(right, 1.0, pairs.groupby("query_id").cumcount() - 0.5)

    found = dev_reranking(corpus, table, tiny_params().reranker, 1, score)
    model = SimpleNamespace(model_card_data=mock.Mock())
    assert found(model)["dev_ndcg@10"] == pytest.approx(1 / np.log2(3))
    keys = ["query_id", "page_id"]
    assert set(map(tuple, seen[0][keys].to_numpy())) == set(map(tuple, table[keys].to_numpy()))
