"""Plots of all systems beside each other, and of quality against size."""

import numpy as np
import pandas as pd

from pagefinder.reporting.plots import svg
from pagefinder.reporting.plots.svg import BLUE, GREY, INK, NDCG, Plot


def systems(rows: pd.DataFrame) -> Plot:
    """NDCG@10 of every system.

    Args:
        rows: label, ndcg@10, of_run (whether the system is one of this run).
    """
    rows = rows.sort_values("ndcg@10")
    figure, axes = svg.new_plot("Who finds the page?", NDCG, "", height=1.2 + 0.33 * len(rows))
    colours = [BLUE if of_run else GREY for of_run in rows["of_run"]]
    bars = axes.barh(rows["label"], rows["ndcg@10"], color=colours, height=0.66)
    axes.bar_label(bars, fmt="%.3f", padding=4, color=INK, fontsize=9.5)
    axes.set_xlim(0, max(0.1, rows["ndcg@10"].max()) * 1.16)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    return svg.render(figure, "systems")


def sizes(rows: pd.DataFrame, title: str) -> Plot:
    """NDCG@10 against the number of parameters.

    Args:
        rows: label, parameters (in billions), ndcg@10, of_run.
        title: What to see.
    """
    figure, axes = svg.new_plot(
        title, "parameters in billions (log scale)", NDCG, height=3.6 + 0.1 * len(rows)
    )
    for of_run, colour, marker, label in (
        (False, GREY, "s", "other models"),
        (True, BLUE, "o", "this run"),
    ):
        part = rows[rows["of_run"] == of_run]
        if len(part):
            axes.plot(part["parameters"], part["ndcg@10"], marker, color=colour, label=label)
    rows = rows.sort_values("ndcg@10", ascending=False, kind="stable").reset_index(drop=True)
    # Names would cover each other: points bear numbers, near ones share a mark, a key names them.
    for parameters, part in rows.groupby("parameters"):
        near = (part["ndcg@10"].diff() < -0.03 * np.ptp(rows["ndcg@10"])).cumsum()
        for _, joined in part.groupby(near):
            axes.annotate(
                ", ".join(str(number + 1) for number in joined.index),
                (float(str(parameters)), joined["ndcg@10"].mean()),
                xytext=(7, -3),
                textcoords="offset points",
                fontsize=9,
                color=INK,
            )
    for number, label in enumerate(rows["label"], 1):
        axes.plot([], [], " ", label=f"{number}  {label}")
    axes.set_xscale("log")
    axes.margins(x=0.15)
    ticks = sorted(rows["parameters"].unique())
    axes.set_xticks(ticks, [f"{value:.2g}" for value in ticks])
    axes.minorticks_off()
    svg.add_legend(axes, fontsize=8, handlelength=1, columnspacing=1)
    return svg.render(figure, "sizes")
