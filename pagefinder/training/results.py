"""Write what a training stage leaves behind."""

from pathlib import Path

import pandas as pd
from sentence_transformers import CrossEncoder, SentenceTransformer

from pagefinder.layout import PLOTS
from pagefinder.models.saving import save_model
from pagefinder.runtime import processes, scratch
from pagefinder.runtime.outputs import output


def write_results(
    model: SentenceTransformer | CrossEncoder,
    curves: pd.DataFrame,
    target: Path,
    checkpoints: Path,
    root: Path,
) -> None:
    """Write a trained model and its curves, and remove its checkpoints, in the first process.

    Args:
        model: As trained.
        curves: As `trainers.fit` returns them, written to metrics/plots/NAME_training.csv.
        target: Folder of the model, relative to `root`; its last part is NAME.
        checkpoints: Folder that is no longer needed.
        root: The folder that the stage works in.
    """
    if not processes.is_first():
        return
    with output(root / PLOTS / f"{target.name}_training.csv", root) as path:
        curves.to_csv(path, index=False)
    with output(root / target, root) as folder:
        save_model(model, folder)
    scratch.discard(checkpoints)
