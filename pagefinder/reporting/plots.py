"""The plots of the report, each from a table of the run."""

from collections.abc import Sequence
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from pagefinder.reporting import svg
from pagefinder.reporting.format import precision_label
from pagefinder.reporting.svg import BLUE, GREEN, GREY, INK, NDCG, ORANGE, PINK, RED, STAR, Plot
from pagefinder.systems import BASE, RERANKING, TUNED
from pagefinder.systems import label as system_label

# Bins of a rank: first and last rank, label.
RANK_BINS = ((1, 1, "1"), (2, 3, "2–3"), (4, 5, "4–5"), (6, 10, "6–10"), (11, 10**9, "below"))
# Colour, and line with marker, of each system of RERANKING, in its order.
RERANKING_LOOKS = ((GREY, ":D"), (PINK, ":v"), (ORANGE, "--s"), (BLUE, "-o"), (GREEN, "-.^"))
# Colour, line and label of each group of mined pairs.
MINED_GROUPS = {
    "positive": (GREEN, "-", "positive"),
    "kept": (BLUE, "--", "kept"),
    "dropped": (RED, ":", "dropped"),
    "spare": (GREY, "-.", "passed, not needed"),
}


def gains(rows: pd.DataFrame, name: str, title: str) -> Plot:
    """Gains with their intervals, each on a line of its own.

    Args:
        rows: label, difference, low, high; without an interval only the point is drawn.
        name: Name of the plot's files.
        title: The plot's title.
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
    """The share of queries by the rank of the first right page, for up to four systems.

    Args:
        queries: SYSTEM.rank of each query, 0 where the page was not found.
        systems: The systems to draw.
    """
    figure, axes = svg.new_plot(
        "At which rank does the right page come?",
        "rank of the first right page (none: not found)",
        "share of queries (%)",
    )
    labels = [label for _, _, label in RANK_BINS] + ["none"]
    width = 0.8 / len(systems)
    for number, system in enumerate(systems):
        rank = queries[f"{system}.rank"]
        shares = [rank.between(first, last).mean() * 100 for first, last, _ in RANK_BINS]
        shares.append((rank == 0).mean() * 100)
        places = np.arange(len(labels)) + (number - (len(systems) - 1) / 2) * width
        axes.bar(places, shares, width, label=system_label(system), **svg.BARS[number])
    axes.set_xticks(range(len(labels)), labels)
    axes.grid(axis="x", visible=False)
    svg.add_legend(axes, len(systems))
    return svg.render(figure, "ranks")


def dimensions(grid: pd.DataFrame, recommended: int) -> Plot:
    """NDCG@10 of base and tuned by dimension, the recommended one marked; `grid` as in Inputs."""
    figure, axes = svg.new_plot(
        "How short may a vector be?", "dimensions of a vector (log scale)", NDCG
    )
    x, y = "dimension", "ndcg@10"
    grid = grid[grid["precision"] == "float32"].sort_values(x)
    base, tuned = grid[grid["model"] == BASE], grid[grid["model"] == TUNED]
    axes.plot(base[x], base[y], "--s", color=ORANGE, label="base")
    axes.plot(tuned[x], tuned[y], "-o", color=BLUE, label="tuned")
    star = tuned[tuned[x] == recommended]
    axes.plot(star[x], star[y], **STAR, markersize=17, label="recommended")
    svg.set_log_ticks(axes, tuned[x].tolist())
    svg.add_legend(axes, 3)
    return svg.render(figure, "dimensions")


def pareto(grid: pd.DataFrame, recommended: int) -> Plot:
    """NDCG@10 of the tuned model by the bytes of a page in an index.

    Args:
        grid: `Inputs.grid`: model, dimension, precision, ndcg@10, bytes_per_page, pareto.
        recommended: The dimension that gets a star.
    """
    figure, axes = svg.new_plot(
        "What does a page cost in the index?", "bytes per page (log scale)", NDCG
    )
    x, y = "bytes_per_page", "ndcg@10"
    grid = grid[grid["model"] == TUNED]
    # Looks go by the order of precisions in the table, before it is sorted.
    points = dict(zip(grid["precision"].unique(), cycle(svg.POINTS), strict=False))
    grid = grid.sort_values(x)
    front = grid[grid["pareto"] == 1].drop_duplicates(x)
    axes.plot(front[x], front[y], color=GREY, linewidth=1.5, label="best for its bytes", zorder=1)
    for precision, rows in grid.groupby("precision", sort=False):
        colour, marker = points[precision]
        label = precision_label(str(precision))
        axes.plot(rows[x], rows[y], marker, color=colour, label=label)
    star = grid[(grid["dimension"] == recommended) & (grid["precision"] == "float32")]
    axes.plot(star[x], star[y], **STAR, markersize=17, label="recommended", zorder=5)
    ticks = 4 ** np.arange(12)  # up to 4 MiB a page
    in_view = (ticks * 4 > grid[x].min()) & (ticks < grid[x].max() * 4)
    svg.set_log_ticks(axes, ticks[in_view].tolist())
    svg.add_legend(axes, columns=3)
    return svg.render(figure, "pareto")


def budgets(rows: pd.DataFrame) -> Plot:
    """NDCG@10 of the tuned model by visual tokens per page; rows as `Inputs.pixel_budgets`."""
    figure, axes = svg.new_plot(
        "Do smaller pages do?", "visual tokens per page (mean, log scale)", NDCG
    )
    rows = rows.sort_values("tokens_per_page")
    axes.plot(rows["tokens_per_page"], rows["ndcg@10"], "-o", color=BLUE, label="tuned")
    svg.set_log_ticks(axes, rows["tokens_per_page"].round().tolist())
    svg.add_legend(axes)
    return svg.render(figure, "pixels")


def depths(depth: pd.DataFrame) -> Plot:
    """NDCG@10 of the embedder alone and of each reranker by pages reranked (Inputs.depth_curve)."""
    figure, axes = svg.new_plot("Does reranking pay, and how deep?", "pages reranked", NDCG)
    for (model, label), (colour, look) in zip(RERANKING.items(), RERANKING_LOOKS, strict=True):
        rows = depth[depth["model"] == model].sort_values("depth")
        if len(rows):
            axes.plot(rows["depth"], rows["ndcg@10"], look, color=colour, label=label)
    axes.set_xticks(sorted(depth["depth"].unique()))
    svg.add_legend(axes)
    return svg.render(figure, "depth")


def systems(rows: pd.DataFrame) -> Plot:
    """NDCG@10 of each system as a bar.

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


