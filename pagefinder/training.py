"""Fine-tune an embedder or a reranker with Sentence Transformers' own trainers.

What is added here is only what they leave open: rows by id, dedupe by id, prompts in training,
checkpoints that survive any interruption, and curves that survive a resume.
"""

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
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
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)
from transformers import (
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from pagefinder import examples
from pagefinder.corpus import Corpus
from pagefinder.errors import InputError
from pagefinder.models import Hardware
from pagefinder.params import Compute, Embedder, Loss, Reranker, Training

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
    hardware: Hardware,
    seed: int,
    checkpoints: Path,
) -> pd.DataFrame:
    """Fine-tune `model` in place and return its curves: step, metric, value.

    The loss is in-batch softmax with hard negatives at every Matryoshka dimension; with a
    mini-batch it is cached (GradCache, Gao et al. 2021, arXiv:2101.06983), which has the same
    gradients at a mini-batch's memory. The checkpoint with the best NDCG@10 on dev is kept.
    """
    width = model.get_embedding_dimension()
    if knobs.dims[0] > width:
        raise InputError(
            f"embedder.dims asks for dimension {knobs.dims[0]}, the model has {width}: "
            f"drop the dimensions above {width}"
        )
    dataset = examples.with_content(examples.embedder_rows(corpus, negatives, seed), corpus)
    page_columns = [column for column in dataset[0] if column != "query"]
    query_prompt, page_prompt = model.prompts["query"], model.prompts["document"]
    evaluator = examples.dev_retrieval(corpus, knobs, compute.encode_batch, seed)
    arguments = SentenceTransformerTrainingArguments(
        prompts={"query": query_prompt, **dict.fromkeys(page_columns, page_prompt)},
        batch_sampler=examples.no_duplicates,
        metric_for_best_model=DEV_METRIC,
        **_arguments(knobs, compute, hardware, seed, checkpoints, len(dataset)),
    )
    _prepare(model, knobs)
    trainer = _EmbedderTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        loss=_matryoshka(model, knobs, loss),
        evaluator=evaluator,
        callbacks=[_Watch()],
    )
    return _fit(trainer, checkpoints)


def _matryoshka(model: SentenceTransformer, knobs: Embedder, loss: Loss) -> MatryoshkaLoss:
    scale = 1 / loss.temperature
    if knobs.mini_batch == "auto":
        raise InputError("embedder.mini_batch is auto, which needs CUDA: name a number, or 0")
    contrastive = (
        CachedMultipleNegativesRankingLoss(model, scale=scale, mini_batch_size=knobs.mini_batch)
        if knobs.mini_batch
        else MultipleNegativesRankingLoss(model, scale=scale)
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
    hardware: Hardware,
    seed: int,
    checkpoints: Path,
) -> pd.DataFrame:
    """Fine-tune `model` in place by binary cross-entropy; return its curves: step, metric, value.

    The checkpoint with the best NDCG@10 of reranked dev candidates is kept.
    """
    train = candidates.loc[candidates["split"] == "train", ["query_id", "page_id", "label"]]
    rows = train.rename(columns={"page_id": "image_id"}).astype({"label": "float32"})
    dataset = examples.with_content(rows, corpus)
    evaluator = examples.dev_reranking(corpus, candidates, knobs, compute.encode_batch, seed)
    arguments = CrossEncoderTrainingArguments(
        prompts=knobs.instruction,
        metric_for_best_model=DEV_RERANKED,
        **_arguments(knobs, compute, hardware, seed, checkpoints, len(dataset)),
    )
    _prepare(model, knobs)
    trainer = _RerankerTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        loss=BinaryCrossEntropyLoss(model),
        evaluator=evaluator,
        callbacks=[_Watch()],
    )
    return _fit(trainer, checkpoints)


def _arguments(
    knobs: Training,
    compute: Compute,
    hardware: Hardware,
    seed: int,
    checkpoints: Path,
    rows: int,
) -> dict[str, Any]:
    """Training arguments that embedder and reranker share."""
    steps = max(1, round(knobs.epochs * max(1, rows // knobs.batch)))
    every = max(1, steps // knobs.evaluations)
    cuda = hardware.device.startswith("cuda")
    log.info("%d rows, batch %d, %d steps, dev every %d", rows, knobs.batch, steps, every)
    return {
        "output_dir": str(checkpoints),
        "max_steps": steps,
        "per_device_train_batch_size": knobs.batch,
        "learning_rate": knobs.learning_rate,
        "warmup_steps": knobs.warmup,
        "learning_rate_mapping": dict(knobs.learning_rates),
        "bf16": hardware.autocast is not None,
        "use_cpu": not cuda,
        "optim": "adamw_torch_fused" if cuda else "adamw_torch",
        "activation_checkpointing": knobs.gradient_checkpointing,
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


def _prepare(model: SentenceTransformer | CrossEncoder, knobs: Training) -> None:
    """Add LoRA adapters or freeze towers, and say how much is trained."""
    names = [name for name, _ in model.named_parameters()]
    for part in [*knobs.freeze, *knobs.learning_rates]:
        if not any(part in name for name in names):
            raise InputError(f"no parameter's name contains {part!r}; one is named {names[0]!r}")
    if knobs.lora_rank:
        from peft import LoraConfig

        rank = knobs.lora_rank
        model.add_adapter(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear"))
    for name, parameter in model.named_parameters():
        if any(part in name for part in knobs.freeze):
            parameter.requires_grad_(False)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    log.info("training %.2fM of %.2fM parameters", trained / 1e6, total / 1e6)


class _NoCard:
    """Leaves out the trainers' card: it would decode a thousand rows, and show training pages.

    `export` writes a card from the metrics instead.
    """

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        pass


class _EmbedderTrainer(_NoCard, SentenceTransformerTrainer):  # type: ignore[misc]
    pass


class _RerankerTrainer(_NoCard, CrossEncoderTrainer):  # type: ignore[misc]
    pass


class _Watch(TrainerCallback):  # type: ignore[misc]
    """Log progress, and score the last step too, whatever the interval: it can be the best one."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **keywords: Any,  # noqa: ANN401
    ) -> None:
        for key, name in (("loss", "loss"), (args.metric_for_best_model, "dev NDCG@10")):
            if key in logs:
                log.info(
                    "step %d of %d: %s %.4f", state.global_step, state.max_steps, name, logs[key]
                )

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **keywords: Any,  # noqa: ANN401
    ) -> TrainerControl:
        if state.global_step >= state.max_steps:
            control.should_evaluate = True
            control.should_save = True
        return control


def _fit(
    trainer: SentenceTransformerTrainer | CrossEncoderTrainer, checkpoints: Path
) -> pd.DataFrame:
    """Train from the newest whole checkpoint, or from the start after scoring the base."""
    disable_progress_bar()
    trainer.remove_callback(PrinterCallback)
    resume = newest_checkpoint(checkpoints)
    if resume:
        log.info("resuming from %s", resume.name)
    trainer.args.eval_on_start = resume is None
    with _quiet_card(trainer):
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
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


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; one torn by a kill or a full disk is named and passed over.

    The trainer writes trainer_state.json last, so a checkpoint is whole when that file parses.
    """
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: -int(path.name.split("-")[1]))
    for path in found:
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            log.warning("%s is torn and is passed over", path)
            continue
        return path
    return None


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
