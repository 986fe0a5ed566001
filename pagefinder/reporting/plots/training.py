"""Training curves."""

import pandas as pd
from matplotlib.ticker import MaxNLocator

from pagefinder.reporting.plots import svg
from pagefinder.reporting.plots.svg import BLUE, GREY, NDCG, RED, Plot


def loss(rows: pd.DataFrame, model: str) -> Plot:
    """The loss of a training by step, as logged and smoothed.

    Args:
        rows: step, value.
        model: embedder or reranker.
    """
    figure, axes = svg.new_plot(
        f"{model.capitalize()}: training loss", "optimizer step", "loss (nats)", height=2.9
    )
    rows = rows.sort_values("step")
    axes.plot(rows["step"], rows["value"], color=GREY, linewidth=1, label="logged")
    smooth = rows["value"].ewm(span=8).mean()
    axes.plot(rows["step"], smooth, color=BLUE, label="smoothed")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    svg.add_legend(axes)
    return svg.render(figure, f"training_{model}_loss")


def dev_scores(rows: pd.DataFrame, model: str, kept_step: int) -> Plot:
    """NDCG@10 on the development split by step, the checkpoint that training keeps marked.

    Args:
        rows: step, value.
        model: embedder or reranker.
        kept_step: The step of that checkpoint.
    """
    figure, axes = svg.new_plot(
        f"{model.capitalize()}: score on the dev split", "optimizer step", NDCG, height=2.9
    )
    rows = rows.sort_values("step")
    axes.plot(rows["step"], rows["value"], "-o", color=BLUE, label="dev")
    kept = rows[rows["step"] == kept_step]
    axes.plot(kept["step"], kept["value"], "*", color=RED, markersize=16, label="kept")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    svg.add_legend(axes)
    return svg.render(figure, f"training_{model}_dev")
