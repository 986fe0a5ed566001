"""Write the outputs of a training stage: the model and its curves."""

from pathlib import Path

import pandas as pd
from sentence_transformers import CrossEncoder, SentenceTransformer

from pagefinder.layout import PLOTS
from pagefinder.models.commits import write_commit
from pagefinder.models.saving import save_model
from pagefinder.runtime import processes, scratch
from pagefinder.runtime.outputs import output
from pagefinder.training.trainers import CURVE_COLUMNS


def write_results(
    model: SentenceTransformer | CrossEncoder,
    curves: pd.DataFrame,
    target: Path,
    checkpoints: Path,
    root: Path,
    commit: str = "",
) -> None:
    """Write a trained model to the folder `target` of `root` and its curves; remove checkpoints.

    The curves go to metrics/plots/NAME_training.csv, where NAME is the last part of `target`. Of
    several processes only the first one writes.
    """
    if not processes.is_first():
        return
    _write_curves(curves, target, root)
    with output(root / target, root) as folder:
        save_model(model, folder)
        write_commit(commit, folder)
    scratch.discard(checkpoints)


def write_nothing(target: Path, root: Path) -> None:
    """Write the outputs of a stage that trains no model: an empty folder, and no curves."""
    if not processes.is_first():
        return
    _write_curves(pd.DataFrame(columns=CURVE_COLUMNS), target, root)
    with output(root / target, root) as folder:
        folder.mkdir(parents=True)


def _write_curves(curves: pd.DataFrame, target: Path, root: Path) -> None:
    with output(root / PLOTS / f"{target.name}_training.csv", root) as path:
        curves.to_csv(path, index=False)
