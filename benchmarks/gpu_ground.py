"""What all rows of `benchmarks.gpu` share: model, corpus, and what the card can do."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from pagefinder.data.corpus import Corpus
from pagefinder.models.device import DeviceSettings, choose_device
from pagefinder.models.opening import open_embedder
from pagefinder.params import Params

NEGATIVES = 1
Row = dict[str, Any]


@dataclass
class Ground:
    """What all rows share.

    `peak` is the card's matmul rate in FLOP/s, `kernels` a file for the kernels of a step.
    """

    base: Params
    root: Path
    corpus: Corpus
    rows: pd.DataFrame
    size: dict[str, Any]
    peak: float = 0.0
    kernels: Path | None = None
    ways: dict[str, dict[str, Any]] = field(default_factory=dict)  # knobs by name of the row


def open_model(ground: Ground, **changes: Any) -> tuple[Any, DeviceSettings]:  # noqa: ANN401
    """The embedder and the hardware, as a stage opens them; `changes` are params of `compute`."""
    base = ground.base
    device_settings = choose_device(base.compute.model_copy(update=changes))
    return open_embedder(base.base, base.pixels, device_settings, ground.root), device_settings
