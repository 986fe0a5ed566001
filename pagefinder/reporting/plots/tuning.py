"""Plots of what tuning gains, and of the ranks before and after."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pagefinder.reporting.plots import svg
from pagefinder.reporting.plots.svg import BLUE, INK, Plot

# Bins of the rank: first and last rank, label.
BINS = ((1, 1, "1"), (2, 3, "2–3"), (4, 5, "4–5"), (6, 10, "6–10"), (11, 10**9, "below"))


def gains(rows: pd.DataFrame, name: str, title: str) -> Plot:
    """Differences with their intervals, one a line.

    Args:
        rows: label, difference, low, high; without an interval only the point is drawn.
        name: Of the files.
        title: What to see.
    """
    figure, axes = svg.new_plot(
        title, "difference of the metric, 95% interval", "", height=1.5 + 0.32 * len(rows)
    )
    places = np.arange(len(rows))[::-1]
    difference = rows["difference"].to_numpy(float)
    low, high = (rows[key].fillna(rows["difference"]).to_numpy(float) for key in ("low", "high"))
    axes.axvline(0, color=INK, linewidth=1)
    around = np.maximum([difference - low, high - difference], 0)
    axes.errorbar(
        difference, places, xerr=around, fmt="o", color=BLUE, capsize=3, elinewidth=2, markersize=7
    )
    axes.set_yticks(places, rows["label"].tolist())
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.grid(axis="y", visible=False)
    return svg.render(figure, name)


def ranks(queries: pd.DataFrame, systems: Sequence[str]) -> Plot:
    """At which rank each system puts the first right page, in shares of the queries.

    Args:
        queries: SYSTEM.rank of each query, 0 where the page was not found.
        systems: Up to three.
    """
    figure, axes = svg.new_plot(
        "At which rank does the right page come?",
        "rank of the first right page (none: not found)",
        "share of queries (%)",
    )
    labels = [label for _, _, label in BINS] + ["none"]
    width = 0.8 / len(systems)
    for number, system in enumerate(systems):
        rank = queries[f"{system}.rank"]
        shares = [rank.between(first, last).mean() * 100 for first, last, _ in BINS]
        shares.append((rank == 0).mean() * 100)
        x = np.arange(len(labels)) + (number - (len(systems) - 1) / 2) * width
        svg.add_bars(axes, x, shares, number=number, width=width, label=system)
    axes.set_xticks(range(len(labels)), labels)
    axes.grid(axis="x", visible=False)
    svg.add_legend(axes, 3)
    return svg.render(figure, "ranks")