def sizes(rows: pd.DataFrame) -> Plot:
    """NDCG@10 by the number of parameters, a point per model.

    Args:
        rows: label, parameters (in billions), ndcg@10, of_run (whether it is one of this run).
    """
    figure, axes = svg.new_plot(
        "Is the size worth it?",
        "parameters in billions (log scale)",
        NDCG,
        height=3.6 + 0.1 * len(rows),
    )
    x, y = "parameters", "ndcg@10"
    looks = {False: ("s", GREY, "other models"), True: ("o", BLUE, "this run")}
    for of_run, points in rows.groupby("of_run"):
        marker, colour, label = looks[bool(of_run)]
        axes.plot(points[x], points[y], marker, color=colour, label=label)
    rows = rows.sort_values(y, ascending=False, kind="stable").reset_index(drop=True)
    # Names would cover each other: points bear numbers, near ones share a mark, a key names them.
    for _, points in rows.groupby(x):
        near = (points[y].diff() < -0.03 * np.ptp(rows[y])).cumsum()
        for _, joined in points.groupby(near):
            numbers = ", ".join(str(row + 1) for row in joined.index)
            place = (joined[x].iloc[0], joined[y].mean())
            axes.annotate(
                numbers, place, (7, -3), textcoords="offset points", fontsize=9, color=INK
            )
    for number, label in enumerate(rows["label"], 1):
        axes.plot([], [], " ", label=f"{number}  {label}")
    axes.set_xscale("log")
    axes.margins(x=0.15)
    ticks = sorted(rows[x].unique())
    axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
    axes.minorticks_off()
    svg.add_legend(axes, fontsize=8, handlelength=1, columnspacing=1)
    return svg.render(figure, "sizes")


def mined_scores(scores: pd.DataFrame) -> Plot:
    """The number of mined pairs by cosine of query and page, a line per group.

    Args:
        scores: group, score (cosine, in steps of 0.02), pairs. A group that is not named in
            MINED_GROUPS is a rule that dropped the pairs.
    """
    figure, axes = svg.new_plot(
        "How hard are the negatives?",
        "cosine of query and page, base embedder",
        "pairs (log scale)",
    )
    groups = scores["group"].where(scores["group"].isin(tuple(MINED_GROUPS)), "dropped")
    for group, (colour, line, label) in MINED_GROUPS.items():
        pairs = scores[groups == group].groupby("score")["pairs"].sum()
        if len(pairs):
            steps = np.round(np.arange(pairs.index.min(), pairs.index.max() + 0.03, 0.02), 2)
            pairs = pairs.reindex(steps).fillna(0).clip(lower=0.5)
            axes.step(pairs.index, pairs, line, where="post", color=colour, label=label)
    axes.set_yscale("log")
    svg.add_legend(axes, 4)
    return svg.render(figure, "mined_scores")


def candidate_ranks(ranks: pd.DataFrame) -> Plot:
    """The share of train and of dev queries by the tuned embedder's rank of the right page.

    Args:
        ranks: split, rank (0 where the page was not found), share of the split's queries.
    """
    figure, axes = svg.new_plot(
        "Does the reranker train on what it meets?",
        "tuned embedder's rank of the right page (0: not found)",
        "share of queries (%, log scale)",
    )
    for number, split in enumerate(("train", "dev")):
        rows = ranks[ranks["split"] == split]
        places = rows["rank"] + (number - 0.5) * 0.4
        axes.bar(places, rows["share"] * 100, 0.4, label=split, **svg.BARS[number])
    axes.set_yscale("log")
    axes.grid(axis="x", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    svg.add_legend(axes)
    return svg.render(figure, "candidate_ranks")


def training_loss(rows: pd.DataFrame, model: str) -> Plot:
    """The loss (step, value) of the training of `embedder` or `reranker`, logged and smoothed."""
    title = f"{model.capitalize()}: training loss"
    figure, axes = svg.new_plot(title, "optimizer step", "loss (nats)", height=2.9)
    axes.plot(rows["step"], rows["value"], color=GREY, linewidth=1, label="logged")
    smooth = rows["value"].ewm(span=8).mean()
    axes.plot(rows["step"], smooth, color=BLUE, label="smoothed")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    svg.add_legend(axes)
    return svg.render(figure, f"training_{model}_loss")


def dev_scores(rows: pd.DataFrame, model: str, kept: pd.Series) -> Plot:
    """NDCG@10 on dev (step, value) of the training of a model; `kept` is the best trained row."""
    title = f"{model.capitalize()}: score on the dev split"
    figure, axes = svg.new_plot(title, "optimizer step", NDCG, height=2.9)
    axes.plot(rows["step"], rows["value"], "-o", color=BLUE, label="dev")
    axes.plot(kept["step"], kept["value"], **STAR, markersize=16, label="kept")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    svg.add_legend(axes)
    return svg.render(figure, f"training_{model}_dev")
