"""Checks of the knobs of training: what the trainers and losses really get."""

import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch
from knobs import obeys
from sentence_transformers.base.modules import Dense
from sentence_transformers.sentence_transformer.losses import CachedMultipleNegativesRankingLoss
from tiny import mined_negatives, ranked_candidates, write_root, write_tiny_corpus

from pagefinder.data.corpus import Corpus
from pagefinder.models.device import choose_device
from pagefinder.models.opening import open_embedder, open_reranker
from pagefinder.params import Params
from pagefinder.training import embedder as embedder_training
from pagefinder.training import reranker as reranker_training
from pagefinder.training.arguments import TrainingRun
from pagefinder.training.batches import embedder_rows
from pagefinder.training.dev import dev_reranking, dev_retrieval
from pagefinder.training.embedder import embedder_trainer

ROWS = 24  # of the embedder's training: 6 steps


@functools.cache
def root() -> Path:
    """A tiny model and corpus, which all checks of this process share."""
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="knobs-"))
    return write_root(folder)


def training_run(params: Params, folder: Path) -> TrainingRun:
    corpus = Corpus(root() / "data/corpus")
    settings = choose_device(params.compute)
    return TrainingRun(corpus, params.compute, settings, params.seed, folder)


def embedder(params: Params, folder: Path) -> Any:
    """The embedder's trainer."""
    run = training_run(params, folder)
    model = open_embedder(params.base, params.pixels, run.device_settings, root())
    rows = embedder_rows(run.corpus, mined_negatives(), run.seed)
    evaluator = dev_retrieval(run.corpus, params.embedder, 8, run.seed)
    return embedder_trainer(model, rows, params.embedder, params.loss, run, evaluator)


def reranker(params: Params, folder: Path) -> Any:
    """The reranker's trainer."""
    run = training_run(params, folder)
    model = open_reranker(params.reranker, params.pixels, run.device_settings, root())
    with mock.patch.object(reranker_training, "fit") as fit:
        reranker_training.train_reranker(model, ranked_candidates(), params.reranker, run)
    return fit.call_args[0][0]


def rates(trainer: Any) -> list[float]:
    """The learning rate of each step."""
    trainer.create_optimizer_and_scheduler(trainer.args.max_steps)
    return [
        trainer.lr_scheduler.lr_lambdas[0](step) * trainer.args.learning_rate
        for step in range(trainer.args.max_steps + 1)
    ]


TRAINERS = {"embedder": embedder, "reranker": reranker}


def both(name: str, values: dict[str, Any]):
    """Register a check of the knob `name` in the sections of both trainings."""

    def register(check):
        for section, value in values.items():

            def of_section(params, value, folder, section=section):
                check(TRAINERS[section](params, folder), value)

            obeys(f"{section}.{name}", value)(of_section)
        return check

    return register


def same(value: Any) -> dict[str, Any]:
    return {"embedder": value, "reranker": value}


@both("learning_rate", same(3e-3))
def _learning_rate(trainer, value):
    assert np.isclose(max(rates(trainer)), value)


@both("warmup", same(0.5))
def _warmup(trainer, value):
    by_step = rates(trainer)
    assert by_step[0] == 0
    assert np.argmax(by_step) == round(value * trainer.args.max_steps)
    assert by_step[-1] == 0


