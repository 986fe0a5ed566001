"""Run Sentence Transformers' trainers: weights to train, whole checkpoints, resume, curves."""

import functools
import logging
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets.utils.logging import disable_progress_bar
from sentence_transformers import (
    CrossEncoder,
    CrossEncoderTrainer,
    SentenceTransformer,
    SentenceTransformerTrainer,
)
from transformers import PrinterCallback, TrainerState, TrainingArguments

from pagefinder.errors import InputError
from pagefinder.params import Training
from pagefinder.runtime import processes
from pagefinder.training import checkpoints
from pagefinder.training.callbacks import Interruption

log = logging.getLogger(__name__)

CURVE_COLUMNS = ["step", "metric", "value"]


def set_up_parameters(
    model: SentenceTransformer | CrossEncoder, knobs: Training, seed: int
) -> None:
    """Add LoRA adapters, freeze parts and turn on gradient checkpointing, as the params say.

    A part is any text that occurs in a parameter's name. Dropout is turned off, which only models
    of BERT's kind have: on a CPU its random numbers take a third of a step, and attention has to
    keep all weights for them.

    Raises:
        InputError: `freeze` or `learning_rates` names a part that the model does not have.
    """
    names = [name for name, _ in model.named_parameters()]
    for part in [*knobs.freeze, *knobs.learning_rates]:
        if not any(part in name for name in names):
            raise InputError(f"no parameter's name contains {part!r}; one is named {names[0]!r}")
    if knobs.lora_rank:
        _add_adapters(model, knobs.lora_rank, seed)
    if knobs.gradient_checkpointing:
        set_checkpointing(model, on=True)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for name, parameter in model.named_parameters():
        if any(part in name for part in knobs.freeze):
            parameter.requires_grad_(False)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    log.info("training %.2fM of %.2fM parameters", trained / 1e6, total / 1e6)


def set_checkpointing(model: SentenceTransformer | CrossEncoder, *, on: bool) -> None:
    """Turn gradient checkpointing on or off, where it is not so yet."""
    backbone = model[0].model
    # transformers 5.20 renamed gradient_checkpointing to activation_checkpointing, and warns.
    word = "activation" if hasattr(backbone, "activation_checkpointing_enable") else "gradient"
    if on == getattr(backbone, f"is_{word}_checkpointing"):
        return
    if on:
        getattr(backbone, f"{word}_checkpointing_enable")({"use_reentrant": False})
    else:
        getattr(backbone, f"{word}_checkpointing_disable")()


def _add_adapters(model: SentenceTransformer | CrossEncoder, rank: int, seed: int) -> None:
    """Add LoRA adapters of a rank to all linear layers, with random weights from `seed`."""
    from peft import LoraConfig  # takes a second, which a training without adapters can save

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    with torch.random.fork_rng(devices=[]):  # adapters start at random, before trainers seed
        torch.manual_seed(seed)
        model.add_adapter(config)


class _Checkpoints:
    """How both trainers write and read checkpoints.

    They write no model cards, and weights alone for the best on dev. They read adapters in float32.
    """

    model: SentenceTransformer | CrossEncoder
    args: TrainingArguments
    state: TrainerState

    def _determine_best_metric(self, metrics: dict[str, float], trial: None) -> bool:
        """Whether these are the best metrics so far; if so, write the weights."""
        is_best = bool(super()._determine_best_metric(metrics, trial))  # type: ignore[misc]
        if is_best:
            folder, step = Path(self.args.output_dir), self.state.global_step
            # For several processes: each calls it, and the first one writes.
            self.save_model(str(checkpoints.best_weights(folder, step)), _internal_call=True)  # type: ignore[attr-defined]
            if processes.is_first():
                checkpoints.remove_superseded(folder, step)
        return is_best

    def load_best(self) -> None:
        """Load the weights with the best score on dev, where there was any score."""
        processes.wait()
        if self.state.best_global_step:
            folder = Path(self.args.output_dir)
            self._load_from_checkpoint(
                str(checkpoints.best_weights(folder, self.state.best_global_step))
            )

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """Make no card: it decodes a thousand rows, and shows training pages.

        The stage `export` writes one from the metrics.
        """
        save = self.model.save_pretrained
        self.model.save_pretrained = functools.partial(save, create_model_card=False)

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:
        """Load the trained parameters of a checkpoint in float32.

        For a model with adapters, Sentence Transformers' own method would open the base once more
        in its stored precision, round the adapters to it, and overwrite the base's weights.
        """
        backbone = getattr(self.model[0], "model", None)  # static embeddings have none
        if not getattr(backbone, "peft_config", None):
            super()._load_from_checkpoint(checkpoint_path)  # type: ignore[misc]
            return
        keywords = {"model_kwargs": {"dtype": torch.float32}}
        saved = type(self.model)(checkpoint_path, device="cpu", **keywords).state_dict()
        trained = [name for name, p in self.model.named_parameters() if p.requires_grad]
        self.model.load_state_dict({name: saved[name] for name in trained}, strict=False)


class EmbedderTrainer(_Checkpoints, SentenceTransformerTrainer):  # type: ignore[misc]
    """Trains an embedder."""


class RerankerTrainer(_Checkpoints, CrossEncoderTrainer):  # type: ignore[misc]
    """Trains a reranker."""


def fit(trainer: EmbedderTrainer | RerankerTrainer) -> pd.DataFrame:
    """Train to the end, keep the weights with the best score on dev, and return the curves.

    An interrupted training goes on from its newest whole checkpoint. A new one starts by scoring
    the base.

    Returns:
        Columns step, metric (loss or dev_ndcg@10) and value.

    Raises:
        InputError: no batch could be filled.
    """
    disable_progress_bar()
    trainer.remove_callback(PrinterCallback)
    folder = Path(trainer.args.output_dir)
    if processes.is_first():
        checkpoints.remove_torn(folder)
    processes.wait()
    resume = checkpoints.newest_checkpoint(folder)
    if resume:
        log.info("resuming from %s", resume.name)
    trainer.args.eval_on_start = resume is None
    interruption = Interruption()
    trainer.add_callback(interruption)
    with interruption.between_steps():
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    if not trainer.state.global_step:
        raise InputError(
            f"no batch of {trainer.args.per_device_train_batch_size} rows could be filled without "
            "repeating a page, so nothing was trained: add documents, or lower mine.negatives"
        )
    trainer.load_best()
    _log_best(trainer)
    return _curves(trainer.state.log_history, trainer.args.metric_for_best_model)


def _log_best(trainer: EmbedderTrainer | RerankerTrainer) -> None:
    """Log the best checkpoint's score on dev beside the base's."""
    metric, best = trainer.args.metric_for_best_model, trainer.state.best_metric
    base = next(entry[metric] for entry in trainer.state.log_history if metric in entry)
    log.info(
        "best dev NDCG@10 %.4f at step %s, base %.4f, gain %+.4f",
        best,
        trainer.state.best_global_step,
        base,
        best - base,
    )
    if best < base:
        log.warning(
            "training made dev worse, and its best checkpoint is kept all the same: "
            "lower the learning rate %g, or check the questions",
            trainer.args.learning_rate,
        )


def _curves(history: list[dict[str, Any]], metric: str) -> pd.DataFrame:
    """Loss and dev NDCG@10 by step, without the times that the trainer logs beside them."""
    names = {"loss": "loss", metric: "dev_ndcg@10"}
    rows = [
        [entry["step"], name, round(float(entry[key]), 6)]
        for entry in history
        for key, name in names.items()
        if key in entry
    ]
    return pd.DataFrame(rows, columns=CURVE_COLUMNS)
