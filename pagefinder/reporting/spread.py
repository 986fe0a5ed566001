"""How far the figures move when another seed draws documents, splits, batches and samples."""

import statistics
from collections.abc import Mapping
from typing import Any

from pagefinder.reporting.format import change, interval, score
from pagefinder.reporting.inputs import Inputs
from pagefinder.reporting.sections import Section, Table

# Figures of one run, in the order of the table.
NAMES = {
    "base": "base",
    "tuned": "tuned",
    "gain": "gain",
    "quarter": "quarter dims keep",
    "bm25": "BM25",
    "reranked": "reranked",
    "reranking": "gain of reranking",
}
GAINS, SHARES = ("gain", "reranking"), ("quarter",)


def figures(
    embedder: Mapping[str, Any], dimensions: Mapping[str, Any], reranker: Mapping[str, Any]
) -> dict[str, Any]:
    """What a run came to, from its three metrics files; a gain is {value, low, high}.

    `quarter` is the share of NDCG@10 that a quarter of the dimensions keeps; `reranked` is at the
    compared depth. What a run has not measured is left out.
    """
    found: dict[str, Any] = {name: embedder[name]["ndcg@10"] for name in ("base", "tuned")}
    found["gain"] = _gain(embedder["gain"])
    tuned = {int(name): at["tuned"]["ndcg@10"] for name, at in dimensions.get("dims", {}).items()}
    full = max(tuned, default=0)
    if full // 4 in tuned and tuned[full]:
        found["quarter"] = round(tuned[full // 4] / tuned[full], 6)
    if "bm25" in embedder.get("text", {}):
        found["bm25"] = embedder["text"]["bm25"]["ndcg@10"]
    if reranker:
        depths = list(reranker["depth"])
        found["reranked"] = reranker["depth"][depths[len(depths) // 2]]["tuned"]["ndcg@10"]
        found["reranking"] = _gain(reranker["gain"])
    return found


def _gain(gain: Mapping[str, float]) -> dict[str, float]:
    return {"value": gain["ndcg@10"]} | {k: gain[k] for k in ("low", "high") if k in gain}


def table(seeds: Mapping[str, Mapping[str, Any]]) -> Table:
    """A row per seed, then mean and standard deviation (of a sample, n - 1)."""
    names = [name for name in NAMES if all(name in at for at in seeds.values())]
    rows = [[seed, *(_cell(name, at[name]) for name in names)] for seed, at in seeds.items()]
    if len(seeds) > 1:
        columns = [
            [at[name]["value"] if name in GAINS else at[name] for at in seeds.values()]
            for name in names
        ]
        for label, summary in (("mean", statistics.mean), ("deviation", statistics.stdev)):
            cells = zip(names, columns, strict=True)
            rows.append([label, *(_number(name, summary(column)) for name, column in cells)])
        # A deviation has no sign.
        rows[-1] = [cell.lstrip("+") for cell in rows[-1]]
    header = ["seed", *(NAMES[name] for name in names)]
    return Table("NDCG@10 by seed, gains with 95% intervals", header, rows, wide=True)


def _cell(name: str, value: Any) -> str:  # noqa: ANN401  # a number, or a gain
    if name not in GAINS:
        return _number(name, value)
    sure = f" ({interval(value)})" if "low" in value else ""
    return _number(name, value["value"]) + sure


def _number(name: str, value: float) -> str:
    if name in SHARES:
        return f"{value:.1%}"
    return change(value) if name in GAINS else score(value)


def show(section: Section, inputs: Inputs) -> None:
    """Add the spread, where this run is one of those that were measured."""
    seeds, own = inputs.seeds, figures(inputs.embedder, inputs.dimensions, inputs.reranker)
    if len(seeds) < 2 or seeds.get(str(inputs.params.seed)) != own:
        section.answer.append(
            "One seed was run: `python -m benchmarks.seeds` measures the spread over several."
        )
        return
    gains = [at["gain"]["value"] for at in seeds.values()]
    section.answer.append(
        f"Over {len(gains)} seeds, which draw documents, splits and batches anew, the gain runs "
        f"from {change(min(gains))} to {change(max(gains))}."
    )
    section.tables.append(table(seeds))
