"""What the trainings of embedder and reranker share: corpus and device, schedule, arguments."""

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from transformers import TrainingArguments

from pagefinder.data.corpus import Corpus
from pagefinder.errors import InputError
from pagefinder.models.device import DeviceSettings
from pagefinder.params import Compute, Training
from pagefinder.runtime import processes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingRun:
    """What a training runs on, whichever model it trains.

    Attributes:
        corpus: Pages and queries that the training rows name.
        compute: The section of that name in params.yaml.
        device_settings: What `choose_device` returns for it.
        seed: Seed of all random draws.
        checkpoints: Folder that checkpoints are written to, and resumed from.
    """

    corpus: Corpus
    compute: Compute
    device_settings: DeviceSettings
    seed: int
    checkpoints: Path


class Schedule(NamedTuple):
    """When a training does what; the last step has both a dev score and a checkpoint."""

    steps: int
    evaluation_steps: int  # from one dev score to the next
    checkpoint_steps: int  # from one checkpoint to the next


def schedule(knobs: Training, rows: int) -> Schedule:
    """The schedule of a training on `rows` rows."""
    steps = max(1, round(knobs.epochs * max(1, rows // knobs.batch)))
    # Rounded up: rounded down, there would be a score or checkpoint shortly before the last step's.
    evaluation_steps = math.ceil(steps / knobs.evaluations)
    checkpoint_steps = math.ceil(steps / knobs.resume_checkpoints)
    return Schedule(steps, evaluation_steps, checkpoint_steps)


def training_arguments(
    kind: type[TrainingArguments],
    knobs: Training,
    run: TrainingRun,
    rows: int,
    **others: Any,  # noqa: ANN401
) -> TrainingArguments:
    """The trainer's arguments for a training on `rows` rows.

    `others` are arguments of one training alone, and replace shared ones of the same name.

    Raises:
        InputError: the processes cannot share the batch.
    """
    _check_batch(knobs.batch, rows)
    planned = schedule(knobs, rows)
    cuda = run.device_settings.device.startswith("cuda")
    log.info(
        "%d rows, batch %d, %d steps, dev every %d, a checkpoint every %d",
        rows,
        knobs.batch,
        *planned,
    )
    shared = {
        "output_dir": str(run.checkpoints),
        "max_steps": planned.steps,
        "per_device_train_batch_size": knobs.batch,
        # Processes divide one batch of the sampler among them, so that no page is in it twice.
        "accelerator_config": {"split_batches": processes.count() > 1},
        "ddp_find_unused_parameters": False,
        "learning_rate": knobs.learning_rate,
        "warmup_steps": knobs.warmup,
        "learning_rate_mapping": dict(knobs.learning_rates),
        "bf16": run.device_settings.autocast is not None,
        "use_cpu": not cuda,
        "optim": "adamw_torch_fused" if cuda else "adamw_torch",
        "dataloader_num_workers": run.compute.workers,
        "dataloader_drop_last": rows >= knobs.batch,
        "eval_strategy": "steps",
        "eval_steps": planned.evaluation_steps,
        "save_strategy": "steps",
        "save_steps": planned.checkpoint_steps,
        "save_total_limit": 2,
        "greater_is_better": True,
        "logging_steps": max(1, planned.steps // 50),
        "report_to": "none",
        "seed": run.seed,
        "data_seed": run.seed,
        "disable_tqdm": True,
    }
    arguments = kind(**shared | others)
    # The trainer would silently spread batches over all cards that it sees (DataParallel). That
    # multiplies the batch, and a card would not see the negatives of other cards. compute.processes
    # is the way to several cards.
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1
    return arguments


def _check_batch(batch: int, rows: int) -> None:
    """Raise an InputError where the processes cannot share a batch."""
    count = processes.count()
    if batch % count or (count > 1 and rows < batch):
        raise InputError(
            f"batch {batch} over {rows} rows cannot be shared by {count} processes: make it a "
            "multiple of compute.processes, and no larger than the rows"
        )
