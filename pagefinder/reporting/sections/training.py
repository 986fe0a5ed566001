"""How did training go."""

import pandas as pd

from pagefinder.reporting import plots
from pagefinder.reporting.format import count, score
from pagefinder.reporting.inputs import Inputs
from pagefinder.reporting.sections import Section


def section(inputs: Inputs) -> Section:
    """Loss and dev score of both trainings by step, and which checkpoint they keep."""
    section = Section("training", "Training", "How did training go?")
    for model in ("embedder", "reranker"):
        curves = inputs.training_curves[model]
        if curves.empty:
            section.answer.append(f"The {model} was not trained: there is no curve.")
            continue
        loss = curves[curves["metric"] == "loss"]
        if len(loss):
            section.plots.append(plots.training_loss(loss, model))
        dev = curves[curves["metric"] == "dev_ndcg@10"]
        if len(dev):
            kept = _kept(dev)
            section.plots.append(plots.dev_scores(dev, model, kept))
            steps = f"step {count(kept['step'])} of {count(curves['step'].max())}"
            section.answer.append(
                f"The {model}'s dev NDCG@10 starts at {score(dev['value'].iloc[0])}; the "
                f"checkpoint that is kept, {steps}, has {score(kept['value'])}."
            )
    return section


def _kept(dev: pd.DataFrame) -> pd.Series:
    """The row of the best checkpoint, which training keeps.

    `dev` has step and value. Step 0 is the untrained model: it is taken only where it is alone.
    """
    trained = dev[dev["step"] > 0]
    rows = trained if len(trained) else dev
    return rows.sort_values("value", ascending=False, kind="stable").iloc[0]
