"""How far the figures move when another seed draws documents, splits, batches and samples."""

import statistics
from collections.abc import Mapping
from typing import Any

from pagefinder.reporting.format import change, interval, score
from pagefinder.reporting.inputs import Inputs
from pagefinder.reporting.sections import Section, Table
from pagefinder.systems import BASE, BM25, RERANKED, TEXT_BASELINES, TUNED

# Title and format of each figure of a run, in the order of the table.
COLUMNS = {
    BASE: ("base", score),
    TUNED: ("tuned", score),
    "gain": ("gain", change),
    "quarter": ("quarter dims keep", "{:.1%}".format),
    BM25: (TEXT_BASELINES[BM25], score),
    RERANKED: ("reranked", score),
    "reranking": ("gain of reranking", change),
}


def figures(
    embedder: Mapping[str, Any],
    dimensions: Mapping[str, Any],
    reranker: Mapping[str, Any],
    compared_depth: int,
) -> dict[str, Any]:
    """The figures of a run by the names of COLUMNS; a gain is {value, low, high}.

    The first three arguments are the contents of the metrics files of the same names. `quarter` is
    the share of NDCG@10 that a quarter of the dimensions keeps; `reranked` is at the compared
    depth. What a run has not measured is left out.
    """
    result: dict[str, Any] = {name: embedder[name]["ndcg@10"] for name in (BASE, TUNED)}
    result["gain"] = _gain(embedder["gain"])
    tuned = {int(name): at["tuned"]["ndcg@10"] for name, at in dimensions.get("dims", {}).items()}
    full = max(tuned, default=0)
    if full // 4 in tuned and tuned[full]:
        result["quarter"] = round(tuned[full // 4] / tuned[full], 6)
    if BM25 in embedder.get("text", {}):
        result[BM25] = embedder["text"][BM25]["ndcg@10"]
    if reranker:
        result[RERANKED] = reranker["depth"][str(compared_depth)]["tuned"]["ndcg@10"]
        result["reranking"] = _gain(reranker["gain"])
    return result


def _gain(gain: Mapping[str, float]) -> dict[str, float]:
    """A gain of a metrics file as {value, low, high}; the last two may be missing."""
    return {"value": gain["ndcg@10"]} | {k: gain[k] for k in ("low", "high") if k in gain}


def table(seeds: Mapping[str, Mapping[str, Any]]) -> Table:
    """A table of `figures` by seed: a row each, then mean and deviation (of a sample, n - 1)."""
    names = [name for name in COLUMNS if all(name in run for run in seeds.values())]
    rows = [[seed, *(_cell(name, run[name]) for name in names)] for seed, run in seeds.items()]
    if len(seeds) > 1:
        columns = [[_value(run[name]) for run in seeds.values()] for name in names]
        rows.append(["mean", *map(_cell, names, map(statistics.mean, columns))])
        deviations = map(_cell, names, map(statistics.stdev, columns))
        rows.append(["deviation", *(cell.removeprefix("+") for cell in deviations)])
    header = ["seed", *(COLUMNS[name][0] for name in names)]
    return Table("NDCG@10 by seed, gains with 95% intervals", header, rows, wide=True)


def _value(figure: Any) -> float:  # noqa: ANN401  # a number, or a gain
    """The number of a figure, without a gain's interval."""
    return float(figure["value"] if isinstance(figure, Mapping) else figure)


def _cell(name: str, figure: Any) -> str:  # noqa: ANN401  # a number, or a gain
    """A figure as text in the format of COLUMNS, a gain with its interval."""
    text = COLUMNS[name][1](_value(figure))
    has_interval = isinstance(figure, Mapping) and "low" in figure
    return f"{text} ({interval(figure)})" if has_interval else text


def show(section: Section, inputs: Inputs) -> None:
    """Add the spread of the gain over seeds to `section`.

    Without a measurement that includes this very run, add a sentence on how to make one.
    """
    seeds, params = inputs.seeds, inputs.params
    metrics = inputs.embedder, inputs.dimensions, inputs.reranker
    this_run = figures(*metrics, params.reranker.compared_depth)
    if len(seeds) < 2 or seeds.get(str(params.seed)) != this_run:
        section.answer.append(
            "No spread over seeds was measured for this run: `python -m tools.experiments seeds` "
            "measures it."
        )
        return
    gains = [run["gain"]["value"] for run in seeds.values()]
    section.answer.append(
        f"Over {len(gains)} seeds, which draw documents, splits and batches anew, the gain runs "
        f"from {change(min(gains))} to {change(max(gains))}."
    )
    section.tables.append(table(seeds))