@both("epochs", same(2))
def _epochs(trainer, value):
    rows, batch = len(trainer.train_dataset), trainer.args.per_device_train_batch_size
    assert trainer.args.max_steps == value * (rows // batch)


@both("batch", {"embedder": 6, "reranker": 12})
def _batch(trainer, value):
    assert trainer.args.per_device_train_batch_size == value
    assert trainer.args.max_steps == len(trainer.train_dataset) // value


@both("evaluations", same(3))
def _evaluations(trainer, value):
    assert trainer.args.eval_steps == trainer.args.max_steps // value


@both("resume_checkpoints", same(3))
def _resume_checkpoints(trainer, value):
    assert trainer.args.save_steps == trainer.args.max_steps // value


@both("lora_rank", same(4))
def _lora_rank(trainer, value):
    trained = [name for name, p in trainer.model.named_parameters() if p.requires_grad]
    assert all("lora" in name for name in trained)
    adapted = [m for m in trainer.model.modules() if getattr(m, "r", None)]
    assert adapted
    # Hu et al. 2021 scale the product by alpha / rank; alpha is twice the rank here.
    for module in adapted:
        assert module.r["default"] == value
        assert module.scaling["default"] == 2


@both("freeze", {"embedder": ["language_model"], "reranker": ["language_model"]})
def _freeze(trainer, value):
    for name, parameter in trainer.model.named_parameters():
        assert parameter.requires_grad == (value[0] not in name), name


@both("learning_rates", same({"language_model": 1e-6}))
def _learning_rates(trainer, value):
    (part, rate), *_ = value.items()
    rates_of = {
        id(parameter): group["lr"]
        for group in trainer.create_optimizer().param_groups
        for parameter in group["params"]
    }
    for name, parameter in trainer.model.named_parameters():
        if parameter.requires_grad:
            expected = rate if part in name else trainer.args.learning_rate
            assert rates_of[id(parameter)] == expected, name


@both("gradient_checkpointing", same(True))
def _gradient_checkpointing(trainer, value):
    assert trainer.model[0].model.is_activation_checkpointing == value


def reference_loss(params: Params, dims: list[int], temperature: float) -> tuple[float, float]:
    """What the trainer's loss gives for vectors of random numbers, and what the formula gives.

    The formula is the mean cross-entropy of each query's own page among all pages and negatives of
    the batch, cosines over the temperature, summed over the dimensions (Henderson et al. 2017;
    Kusupati et al. 2022).
    """
    trainer = embedder(params, root() / "unused")
    random = torch.Generator().manual_seed(0)
    queries, pages, negatives = torch.randn(3, 5, 192, generator=random)

    class Columns(torch.nn.Module):
        """Stands for the model: its inputs are its vectors."""

        def forward(self, features):
            return {"sentence_embedding": features["vectors"]}

    columns = Columns()
    trainer.loss.model = trainer.loss.loss.model = columns
    features = [{"vectors": vectors} for vectors in (queries, pages, negatives)]
    actual = float(trainer.loss(features, None))
    expected = 0.0
    for dim in dims:
        q, p = (
            torch.nn.functional.normalize(vectors[:, :dim], dim=1)
            for vectors in (queries, torch.cat([pages, negatives]))
        )
        expected += float(
            torch.nn.functional.cross_entropy(q @ p.T / temperature, torch.arange(len(q)))
        )
    return actual, expected


@obeys("loss.temperature", 0.2)
def _temperature(params, value, folder):
    actual, expected = reference_loss(params, [192, 48], value)
    assert np.isclose(actual, expected, rtol=1e-5)
    cached = params.model_copy(
        update={"embedder": params.embedder.model_copy(update={"mini_batch": 2})}
    )
    assert np.isclose(embedder(cached, folder).loss.loss.scale, 1 / value)


@obeys("embedder.dims", [96, 24])
def _dims(params, value, folder):
    actual, expected = reference_loss(params, value, params.loss.temperature)
    assert np.isclose(actual, expected, rtol=1e-5)


@obeys("loss.matryoshka_dims_per_step", 1)
def _dims_per_step(params, value, folder):
    loss = embedder(params, folder).loss
    assert loss.n_dims_per_step == value


@obeys("embedder.mini_batch", 2)
def _mini_batch(params, value, folder):
    loss = embedder(params, folder).loss.loss
    assert isinstance(loss, CachedMultipleNegativesRankingLoss)
    assert loss.mini_batch_size == value
    assert np.isclose(loss.scale, 1 / params.loss.temperature)


@obeys("embedder.prompts", False)
def _prompts(params, value, folder):
    assert bool(embedder(params, folder).args.prompts) == value


@obeys("embedder.dev_pages", 5)
def _dev_pages(params, value, folder):
    evaluator = embedder(params, folder).evaluator
    assert len(evaluator.corpus) == value
    assert len(evaluator.queries) == value  # one question a page


@obeys("seed", 99)
def _seed(params, value, folder):
    arguments = embedder(params, folder).args
    assert (arguments.seed, arguments.data_seed) == (value, value)
    arguments = reranker(params, folder).args
    assert (arguments.seed, arguments.data_seed) == (value, value)


@obeys("reranker.instruction", "Does the page say so?")
def _instruction(params, value, folder):
    trainer = reranker(params, folder)
    collate, model = trainer.data_collator, trainer.model
    with mock.patch.object(model, "preprocess", wraps=model.preprocess) as preprocess:
        collate([trainer.train_dataset[0]])
    assert preprocess.call_args.kwargs["prompt"] == value
    assert trainer.model.prompts[trainer.model.default_prompt_name] == value


@obeys("reranker.vision_cache_gib", 0.0)
def _vision_cache_gib(params, value, folder):
    """The tower is frozen here, so that without a bound all pages are kept."""
    assert bool(reranker(params, folder).loss.outputs.kept) == bool(value)


@obeys("reranker.head", "dense")
def _head(params, value, folder):
    trainer = reranker(params, folder)
    assert isinstance(trainer.model[-1], Dense)


@obeys("reranker.dev_queries", 3)
def _dev_queries(params, value, folder):
    assert len(reranker(params, folder).evaluator.samples) == value


@obeys("reranker.compared_depth", 2)
def _compared_depth(params, value, folder):
    corpus = Corpus(root() / "data/corpus")
    evaluator = dev_reranking(corpus, ranked_candidates(), params.reranker, 1, lambda *_: None)
    for sample in evaluator.samples:
        assert len(sample["positive"]) + len(sample["negative"]) == value


def tiny_vectors(seed: int) -> SimpleNamespace:
    random = np.random.default_rng(seed)
    queries, pages = random.standard_normal((2, 40, 8)).astype(np.float32)
    unit = [array / np.linalg.norm(array, axis=1, keepdims=True) for array in (queries, pages)]
    return SimpleNamespace(queries=unit[0], pages=unit[1])


def candidate_table(params: Params, folder: Path) -> pd.DataFrame:
    """data/candidates.parquet of the tiny corpus, by vectors of random numbers."""
    from pagefinder.layout import BASE_VECTORS, CANDIDATES, CORPUS, FIRST_STAGE, TUNED_VECTORS
    from stages import candidates

    write_tiny_corpus(folder / CORPUS)
    for path, seed in ((BASE_VECTORS, 1), (TUNED_VECTORS, 2)):
        vectors = tiny_vectors(seed)
        (folder / path).mkdir(parents=True)
        np.save(folder / path / "pages.npy", vectors.pages)
        np.save(folder / path / "queries.npy", vectors.queries)
    (folder / FIRST_STAGE).write_text('{"tuned": 1.0, "bm25": 0.0}')
    plain = {"relative_margin": 0.0, "same_document_pages": 0}
    mine = params.mine.model_copy(update=plain)
    candidates.main(params.model_copy(update={"mine": mine}), folder)
    return pd.read_parquet(folder / CANDIDATES)


@obeys("reranker.negatives", 2)
def _negatives(params, value, folder):
    train = candidate_table(params, folder).query("split == 'train'")
    assert set(train[train["label"] == 0].groupby("query_id").size()) == {value}


@obeys("reranker.depths", [3, 4])
def _depths(params, value, folder):
    held_out = candidate_table(params, folder).query("split != 'train'")
    assert set(held_out.groupby("query_id")["rank"].max()) == {max(value)}


@obeys("reranker.train_depth", 1)
def _train_depth(params, value, folder):
    # The nearest page of each embedder, and so at most two.
    train = candidate_table(params, folder).query("split == 'train' and label == 0")
    assert train.groupby("query_id").size().max() <= 2 * value


@obeys("embedder.mined_negatives", 1)
def _mined_negatives(params, value, folder):
    run = training_run(params, folder)
    model = open_embedder(params.base, params.pixels, run.device_settings, root())
    with mock.patch.object(embedder_training, "fit") as fit:
        embedder_training.train_embedder(
            model, mined_negatives(), params.embedder, params.loss, run
        )
    columns = fit.call_args[0][0].train_dataset[0]
    assert sum(name.startswith("negative_") for name in columns) == value
