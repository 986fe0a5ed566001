"""Plots of the pages that training learns from: how near they are, and at which rank."""

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from pagefinder.reporting.plots import svg
from pagefinder.reporting.plots.svg import BLUE, GREEN, GREY, RED, Plot

# Colour and line of each group of pairs; a group of none of these names is a rule that drops.
GROUPS = {
    "positive": (GREEN, "-"),
    "kept": (BLUE, "--"),
    "dropped": (RED, ":"),
    "spare": (GREY, "-."),
}
LABELS = {"spare": "passed, not needed"}


def mined_scores(scores: pd.DataFrame) -> Plot:
    """How near positives, kept and dropped pages are to their queries.

    Args:
        scores: group, score (cosine, in steps of 0.02), pairs.
    """
    figure, axes = svg.new_plot(
        "How hard are the negatives?",
        "cosine of query and page, base embedder",
        "pairs (log scale)",
    )
    groups = scores["group"].where(scores["group"].isin(tuple(GROUPS)), "dropped")
    for name, (colour, line) in GROUPS.items():
        pairs = scores[groups == name].groupby("score")["pairs"].sum()
        if pairs.empty:
            continue
        steps = np.round(np.arange(pairs.index.min(), pairs.index.max() + 0.03, 0.02), 2)
        pairs = pairs.reindex(steps).fillna(0).clip(lower=0.5)
        label = LABELS.get(name, name)
        axes.step(pairs.index, pairs, line, where="post", color=colour, label=label)
    axes.set_yscale("log")
    svg.add_legend(axes, 4)
    return svg.render(figure, "mined_scores")


def candidate_ranks(ranks: pd.DataFrame) -> Plot:
    """How much higher the right page stands for queries that the embedder was trained on.

    Args:
        ranks: split, rank (0 where the page was not found), share of the split's queries.
    """
    figure, axes = svg.new_plot(
        "Does the reranker train on what it meets?",
        "tuned embedder's rank of the right page (0: not found)",
        "share of queries (%, log scale)",
    )
    for number, split in enumerate(("train", "dev")):
        part = ranks[ranks["split"] == split]
        x = part["rank"] + (number - 0.5) * 0.4
        svg.add_bars(axes, x, part["share"] * 100, number=number, width=0.4, label=split)
    axes.set_yscale("log")
    axes.grid(axis="x", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    svg.add_legend(axes)
    return svg.render(figure, "candidate_ranks")
