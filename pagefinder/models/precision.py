"""Which arithmetic trains a model faster on this CPU: a short measurement, kept for this machine.

Whether bfloat16 pays depends on processor, model and libraries together: that a core computes in it
does not tell. Kept, the answer is the same in every run, so that runs repeat to the byte.
"""

import hashlib
import json
import logging
import os
import platform
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer

from pagefinder.data.corpus import Corpus
from pagefinder.models import encoding
from pagefinder.models.device import DeviceSettings
from pagefinder.params import Compute
from pagefinder.runtime import processes

log = logging.getLogger(__name__)

# Inputs of a measured step, and how often it is measured: the fastest of each arithmetic counts, as
# other work on the machine only makes a step slower.
INPUTS, REPEATS = 8, 4
# float32 has to take less than this share of bfloat16's time. So near a tie it is bfloat16, and not
# luck, that decides.
MARGIN = 0.85


@dataclass(frozen=True)
class Steps:
    """Seconds of the fastest step in each arithmetic."""

    bf16: float
    fp32: float


def faster_precision(
    model: SentenceTransformer | CrossEncoder,
    corpus: Corpus,
    device_settings: DeviceSettings,
    compute: Compute,
) -> DeviceSettings:
    """The settings with the faster arithmetic, where `compute.precision: auto` leaves the choice.

    That is on a CPU which computes in bfloat16. Other settings are returned as they are. The model
    is as before; several processes take the choice of the first that wants float32.
    """
    free = compute.precision == "auto" and device_settings.device == "cpu"
    if not free or device_settings.autocast is None:
        return device_settings
    machine = _machine(model, device_settings)
    digest = hashlib.blake2b(json.dumps(machine).encode(), digest_size=8).hexdigest()
    file = cache_folder() / f"precision-{digest}.json"
    steps = _kept(file)
    if steps is None:
        steps = _measured(model, corpus, device_settings)
        _keep(file, machine, steps)
    bf16 = bool(processes.smallest(int(steps.fp32 >= MARGIN * steps.bf16)))
    log.info(
        "precision auto is %s: a step of %d inputs took %.3f s in bfloat16, %.3f s in float32 (%s)",
        "bfloat16" if bf16 else "float32",
        INPUTS,
        steps.bf16,
        steps.fp32,
        file,
    )
    return device_settings if bf16 else replace(device_settings, autocast=None)


def cache_folder() -> Path:
    """The folder in which what was measured on this machine is kept, outside the project."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pagefinder"


def _machine(
    model: SentenceTransformer | CrossEncoder, device_settings: DeviceSettings
) -> dict[str, object]:
    """What the measurement depends on: processor, torch, threads, attention, the model's shape."""
    shapes = str([(name, tuple(p.shape)) for name, p in model.named_parameters()])
    return {
        "processor": _processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "amx": bool(torch.cpu._is_amx_tile_supported()),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "attention": device_settings.attention,
        **({"compiled": True} if device_settings.compiled else {}),
        "model": hashlib.blake2b(shapes.encode(), digest_size=8).hexdigest(),
    }


def _processor() -> str:
    """The processor's name, as Linux tells it, else as Python does."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _kept(file: Path) -> Steps | None:
    """What an earlier run measured; None where there is none, or a torn file."""
    try:
        return Steps(**json.loads(file.read_text(encoding="utf-8"))["steps"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(file: Path, machine: dict[str, object], steps: Steps) -> None:
    """Write what was measured, whole or not at all; warn where that cannot be."""
    content = json.dumps({"machine": machine, "steps": asdict(steps)}, indent=2) + "\n"
    unfinished = file.with_suffix(f".{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(content, encoding="utf-8")
        unfinished.replace(file)
    except OSError as error:
        log.warning(
            "%s cannot be written (%s), so the next run measures again and may choose otherwise: "
            "set XDG_CACHE_HOME to a folder of yours, or compute.precision to bf16 or fp32",
            file,
            error.strerror,
        )


def _measured(
    model: SentenceTransformer | CrossEncoder, corpus: Corpus, device_settings: DeviceSettings
) -> Steps:
    """Measure steps in both arithmetics in turns; the first of each only warms up."""
    rows = range(min(INPUTS, len(corpus.pages)))
    if isinstance(model, CrossEncoder):
        pairs = list(zip(corpus.queries["text"], corpus.page_inputs(rows), strict=False))
        features = model.preprocess(pairs, prompt=model.prompts.get(model.default_prompt_name))
    else:
        features = encoding.preprocess_pages(model, corpus, rows)
    settings = {"bf16": device_settings, "fp32": replace(device_settings, autocast=None)}
    seconds: dict[str, list[float]] = {name: [] for name in settings}
    training = model.training
    model.eval()  # as in training: dropout is off there too
    for _ in range(1 + REPEATS):
        for name, arithmetic in settings.items():
            started = time.perf_counter()
            with arithmetic.precision():
                outputs = model(dict(features))
            output = outputs["scores" if "scores" in outputs else "sentence_embedding"]
            output.float().square().mean().backward()
            seconds[name].append(time.perf_counter() - started)
            model.zero_grad(set_to_none=True)
    model.train(training)
    return Steps(**{name: round(min(times[1:]), 4) for name, times in seconds.items()})
