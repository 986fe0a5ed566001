"""The plot of quality by the number of pages reranked."""

import pandas as pd

from pagefinder.reporting.plots import svg
from pagefinder.reporting.plots.svg import BLUE, GREEN, GREY, NDCG, ORANGE, Plot
from pagefinder.systems import RERANKING

# Colour, line and marker, in the order of RERANKING.
LINES = ((GREY, ":", "D"), (ORANGE, "--", "s"), (BLUE, "-", "o"), (GREEN, "-.", "^"))


def depths(depth: pd.DataFrame) -> Plot:
    """NDCG@10 of the embedder alone and of each reranker by the number of pages reranked."""
    figure, axes = svg.new_plot("Does reranking pay, and how deep?", "pages reranked", NDCG)
    for (model, label), (colour, line, marker) in zip(RERANKING.items(), LINES, strict=True):
        part = depth[depth["model"] == model].sort_values("depth")
        if len(part):
            axes.plot(
                part["depth"], part["ndcg@10"], line, color=colour, marker=marker, label=label
            )
    axes.set_xticks(sorted(depth["depth"].unique()))
    svg.add_legend(axes)
    return svg.render(figure, "depth")
