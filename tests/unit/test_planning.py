"""`python -m tools.plan` on a tiny root, with and without a corpus."""

import logging
import os
from types import SimpleNamespace

import pytest
from sentence_transformers import SentenceTransformerTrainingArguments
from tiny import tiny_params, write_root, write_tiny_corpus

from pagefinder.models.device import choose_device
from pagefinder.runtime import disk
from pagefinder.training.arguments import Schedule, TrainingRun, schedule, training_arguments
from tools import measuring, plan, predicting, synthetic


@pytest.mark.parametrize("prepared", [True, False])
def test_the_plan_says_memory_speed_and_hours(tmp_path, caplog, monkeypatch, prepared):
    monkeypatch.setattr("sys.argv", ["plan", "cpu"])
    root = write_root(tmp_path)
    if not prepared:
        (root / "data/corpus").rename(root / "data/elsewhere")
    with caplog.at_level(logging.INFO):
        plan.main(tiny_params(), root)
    assert f"visual tokens per page: {6 if prepared else 4}" in caplog.text
    assert "encoding: " in caplog.text
    assert f"predicted for {24 if prepared else 10_000} rows" in caplog.text
    assert f"predicted for {40 if prepared else 51_500} pages" in caplog.text
    assert ("synthetic" in caplog.text) is not prepared
    assert "predicted: train_reranker " in caplog.text
    for cost in predicting.Costs._fields:
        assert f"{cost}: " in caplog.text
    assert not (root / "models/embedder").exists()
    assert not any((root / ".work").iterdir())


def test_no_synthetic_page_occurs_twice():
    rows = synthetic.synthetic_rows(5, 2)
    assert rows["image_id"].tolist() == ["p0", "p1", "p2", "p3", "p4"]
    pages = rows.drop(columns="query_id").to_numpy().ravel()
    assert sorted(pages) == sorted(f"p{number}" for number in range(15))


def test_a_query_with_two_pages_makes_two_rows(tmp_path):
    corpus = write_tiny_corpus(tmp_path / "corpus")
    corpus.qrels.loc[len(corpus.qrels)] = ["q00", "p01", 1]
    # 24 train pages with a query each, and one of these queries has a second page.
    assert plan.sizes(tiny_params(), corpus) == (25, 40, 8, 8, 8, 8)


@pytest.mark.parametrize(
    ("rows", "epochs", "evaluations", "expected"),
    [
        (27, 3, 4, (18, 5, 9)),  # six whole batches an epoch
        (3, 1, 4, (1, 1, 1)),  # fewer rows than a batch
        (400, 0.5, 4, (50, 13, 25)),
        (524, 1, 2, (131, 66, 66)),  # scored at 66 and 131, not at 65, 130 and 131
    ],
)
def test_the_schedule_counts_whole_batches(rows, epochs, evaluations, expected):
    knobs = tiny_params(embedder={"epochs": epochs, "batch": 4, "evaluations": evaluations})
    assert schedule(knobs.embedder, rows) == expected


def test_the_schedule_is_that_of_training(tmp_path):
    knobs = {"epochs": 3, "batch": 4, "evaluations": 4, "resume_checkpoints": 2}
    params = tiny_params(embedder=knobs)
    corpus = write_tiny_corpus(tmp_path / "corpus")
    device_settings = choose_device(params.compute)
    run = TrainingRun(corpus, params.compute, device_settings, 1, tmp_path)
    made = training_arguments(SentenceTransformerTrainingArguments, params.embedder, run, 27)
    assert schedule(params.embedder, 27) == (
        made.max_steps,
        made.eval_steps,
        made.save_steps,
    )
    assert made.max_steps == 18


def test_every_part_of_a_training_is_counted():
    costs = predicting.Costs(
        opening=100,
        setup=1000,
        step=3,
        checkpoint=20,
        weights=7,
        decode=0.5,
        page=0.25,
        query=0.125,
    )
    # 5 steps, dev every 2: scored before the first, after 2, 4 and 5, with the best weights written
    # three times and the output; checkpoints after 3 and 5.
    expected = 200 + 1000 + 8 * 0.5 + 5 * 3 + 4 * (8 * 0.25 + 4 * 0.125) + 4 * 7 + 2 * 20
    assert predicting.train_seconds(costs, Schedule(5, 2, 3), pages=8, queries=4) == expected


@pytest.mark.parametrize(("workers", "busy"), [(0, 1), (1, 1), (2, 2), (1000, os.cpu_count())])
def test_loading_is_timed_apart_and_shared_by_the_loader_processes(workers, busy, monkeypatch):
    """Steps of a measurement take what was loaded ahead, so waiting shows nothing."""
    clock = [0.0]
    monkeypatch.setattr(measuring, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def collate(rows):
        clock[0] += 0.01 * len(rows)

    trainer = SimpleNamespace(train_dataset=range(100), data_collator=collate)
    assert measuring._load_seconds(trainer, 64, workers) == pytest.approx(0.64 / busy)


def test_dev_pages_of_a_synthetic_corpus_are_none_of_the_trained_ones(tmp_path):
    corpus = synthetic.synthetic_corpus(tmp_path / "c", tiny_params().pixels, 3, 1, dev=2)
    assert corpus.page_rows("dev").tolist() == [6, 7]
    assert corpus.positives("dev") == {"q3": {"p6": 1}, "q4": {"p7": 1}}
    assert corpus.positives("train") == {f"q{n}": {f"p{n}": 1} for n in range(3)}


def test_every_part_of_a_rerankers_stages_is_counted():
    knobs = tiny_params(
        reranker={
            "negatives": 4,
            "depths": [10, 20],
            "compared_depth": 10,
            "dev_queries": 40,
            "fusion_queries": 60,
        }
    ).reranker
    counts = predicting.pair_counts(knobs, positives=100, dev_queries=50, eval_queries=30)
    assert counts == (100 * 5, 40 * 10, 50 * 10 + 30 * (10 + 20))
    costs = predicting.RerankerCosts(
        opening=100, setup=1000, step=3, checkpoint=20, weights=7, pair=0.5
    )
    training, evaluation = predicting.reranker_seconds(costs, Schedule(5, 2, 3), counts)
    assert training == 200 + 1000 + 5 * 3 + 4 * (400 * 0.5 + 7) + 2 * 20
    assert evaluation == 200 + counts.scored * 0.5


def test_a_reranker_of_the_tuned_embedder_is_planned_on_the_base(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("sys.argv", ["plan"])
    params = tiny_params(reranker={"model": "models/embedder"})
    with caplog.at_level(logging.INFO):
        plan.main(params, write_root(tmp_path))
    assert "predicted: train_reranker " in caplog.text
    assert "train_reranker" in disk.needs(
        params, disk.amounts_of(params, tmp_path), disk.models_of(params, tmp_path)
    )
