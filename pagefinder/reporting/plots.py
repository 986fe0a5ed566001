"""The plots of the report, each from a table of the run."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pagefinder.reporting import figures
from pagefinder.reporting.figures import (
    BLUE,
    GREEN,
    GREY,
    INK,
    NDCG,
    ORANGE,
    PINK,
    RED,
    SKY,
    Plot,
)


def gains(rows: pd.DataFrame, name: str, title: str) -> Plot:
    """Differences with their intervals, one a line.

    Args:
        rows: label, difference, low, high; without an interval only the point is drawn.
        name: Of the files.
        title: What to see.
    """
    figure, plot = figures.axes(
        title, "difference of the metric, 95% interval", "", height=1.5 + 0.32 * len(rows)
    )
    places = np.arange(len(rows))[::-1]
    difference = rows["difference"].to_numpy(float)
    low, high = (rows[key].fillna(rows["difference"]).to_numpy(float) for key in ("low", "high"))
    plot.axvline(0, color=INK, linewidth=1)
    around = np.maximum([difference - low, high - difference], 0)
    plot.errorbar(
        difference, places, xerr=around, fmt="o", color=BLUE, capsize=3, elinewidth=2, markersize=7
    )
    plot.set_yticks(places, rows["label"].tolist())
    plot.set_ylim(-0.6, len(rows) - 0.4)
    plot.grid(axis="y", visible=False)
    return figures.finish(figure, name)


def dimensions(grid: pd.DataFrame, choice: int) -> Plot:
    """NDCG@10 of base and tuned by dimension, the recommended one marked."""
    figure, plot = figures.axes(
        "How short may a vector be?", "dimensions of a vector (log scale)", NDCG
    )
    rows = grid[(grid["precision"] == "float32") & grid["model"].isin(("base", "tuned"))]
    for model, colour, line, mark in (("base", ORANGE, "--", "s"), ("tuned", BLUE, "-", "o")):
        part = rows[rows["model"] == model].sort_values("dimension")
        plot.plot(part["dimension"], part["ndcg@10"], line, color=colour, marker=mark, label=model)
    chosen = rows[(rows["model"] == "tuned") & (rows["dimension"] == choice)]
    plot.plot(
        chosen["dimension"], chosen["ndcg@10"], "*", color=RED, markersize=17, label="recommended"
    )
    figures.plain_ticks(plot, sorted(rows["dimension"].unique()))
    figures.legend(plot, 3)
    return figures.finish(figure, "dimensions")


def pareto(grid: pd.DataFrame, choice: int) -> Plot:
    """NDCG@10 of the tuned model against the bytes that an index holds for a page."""
    figure, plot = figures.axes(
        "What does a page cost in the index?", "bytes per page (log scale)", NDCG
    )
    rows = grid[grid["model"] == "tuned"].sort_values("bytes_per_page")
    front = rows[rows["pareto"] == 1].drop_duplicates("bytes_per_page")
    plot.plot(
        front["bytes_per_page"],
        front["ndcg@10"],
        "-",
        color=GREY,
        linewidth=1.5,
        label="best for its bytes",
        zorder=1,
    )
    marks = {
        "float32": (BLUE, "o"),
        "int8": (GREEN, "s"),
        "binary": (ORANGE, "^"),
        "binary_rescored": (PINK, "v"),
    }
    for precision, part in rows.groupby("precision", sort=False):
        colour, mark = marks.get(str(precision), (SKY, "D"))
        name = str(precision).replace("_", ", ")
        plot.plot(part["bytes_per_page"], part["ndcg@10"], mark, color=colour, label=name)
    chosen = rows[(rows["dimension"] == choice) & (rows["precision"] == "float32")]
    plot.plot(
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
    figures.plain_ticks(plot, powers[(powers * 4 > low) & (powers < high * 4)].tolist())
    figures.legend(plot, 3)
    return figures.finish(figure, "pareto")


def budgets(table: pd.DataFrame) -> Plot:
    """NDCG@10 of the tuned model by the visual tokens that a page is read as."""
    figure, plot = figures.axes(
        "Do smaller pages do?", "visual tokens per page (mean, log scale)", NDCG
    )
    table = table.sort_values("tokens_per_page")
    plot.plot(table["tokens_per_page"], table["ndcg@10"], "-o", color=BLUE, label="tuned")
    figures.plain_ticks(plot, table["tokens_per_page"].round().tolist())
    figures.legend(plot)
    return figures.finish(figure, "pixels")


def depths(depth: pd.DataFrame) -> Plot:
    """NDCG@10 of the embedder alone and of each reranker by the number of pages reranked."""
    figure, plot = figures.axes("Does reranking pay, and how deep?", "pages reranked", NDCG)
    looks = {
        "embedder": (GREY, ":", "D", "embedder alone"),
        "base": (ORANGE, "--", "s", "untrained reranker"),
        "tuned": (BLUE, "-", "o", "tuned reranker"),
        "fused": (GREEN, "-.", "^", "fused scores"),
    }
    for model, (colour, line, mark, label) in looks.items():
        part = depth[depth["model"] == model].sort_values("depth")
        if len(part):
            plot.plot(part["depth"], part["ndcg@10"], line, color=colour, marker=mark, label=label)
    plot.set_xticks(sorted(depth["depth"].unique()))
    figures.legend(plot)
    return figures.finish(figure, "depth")


def systems(rows: pd.DataFrame) -> Plot:
    """NDCG@10 of every system.

    Args:
        rows: label, ndcg@10, own (whether the system is one of this run).
    """
    rows = rows.sort_values("ndcg@10")
    figure, plot = figures.axes("Who finds the page?", NDCG, "", height=1.2 + 0.33 * len(rows))
    colours = [BLUE if own else GREY for own in rows["own"]]
    bars = plot.barh(rows["label"], rows["ndcg@10"], color=colours, height=0.66)
    plot.bar_label(bars, fmt="%.3f", padding=4, color=INK, fontsize=9.5)
    plot.set_xlim(0, max(0.1, rows["ndcg@10"].max()) * 1.16)
    plot.grid(axis="y", visible=False)
    plot.tick_params(axis="y", length=0)
    return figures.finish(figure, "systems")


def sizes(rows: pd.DataFrame, title: str) -> Plot:
    """NDCG@10 against the number of parameters.

    Args:
        rows: label, parameters (in billions), ndcg@10, own.
        title: What to see.
    """
    figure, plot = figures.axes(
        title, "parameters in billions (log scale)", NDCG, height=3.6 + 0.1 * len(rows)
    )
    for own, colour, mark, name in (
        (False, GREY, "s", "other models"),
        (True, BLUE, "o", "this run"),
    ):
        part = rows[rows["own"] == own]
        if len(part):
            plot.plot(part["parameters"], part["ndcg@10"], mark, color=colour, label=name)
    rows = rows.sort_values("ndcg@10", ascending=False, kind="stable").reset_index(drop=True)
    # Names would cover each other: points bear numbers, near ones share a mark, a key names them.
    for parameters, part in rows.groupby("parameters"):
        near = (part["ndcg@10"].diff() < -0.03 * np.ptp(rows["ndcg@10"])).cumsum()
        for _, joined in part.groupby(near):
            plot.annotate(
                ", ".join(str(number + 1) for number in joined.index),
                (float(str(parameters)), joined["ndcg@10"].mean()),
                xytext=(7, -3),
                textcoords="offset points",
                fontsize=9,
                color=INK,
            )
    for number, label in enumerate(rows["label"], 1):
        plot.plot([], [], " ", label=f"{number}  {label}")
    plot.set_xscale("log")
    plot.margins(x=0.15)
    ticks = sorted(rows["parameters"].unique())
    plot.set_xticks(ticks, [f"{value:.2g}" for value in ticks])
    plot.minorticks_off()
    figures.legend(plot, fontsize=8, handlelength=1, columnspacing=1)
    return figures.finish(figure, "sizes")


RANKS = ((1, 1, "1"), (2, 3, "2–3"), (4, 5, "4–5"), (6, 10, "6–10"), (11, 10**9, "below"))


def ranks(queries: pd.DataFrame, systems: Sequence[str]) -> Plot:
    """At which rank the first right page comes, by system, in shares of the queries."""
    figure, plot = figures.axes(
        "At which rank does the right page come?",
        "rank of the first right page (none: not found)",
        "share of queries (%)",
    )
    labels = [label for _, _, label in RANKS] + ["none"]
    width = 0.8 / len(systems)
    looks = {"base": (ORANGE, "//"), "tuned": (BLUE, ""), "reranked": (GREEN, "..")}
    for number, system in enumerate(systems):
        rank = queries[f"{system}.rank"]
        shares = [rank.between(low, high).mean() * 100 for low, high, _ in RANKS]
        shares.append((rank == 0).mean() * 100)
        colour, hatch = looks[system]
        plot.bar(
            np.arange(len(labels)) + (number - (len(systems) - 1) / 2) * width,
            shares,
            width,
            color=colour,
            hatch=hatch,
            edgecolor=INK,
            linewidth=0.4,
            label=system,
        )
    plot.set_xticks(range(len(labels)), labels)
    plot.grid(axis="x", visible=False)
    figures.legend(plot, 3)
    return figures.finish(figure, "ranks")
