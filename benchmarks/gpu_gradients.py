"""Whether training as it is done here has the gradients of the plain loss; see `benchmarks.gpu`.

The reference is the plain loss in float32 with attention as explicit products, page by page. Held
against it is what a training computes: the cached loss, gradient checkpointing, the attention that
is chosen on the device and pages that share a product, first in float32, then under autocast.
"""

from pathlib import Path

import pandas as pd
import torch

from pagefinder.data.corpus import Corpus
from pagefinder.models.device import DeviceSettings, choose_device
from pagefinder.models.opening import open_embedder
from pagefinder.params import Params
from pagefinder.training.arguments import TrainingRun
from pagefinder.training.embedder import embedder_trainer
from pagefinder.training.mini_batch import as_in_training

EXAMPLES = 4
# Parameters whose gradient is this much smaller than the largest are left to the error of all.
SMALL = 1e-3


def gradients(
    base: Params,
    root: Path,
    corpus: Corpus,
    rows: pd.DataFrame,
    *,
    plain: bool,
    device_settings: DeviceSettings,
) -> dict[str, torch.Tensor]:
    """Gradients of one step of EXAMPLES rows, float32 on the CPU, by parameter name."""
    model = open_embedder(base.base, base.pixels, device_settings, root)
    if plain:
        # Not even pages of one size share a product.
        model[0].model.set_attn_implementation({"vision_config": "eager"})
    knobs = base.embedder.model_copy(
        update={
            "batch": EXAMPLES,
            "mini_batch": 0 if plain else EXAMPLES // 2,
            "gradient_checkpointing": not plain,
        }
    )
    compute = base.compute.model_copy(update={"workers": 0})
    run = TrainingRun(corpus, compute, device_settings, 0, root / "run")
    trainer = embedder_trainer(model, rows, knobs, base.loss, run)
    inputs = trainer.data_collator([trainer.train_dataset[i] for i in range(EXAMPLES)])
    with as_in_training(model, device_settings):
        trainer.compute_loss(model, trainer._prepare_inputs(inputs)).backward()
    return {
        name: parameter.grad.float().cpu()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def compare(
    expected: dict[str, torch.Tensor], actual: dict[str, torch.Tensor]
) -> tuple[float, float, str]:
    """Relative error of all gradients together, and the lowest cosine with its parameter's name."""
    assert expected.keys() == actual.keys()
    error = sum(float((actual[name] - one).square().sum()) for name, one in expected.items())
    total = sum(float(one.square().sum()) for one in expected.values())
    largest = max(float(one.norm()) for one in expected.values())
    cosines = {
        name: float(torch.cosine_similarity(one.flatten(), actual[name].flatten(), dim=0))
        for name, one in expected.items()
        if float(one.norm()) >= SMALL * largest
    }
    worst = min(cosines, key=cosines.__getitem__)
    return (error / total) ** 0.5, cosines[worst], worst


def check(base: Params, root: Path, corpus: Corpus, rows: pd.DataFrame) -> dict[str, str]:
    """What `compare` returns, in words, for float32 and for bfloat16 autocast."""

    def device(**changes: str) -> DeviceSettings:
        return choose_device(base.compute.model_copy(update=changes))

    plain = device(precision="fp32", attention="eager")
    expected = gradients(base, root, corpus, rows, plain=True, device_settings=plain)
    compared = {
        "float32": device(precision="fp32", attention="sdpa"),  # flash-attn has no float32
        "bfloat16": device(precision="bf16"),
    }
    words = {}
    for name, device_settings in compared.items():
        actual = gradients(base, root, corpus, rows, plain=False, device_settings=device_settings)
        error, cosine, worst = compare(expected, actual)
        words[f"gradients, {name}, {device_settings.attention}, cached, checkpointed"] = (
            f"relative error {error:.1e}, lowest cosine {cosine:.6f} ({worst[-40:]})"
        )
    return words
