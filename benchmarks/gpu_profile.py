"""Where the time of one training step goes on a card: by kind of kernel, see `benchmarks.gpu`."""

import re
import time

import pandas as pd
import torch
from torch.profiler import ProfilerActivity, profile

from pagefinder.models.device import DeviceSettings
from pagefinder.training.mini_batch import as_in_training
from pagefinder.training.trainers import EmbedderTrainer

# Words in the names of kernels, the first that fits; cutlass serves both attention and products.
KINDS = {
    "attention": "flash|fmha|attention",
    "matmul": "gemm|nvjet|cutlass|xmma|cublas|gemv",
    "copies and casts": "copy|memcpy|memset|cat|fill",
    "optimiser": "multi_tensor|adam",
    "sums and norms": "reduce|norm|softmax",
    "other elementwise": "elementwise|triton",
}


def kind_of(kernel: str) -> str:
    """The key of KINDS that a kernel's name belongs to, or `other`."""
    found = (kind for kind, words in KINDS.items() if re.search(words, kernel, re.IGNORECASE))
    return next(found, "other")


def kernels_of_step(
    trainer: EmbedderTrainer, examples: int, device_settings: DeviceSettings
) -> tuple[pd.DataFrame, float]:
    """The kernels of a training step with its optimiser's, and the seconds that such a step took.

    Args:
        trainer: Its model trains on the device; the weights change.
        examples: Rows of a step.
        device_settings: The device, whose kernels are listed: those of a CPU are not.

    Returns:
        A frame of kernel, kind, calls and seconds, the costliest first, and the seconds of a step
        without the profiler.
    """
    inputs = trainer.data_collator([trainer.train_dataset[i] for i in range(examples)])
    model, optimiser = trainer.model, trainer.create_optimizer()

    def step() -> float:
        started = time.perf_counter()
        trainer.compute_loss(model, trainer._prepare_inputs(dict(inputs))).backward()
        optimiser.step()
        optimiser.zero_grad()
        if device_settings.device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter() - started

    with as_in_training(model, device_settings):
        step()
        took = step()
        activities = [ProfilerActivity.CPU]
        if device_settings.device.startswith("cuda"):
            activities = [ProfilerActivity.CUDA]
        with profile(activities=activities, acc_events=True) as profiler:
            step()
    rows = [
        (event.key, kind_of(event.key), event.count, event.self_device_time_total / 1e6)
        for event in profiler.key_averages()
    ]
    kernels = pd.DataFrame(rows, columns=["kernel", "kind", "calls", "seconds"])
    return kernels.sort_values("seconds", ascending=False, ignore_index=True), took
