"""How plots are drawn and written: as SVG inside the page, and as SVG and PNG files beside it.

Inside the page text and lines take the reader's colours, so one drawing serves light and dark.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind readers, on white and on black; a marker and a
# dash pattern say the same once more.
BLUE, ORANGE, GREEN, RED = "#0072b2", "#e69f00", "#009e73", "#d55e00"
SKY, PINK, GREY = "#56b4e9", "#cc79a7", "#8a8f98"
# Stand-ins for the page's own colours.
INK, LINES = "#1f2328", "#d0d7df"
PAPER = "#fefefe"
PAGE_COLOURS = {INK: "ink", LINES: "line", BLUE: "blue", GREEN: "green", RED: "red", GREY: "grey"}
# Colours and markers of series of points, and looks of series of bars, in the order of the series.
POINTS = ((BLUE, "o"), (GREEN, "s"), (ORANGE, "^"), (PINK, "v"), (SKY, "D"))
BARS: Any = [
    {"color": colour, "hatch": hatch, "edgecolor": INK, "linewidth": 0.4}
    for colour, hatch in ((ORANGE, "//"), (BLUE, ""), (GREEN, ".."), (PINK, "xx"))
]
STAR: Any = {"color": RED, "marker": "*", "linestyle": ""}  # what was chosen

NDCG = "NDCG@10 (0 to 1)"

STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 10.5,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": LINES,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINES,
    "grid.linewidth": 0.7,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": LINES,
    "ytick.color": LINES,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 2,
    "lines.markersize": 6,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",
}


@dataclass(frozen=True)
class Plot:
    """A drawn plot: `inline` goes into the page, `svg` and `png` into files called `name`."""

    name: str
    title: str
    inline: str
    svg: str
    png: bytes


def new_plot(title: str, x: str, y: str, height: float = 3.5) -> tuple[Figure, Axes]:
    """An empty plot, 5 inches wide, with its title and the names of its axes."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.0, height))
        axes: Axes = figure.add_subplot()
        axes.set_title(title)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
    return figure, axes


def add_legend(axes: Axes, columns: int = 2, **settings: Any) -> None:  # noqa: ANN401  # matplotlib's
    """Add a legend below the plot, where it covers nothing; `settings` are those of `legend`."""
    with matplotlib.rc_context(STYLE):
        axes.figure.legend(
            *axes.get_legend_handles_labels(), loc="outside lower center", ncols=columns, **settings
        )


def set_log_ticks(axes: Axes, values: Sequence[float]) -> None:
    """Make the x axis logarithmic, with ticks at `values` that are written as plain numbers."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(values, [f"{value:,.3g}" if value < 1000 else f"{value:,}" for value in values])
    axes.minorticks_off()


def render(figure: Figure, name: str) -> Plot:
    """The figure as a plot whose files are called `name`.

    Its bytes depend only on what it shows: they hold no date, version or random id.
    """
    title = figure.axes[0].get_title("left")
    once = {"svg.hashsalt": name, "figure.constrained_layout.use": False}
    with matplotlib.rc_context(STYLE | once):
        # Lay out once: with any engine, even "none", every savefig would draw twice.
        figure.draw_without_rendering()
        figure.set_layout_engine(None)
        svg_file, png_file = io.StringIO(), io.BytesIO()
        figure.savefig(svg_file, format="svg", metadata={"Date": None}, facecolor=PAPER)
        figure.savefig(
            png_file, format="png", dpi=144, metadata={"Software": None}, facecolor="white"
        )
    svg = svg_file.getvalue()
    return Plot(name, title, _inline(svg, title), svg, png_file.getvalue())


def _inline(svg: str, title: str) -> str:
    """The SVG as part of an HTML page: no header, no metadata, the page's fonts and colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r"font(-family)?: ([^;\"]*?)'?DejaVu Sans'?[^;\"]*", _page_font, svg)
    svg = svg.replace(PAPER, "none")
    for colour, name in PAGE_COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    size = re.search(r'viewBox="0 0 ([\d.]+)', svg)
    width = f"max-width:{float(size[1]) * 4 / 3:.0f}px" if size else ""
    label = title.replace('"', "'").replace("\n", " ")
    return re.sub(
        r'<svg [^>]*?(viewBox="[^"]*")[^>]*>',
        rf'<svg role="img" aria-label="{label}" \1 style="{width}">',
        svg,
        count=1,
    ).strip()


def _page_font(match: re.Match[str]) -> str:
    """The page's font family in the size and weight of the match."""
    if match[1]:
        return "font-family: inherit"
    return f"font: {match[2].strip()} var(--font)"
