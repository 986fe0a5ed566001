"""Fine-tune an embedder or a reranker with Sentence Transformers' own trainers.

What is added here is only what they leave open: rows by id, dedupe by id, prompts in training,
checkpoints that survive any interruption, and curves that survive a resume.
"""

import contextlib
import functools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets.utils.logging import disable_progress_bar
from sentence_transformers import (
    CrossEncoder,
    CrossEncoderTrainer,
    CrossEncoderTrainingArguments,
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)
from transformers import PrinterCallback, TrainingArguments

from pagefinder.data.corpus import Corpus
from pagefinder.errors import InputError
from pagefinder.models.device import DeviceSettings
from pagefinder.params import Compute, Embedder, Loss, Reranker, Training
from pagefinder.runtime import processes
from pagefinder.training import batches
from pagefinder.training import checkpoints as checkpoints_
from pagefinder.training import mini_batch as mini_batch_
from pagefinder.training.callbacks import Interruption, Watch

log = logging.getLogger(__name__)

CURVE_COLUMNS = ["step", "metric", "value"]
# Under these names the two evaluators report NDCG@10 on dev.
DEV_METRIC, DEV_RERANKED = "eval_dev_cosine_ndcg@10", "eval_dev_ndcg@10"


def train_embedder(
    model: SentenceTransformer,
    corpus: Corpus,
    negatives: pd.DataFrame,
    knobs: Embedder,
    loss: Loss,
    compute: Compute,
    device_settings: DeviceSettings,
    seed: int,
    checkpoints: Path,
    excluded: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Fine-tune `model` in place and return its curves: step, metric, value.

    The loss is in-batch softmax with hard negatives at every Matryoshka dimension; with a
    mini-batch it is cached (GradCache, Gao et al. 2021, arXiv:2101.06983), which has the same
    gradients at a mini-batch's memory. The checkpoint with the best NDCG@10 on dev is kept.
    Pairs that `excluded` names, as `excluding.exclusions` does, are never drawn as negatives.
    """
    width = model.get_embedding_dimension()
    if knobs.dims[0] > width:
        raise InputError(
            f"embedder.dims asks for dimension {knobs.dims[0]}, the model has {width}: "
            f"drop the dimensions above {width}"
        )
    rows = batches.embedder_rows(corpus, negatives, seed, excluded)
    evaluator = batches.dev_retrieval(corpus, knobs, compute.encode_batch, seed)
    if device_settings.loader_processes:
        batches.encode_ahead(evaluator, corpus, device_settings)
    trainer = embedder_trainer(
        model, corpus, rows, knobs, loss, compute, device_settings, seed, checkpoints, evaluator
    )
    return _fit(trainer, checkpoints)


def embedder_trainer(
    model: SentenceTransformer,
    corpus: Corpus,
    rows: pd.DataFrame,
    knobs: Embedder,
    loss: Loss,
    compute: Compute,
    device_settings: DeviceSettings,
    seed: int,
    checkpoints: Path,
    evaluator: InformationRetrievalEvaluator | None,
) -> "_EmbedderTrainer":
    """Set up the trainer; rows of ids as `examples.embedder_rows` makes them.

    Without an evaluator nothing is evaluated or saved: that is for measuring speed.
    """
    dataset = batches.with_content(rows, corpus)
    page_columns = [column for column in dataset[0] if column != "query"]
    page_prompts = dict.fromkeys(page_columns, model.prompts["document"])
    prompts = {"query": model.prompts["query"]} | page_prompts
    shared = _arguments(knobs, compute, device_settings, seed, checkpoints, len(dataset))
    if evaluator is None:
        shared |= {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}
    arguments = SentenceTransformerTrainingArguments(
        prompts=prompts if knobs.prompts else None,
        batch_sampler=functools.partial(batches.no_duplicates, corpus),
        metric_for_best_model=DEV_METRIC,
        **shared,
    )
    _one_card(arguments)
    _prepare(model, knobs, seed)
    automatic = knobs.mini_batch == "auto"
    if automatic and not device_settings.device.startswith("cuda"):
        raise InputError(
            "embedder.mini_batch is auto, which needs CUDA: name a number, or 0 for the whole batch"
        )
    trainer = _EmbedderTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        loss=_matryoshka(model, knobs, loss, 0 if automatic else int(knobs.mini_batch)),
        evaluator=evaluator,
        callbacks=[Watch()] if evaluator else [],
    )
    if automatic:
        trainer.loss = _matryoshka(
            model,
            knobs,
            loss,
            _fitting_mini_batch(trainer, corpus, rows, knobs, loss, device_settings),
        )
    return trainer


def _fitting_mini_batch(
    trainer: "_EmbedderTrainer",
    corpus: Corpus,
    rows: pd.DataFrame,
    knobs: Embedder,
    loss: Loss,
    device_settings: DeviceSettings,
) -> int:
    """Probe with the rows whose pages are largest: 0, or the mini-batch that fits."""
    pages = corpus.pages.set_index("page_id")
    areas = pages["width"] * pages["height"]
    largest = rows.filter(regex="^(image|negative_)").apply(lambda column: column.map(areas))
    order = largest.max(axis=1).sort_values(ascending=False, kind="stable").index
    size = knobs.batch // processes.count()
    return mini_batch_.probe(
        trainer.model,
        [trainer.train_dataset[int(order[i % len(order)])] for i in range(size)],
        lambda mini_batch: _matryoshka(trainer.model, knobs, loss, mini_batch, gather=False),
        trainer.data_collator,
        trainer.collect_features,
        device_settings,
    )


def _matryoshka(
    model: SentenceTransformer, knobs: Embedder, loss: Loss, mini_batch: int, gather: bool = True
) -> MatryoshkaLoss:
    shared = {
        "scale": 1 / loss.temperature,
        "gather_across_devices": gather and processes.count() > 1,
    }
    contrastive = (
        CachedMultipleNegativesRankingLoss(model, mini_batch_size=mini_batch, **shared)
        if mini_batch
        else MultipleNegativesRankingLoss(model, **shared)
    )
    return MatryoshkaLoss(
        model,
        contrastive,
        matryoshka_dims=list(knobs.dims),
        n_dims_per_step=loss.matryoshka_dims_per_step,
    )


def train_reranker(
    model: CrossEncoder,
    corpus: Corpus,
    candidates: pd.DataFrame,
    knobs: Reranker,
    compute: Compute,
    device_settings: DeviceSettings,
    seed: int,
    checkpoints: Path,
) -> pd.DataFrame:
    """Fine-tune `model` in place by binary cross-entropy; return its curves: step, metric, value.

    The checkpoint with the best NDCG@10 of reranked dev candidates is kept.
    """
    train = candidates.loc[candidates["split"] == "train", ["query_id", "page_id", "label"]]
    rows = train.rename(columns={"page_id": "image_id"}).astype({"label": "float32"})
    dataset = batches.with_content(rows, corpus)
    evaluator = batches.dev_reranking(corpus, candidates, knobs, compute.encode_batch, seed)
    arguments = CrossEncoderTrainingArguments(
        prompts=knobs.instruction,
        metric_for_best_model=DEV_RERANKED,
        **_arguments(knobs, compute, device_settings, seed, checkpoints, len(dataset)),
    )
    _one_card(arguments)
    _prepare(model, knobs, seed)
    trainer = _RerankerTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        loss=BinaryCrossEntropyLoss(model),
        evaluator=evaluator,
        callbacks=[Watch()],
    )
    return _fit(trainer, checkpoints)


def _arguments(
    knobs: Training,
    compute: Compute,
    device_settings: DeviceSettings,
    seed: int,
    checkpoints: Path,
    rows: int,
) -> dict[str, Any]:
    """Training arguments that embedder and reranker share."""
    several = processes.count() > 1
    if knobs.batch % processes.count() or (several and rows < knobs.batch):
        raise InputError(
            f"batch {knobs.batch} over {rows} rows cannot be shared by {processes.count()} "
            "processes: make it a multiple of compute.processes, and no larger than the rows"
        )
    steps = max(1, round(knobs.epochs * max(1, rows // knobs.batch)))
    every = max(1, steps // knobs.evaluations)
    cuda = device_settings.device.startswith("cuda")
    log.info("%d rows, batch %d, %d steps, dev every %d", rows, knobs.batch, steps, every)
    return {
        "output_dir": str(checkpoints),
        "max_steps": steps,
        "per_device_train_batch_size": knobs.batch,
        # Each process takes its part of one batch of the sampler: no page twice in all of it.
        "accelerator_config": {"split_batches": several},
        "ddp_find_unused_parameters": False,
        "learning_rate": knobs.learning_rate,
        "warmup_steps": knobs.warmup,
        "learning_rate_mapping": dict(knobs.learning_rates),
        "bf16": device_settings.autocast is not None,
        "use_cpu": not cuda,
        "optim": "adamw_torch_fused" if cuda else "adamw_torch",
        "dataloader_num_workers": compute.workers,
        "dataloader_drop_last": rows >= knobs.batch,
        "eval_strategy": "steps",
        "eval_steps": every,
        "save_strategy": "steps",
        "save_steps": every,
        "save_total_limit": 2,
        "load_best_model_at_end": True,
        "greater_is_better": True,
        "logging_steps": max(1, steps // 50),
        "report_to": "none",
        "seed": seed,
        "data_seed": seed,
        "disable_tqdm": True,
    }


def _one_card(arguments: TrainingArguments) -> None:
    """Stay on one card per process: the trainer would silently spread each batch over all it sees.

    That (DataParallel) multiplies the batch and leaves the negatives of the other cards out;
    compute.processes is the way to several cards.
    """
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1


def _prepare(model: SentenceTransformer | CrossEncoder, knobs: Training, seed: int) -> None:
    """Add LoRA adapters or freeze towers, and say how much is trained."""
    names = [name for name, _ in model.named_parameters()]
    for part in [*knobs.freeze, *knobs.learning_rates]:
        if not any(part in name for name in names):
            raise InputError(f"no parameter's name contains {part!r}; one is named {names[0]!r}")
    if knobs.lora_rank:
        from peft import LoraConfig

        rank = knobs.lora_rank
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
        with torch.random.fork_rng(devices=[]):  # adapters start at random, before trainers seed
            torch.manual_seed(seed)
            model.add_adapter(config)
    if knobs.gradient_checkpointing:
        backbone = model[0].model
        # transformers before 5.20 has only the former name, which later ones warn of.
        enable = getattr(backbone, "activation_checkpointing_enable", None)
        (enable or backbone.gradient_checkpointing_enable)({"use_reentrant": False})
    for name, parameter in model.named_parameters():
        if any(part in name for part in knobs.freeze):
            parameter.requires_grad_(False)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    log.info("training %.2fM of %.2fM parameters", trained / 1e6, total / 1e6)


class _Mended:
    """Leaves out the trainers' card, and opens adapters as they were saved.

    The card would decode a thousand rows, and show training pages; `export` writes one from the
    metrics instead.
    """

    model: SentenceTransformer | CrossEncoder

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        pass

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:
        """Take what is trained from a checkpoint, in float32.

        Where there are adapters, Sentence Transformers opens the base once more, in the precision
        that it is stored in, rounds the adapters to it, and overwrites the base's weights.
        """
        if not getattr(self.model[0].model, "peft_config", None):
            super()._load_from_checkpoint(checkpoint_path)  # type: ignore[misc]
            return
        keywords = {"model_kwargs": {"dtype": torch.float32}}
        saved = type(self.model)(checkpoint_path, device="cpu", **keywords).state_dict()
        trained = [name for name, p in self.model.named_parameters() if p.requires_grad]
        self.model.load_state_dict({name: saved[name] for name in trained}, strict=False)


class _EmbedderTrainer(_Mended, SentenceTransformerTrainer):  # type: ignore[misc]
    pass


class _RerankerTrainer(_Mended, CrossEncoderTrainer):  # type: ignore[misc]
    pass


def _fit(
    trainer: SentenceTransformerTrainer | CrossEncoderTrainer, checkpoints: Path
) -> pd.DataFrame:
    """Train from the newest whole checkpoint, or from the start after scoring the base."""
    disable_progress_bar()
    trainer.remove_callback(PrinterCallback)
    if processes.is_first():
        checkpoints_.remove_torn(checkpoints)
    processes.wait()
    resume = checkpoints_.newest_checkpoint(checkpoints)
    if resume:
        log.info("resuming from %s", resume.name)
    trainer.args.eval_on_start = resume is None
    interruption = Interruption()
    trainer.add_callback(interruption)
    with _quiet_card(trainer), interruption.between_steps():
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    if not trainer.state.global_step:
        raise InputError(
            f"no batch of {trainer.args.per_device_train_batch_size} rows could be filled without "
            "repeating a page, so nothing was trained: lower embedder.batch or mine.negatives"
        )
    history = trainer.state.log_history
    metric = trainer.args.metric_for_best_model
    scores = [row[metric] for row in history if metric in row]
    best = trainer.state.best_metric
    log.info(
        "best dev NDCG@10 %.4f at step %s, base %.4f, gain %+.4f",
        best,
        trainer.state.best_global_step,
        scores[0],
        best - scores[0],
    )
    if best < scores[0]:
        log.warning(
            "training made dev worse, and its best checkpoint is kept all the same: "
            "lower the learning rate %g, or check the questions",
            trainer.args.learning_rate,
        )
    return curves(history, metric)


@contextlib.contextmanager
def _quiet_card(trainer: SentenceTransformerTrainer | CrossEncoderTrainer) -> Iterator[None]:
    """Checkpoints need no model card; making one reads training rows."""
    model = trainer.model
    original = model._create_model_card
    model._create_model_card = lambda *args, **keywords: None
    try:
        yield
    finally:
        model._create_model_card = original


def curves(history: list[dict[str, Any]], metric: str) -> pd.DataFrame:
    """Loss and dev NDCG@10 by step, without the times that the trainer logs beside them."""
    names = {"loss": "loss", metric: "dev_ndcg@10"}
    rows = [
        [entry["step"], name, round(float(entry[key]), 6)]
        for entry in history
        for key, name in names.items()
        if key in entry
    ]
    return pd.DataFrame(rows, columns=CURVE_COLUMNS)
