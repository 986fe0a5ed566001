"""Fine-tune an embedder on queries, their pages and mined negatives."""

import functools
from collections.abc import Callable

import pandas as pd
import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from pagefinder.errors import InputError
from pagefinder.params import Embedder, Loss
from pagefinder.runtime import processes
from pagefinder.training.arguments import TrainingRun, training_arguments
from pagefinder.training.batches import (
    embedder_rows,
    fitting_batch,
    no_duplicates,
    with_content,
)
from pagefinder.training.callbacks import Watch
from pagefinder.training.dev import RETRIEVAL_METRIC, dev_retrieval, encode_ahead
from pagefinder.training.losses import embedder_loss
from pagefinder.training.mini_batch import probe
from pagefinder.training.trainers import CURVE_COLUMNS, EmbedderTrainer, fit, set_up_parameters


def train_embedder(
    model: SentenceTransformer,
    negatives: pd.DataFrame,
    knobs: Embedder,
    loss: Loss,
    run: TrainingRun,
    excluded: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Fine-tune `model` in place and return its curves: step, metric, value.

    The model ends as the checkpoint with the best NDCG@10 on dev. Without epochs it stays as it is,
    and there are no curves. See `batches.embedder_rows` for `negatives`, of which each query's
    first `knobs.mined_negatives` are used, and for `excluded`. The batch is `knobs.batch`, or less
    where there are too few pages for it, see `batches.fitting_batch`.

    Raises:
        InputError: params name a dimension or a part that the model lacks, or rows cannot be made.
    """
    if not knobs.epochs:
        return pd.DataFrame(columns=CURVE_COLUMNS)
    width = model.get_embedding_dimension()
    if knobs.dims[0] > width:
        raise InputError(
            f"embedder.dims asks for dimension {knobs.dims[0]}, the model has {width}: "
            f"drop the dimensions above {width}"
        )
    _check_static(model, knobs)
    if knobs.mined_negatives != "all":
        negatives = negatives.groupby("query_id", sort=False).head(knobs.mined_negatives)
    rows = embedder_rows(run.corpus, negatives, run.seed, excluded)
    batch = fitting_batch(run.corpus, rows, knobs.batch)
    knobs = knobs.model_copy(update={"batch": batch})
    evaluator = dev_retrieval(run.corpus, knobs, run.compute.encode_batch, run.seed)
    if run.device_settings.loader_processes:
        encode_ahead(evaluator, run.corpus, run.device_settings)
    return fit(embedder_trainer(model, rows, knobs, loss, run, evaluator))


def _check_static(model: SentenceTransformer, knobs: Embedder) -> None:
    """Raise an InputError for what needs layers, or batches that can be split.

    Static embeddings are a table of vectors and have neither.
    """
    if not isinstance(model[0], StaticEmbedding):
        return
    for name in ("mini_batch", "lora_rank", "gradient_checkpointing"):
        if value := getattr(knobs, name):
            off = "false" if value is True else 0
            raise InputError(
                f"embedder.{name} is {value}, but base.model has static embeddings, which cannot "
                f"be trained so: set it to {off}"
            )


def embedder_trainer(
    model: SentenceTransformer,
    rows: pd.DataFrame,
    knobs: Embedder,
    loss: Loss,
    run: TrainingRun,
    evaluator: InformationRetrievalEvaluator | None = None,
) -> EmbedderTrainer:
    """A trainer of `model` on rows of ids as `batches.embedder_rows` returns them.

    Without an evaluator it scores and saves nothing, which is for measuring speed.
    """
    automatic = knobs.mini_batch == "auto"
    if automatic and not run.device_settings.device.startswith("cuda"):
        raise InputError(
            "embedder.mini_batch is auto, which needs CUDA: name a number, or 0 for the whole batch"
        )
    dataset = with_content(rows, run.corpus)
    page_columns = [column for column in dataset[0] if column != "query"]
    page_prompts = dict.fromkeys(page_columns, model.prompts["document"])
    prompts = {"query": model.prompts["query"]} | page_prompts
    unscored = {"eval_strategy": "no", "save_strategy": "no"}
    arguments = training_arguments(
        SentenceTransformerTrainingArguments,
        knobs,
        run,
        len(dataset),
        prompts=prompts if knobs.prompts else None,
        batch_sampler=functools.partial(no_duplicates, run.corpus),
        metric_for_best_model=RETRIEVAL_METRIC,
        **{} if evaluator else unscored,
    )
    set_up_parameters(model, knobs, run.seed)
    make_loss = functools.partial(embedder_loss, model, knobs.dims, loss)
    trainer = EmbedderTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        loss=make_loss(0 if automatic else int(knobs.mini_batch)),
        evaluator=evaluator,
        callbacks=[Watch()] if evaluator else [],
    )
    if automatic:
        trainer.loss = make_loss(fitting_mini_batch(trainer, rows, knobs, make_loss, run))
    return trainer


def fitting_mini_batch(
    trainer: EmbedderTrainer,
    rows: pd.DataFrame,
    knobs: Embedder,
    make_loss: Callable[..., torch.nn.Module],
    run: TrainingRun,
) -> int:
    """The cheapest mini-batch that fits into memory with the largest pages; 0: the whole batch.

    Gradient checkpointing is turned off in the model where that is cheaper and fits.
    """
    pages = run.corpus.pages.set_index("page_id")
    areas = pages["width"] * pages["height"]
    largest = rows.filter(regex="^(image|negative_)").apply(lambda column: column.map(areas))
    order = largest.max(axis=1).sort_values(ascending=False, kind="stable").index
    size = knobs.batch // processes.count()
    examples = [trainer.train_dataset[int(order[i % len(order)])] for i in range(size)]
    way = probe(
        trainer,
        examples,
        # A failed try of one process leaves the others waiting where pages are gathered.
        functools.partial(make_loss, gather=False),
        run.device_settings,
        checkpointing=knobs.gradient_checkpointing,
    )
    return way.mini_batch
