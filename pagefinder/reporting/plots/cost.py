"""Plots of quality against the dimension, the bytes of a page in the index, and its tokens."""

from itertools import cycle

import numpy as np
import pandas as pd

from pagefinder.reporting.format import precision_label
from pagefinder.reporting.plots import svg
from pagefinder.reporting.plots.svg import BLUE, GREY, NDCG, ORANGE, RED, Plot
from pagefinder.systems import BASE, TUNED


def dimensions(grid: pd.DataFrame, recommended: int) -> Plot:
    """NDCG@10 of base and tuned by dimension, the recommended one marked."""
    figure, axes = svg.new_plot(
        "How short may a vector be?", "dimensions of a vector (log scale)", NDCG
    )
    rows = grid[(grid["precision"] == "float32") & grid["model"].isin((BASE, TUNED))]
    for model, colour, line, marker in ((BASE, ORANGE, "--", "s"), (TUNED, BLUE, "-", "o")):
        part = rows[rows["model"] == model].sort_values("dimension")
        axes.plot(
            part["dimension"], part["ndcg@10"], line, color=colour, marker=marker, label=model
        )
    chosen = rows[(rows["model"] == TUNED) & (rows["dimension"] == recommended)]
    axes.plot(
        chosen["dimension"], chosen["ndcg@10"], "*", color=RED, markersize=17, label="recommended"
    )
    svg.set_log_ticks(axes, sorted(rows["dimension"].unique()))
    svg.add_legend(axes, 3)
    return svg.render(figure, "dimensions")


def pareto(grid: pd.DataFrame, recommended: int) -> Plot:
    """NDCG@10 of the tuned model against the bytes that an index holds for a page."""
    figure, axes = svg.new_plot(
        "What does a page cost in the index?", "bytes per page (log scale)", NDCG
    )
    tuned = grid[grid["model"] == TUNED]
    points = dict(zip(tuned["precision"].unique(), cycle(svg.POINTS), strict=False))
    rows = tuned.sort_values("bytes_per_page")
    front = rows[rows["pareto"] == 1].drop_duplicates("bytes_per_page")
    axes.plot(
        front["bytes_per_page"],
        front["ndcg@10"],
        color=GREY,
        linewidth=1.5,
        label="best for its bytes",
        zorder=1,
    )
    for precision, part in rows.groupby("precision", sort=False):
        colour, marker = points[precision]
        label = precision_label(str(precision))
        axes.plot(part["bytes_per_page"], part["ndcg@10"], marker, color=colour, label=label)
    chosen = rows[(rows["dimension"] == recommended) & (rows["precision"] == "float32")]
    axes.plot(
        chosen["bytes_per_page"],
        chosen["ndcg@10"],
        "*",
        color=RED,
        markersize=17,
        label="recommended",
        zorder=5,
    )
    powers = 4 ** np.arange(12)
    low, high = rows["bytes_per_page"].min(), rows["bytes_per_page"].max()
    svg.set_log_ticks(axes, powers[(powers * 4 > low) & (powers < high * 4)].tolist())
    svg.add_legend(axes, 3)
    return svg.render(figure, "pareto")


def budgets(rows: pd.DataFrame) -> Plot:
    """NDCG@10 of the tuned model by the visual tokens that a page is read as."""
    figure, axes = svg.new_plot(
        "Do smaller pages do?", "visual tokens per page (mean, log scale)", NDCG
    )
    rows = rows.sort_values("tokens_per_page")
    axes.plot(rows["tokens_per_page"], rows["ndcg@10"], "-o", color=BLUE, label="tuned")
    svg.set_log_ticks(axes, rows["tokens_per_page"].round().tolist())
    svg.add_legend(axes)
    return svg.render(figure, "pixels")
