"""What a model runs on: device, precision, attention and threads, as `compute` in params.yaml."""

import contextlib
import ctypes
import logging
import platform
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from transformers.utils import is_flash_attn_2_available

from pagefinder.errors import InputError
from pagefinder.params import Compute
from pagefinder.runtime import processes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeviceSettings:
    """What a model runs on, as `choose_device` decides it from `compute` and this machine."""

    device: str
    autocast: torch.dtype | None  # None: float32 throughout
    attention: str
    # They prepare the batches of encoding and scoring; 0 on a CPU, which the model keeps busy.
    loader_processes: int = 0
    compiled: bool = False  # norms, MLPs and rotations, by torch.compile

    @contextlib.contextmanager
    def precision(self) -> Iterator[None]:
        """Autocast to `self.autocast` within the block; without it change nothing."""
        if self.autocast is None:
            yield
        else:
            with torch.autocast(self.device.partition(":")[0], dtype=self.autocast):
                yield


def choose_device(compute: Compute, *, scoring: bool = False) -> DeviceSettings:
    """Choose and log device, precision and attention, and set torch up for repeatable results.

    Args:
        compute: The section of that name in params.yaml.
        scoring: Take `compute.scoring`, of encoding and reranking, instead of `compute.precision`,
            of training.

    Raises:
        InputError: the machine lacks what `compute` names.
    """
    device: str = compute.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"compute.device is {device!r}, but torch sees no CUDA: set it to cpu")
    device = processes.local_device(device)
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)
    torch.use_deterministic_algorithms(device == "cpu")
    if device == "cpu":
        # No code reads memory before writing it, and filling it costs a tenth of a training step.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        _keep_freed_memory()
    if compute.threads:
        torch.set_num_threads(compute.threads)
    fast_bf16 = _has_bf16(device)
    name = "scoring" if scoring else "precision"
    precision = getattr(compute, name)
    if precision == "bf16" and not fast_bf16:
        log.warning("compute.%s is bf16, which this machine only emulates: expect it slow", name)
    bf16 = precision == "bf16" or (precision == "auto" and fast_bf16)
    attention = _choose_attention(compute.attention, device, name if not bf16 else "")
    log.info(
        "device %s, %s, attention %s, %d threads",
        device,
        "bf16 autocast over float32 weights" if bf16 else "float32",
        attention,
        torch.get_num_threads(),
    )
    loader_processes = compute.workers if device.startswith("cuda") else 0
    # A search, or a small corpus, would wait longer for compiling than it saves.
    compiled = compute.compile and not scoring
    autocast = torch.bfloat16 if bf16 else None
    return DeviceSettings(device, autocast, attention, loader_processes, compiled)


def _keep_freed_memory() -> None:
    """Let the process keep the memory of freed tensors, for the next ones.

    By default glibc hands every large tensor's memory back, and the kernel fills it with zeros when
    it is asked for again. Where activations are large that took half of a training step.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    set_option = ctypes.CDLL(None).mallopt
    # By their numbers in malloc.h: tensors from the heap, which is never trimmed.
    mmap_max, trim_threshold = -4, -1
    set_option(mmap_max, 0)
    set_option(trim_threshold, 2**31 - 1)


def _has_bf16(device: str) -> bool:
    """Whether the device computes in bfloat16 itself, rather than emulating it."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def _choose_attention(attention: str, device: str, float32: str = "") -> str:
    """The attention implementation for transformers; `attention` is `compute.attention`.

    flash-attn computes in half precisions alone: where arithmetic is float32, `float32` names the
    param that says so, and `auto` leaves flash-attn out.

    Raises:
        InputError: it is flash_attention_2, and that is missing or cannot compute in float32.
    """
    # Without this check transformers would fetch a kernel from the Hub, or fail on import.
    flash = device.startswith("cuda") and is_flash_attn_2_available()
    if attention == "auto":
        return "flash_attention_2" if flash and not float32 else "sdpa"
    if attention == "flash_attention_2" and not flash:
        raise InputError(
            "compute.attention is flash_attention_2, but flash-attn or CUDA is missing: "
            "run `make cuda`, or set it to sdpa or auto"
        )
    if attention == "flash_attention_2" and float32:
        raise InputError(
            "compute.attention is flash_attention_2, which cannot compute in float32, as "
            f"compute.{float32} asks for: set that to bf16, or compute.attention to auto"
        )
    return attention
