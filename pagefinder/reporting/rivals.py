"""Against whom: baselines, compared models, and published scores on the same data."""

import json
from pathlib import Path

import pandas as pd

from pagefinder.reporting import plots
from pagefinder.reporting.inputs import Inputs
from pagefinder.reporting.sections import Section, Table, claimed, gain_table, sure
from pagefinder.reporting.words import score
from pagefinder.systems import BASELINES, DISTRACTORS

PUBLISHED = Path(__file__).parent / "published.json"


def rivals(inputs: Inputs) -> Section:
    """Against whom: baselines, compared models, published scores on the same data."""
    section = Section("rivals", "Against whom?")
    metrics = inputs.embedder
    compared = metrics.get("compare", {})
    rows = [("base", metrics["base"], True), ("tuned", metrics["tuned"], True)]
    at = inputs.reranker.get("depth", {})
    if at:
        depth = inputs.params.reranker.compared_depth
        rows.append((f"tuned, {depth} reranked", at[str(depth)]["tuned"], True))
    rows.append((BASELINES["random"], metrics["random"], False))
    rows += [(BASELINES[name], at, False) for name, at in metrics.get("text", {}).items()]
    rows += [(name, at, False) for name, at in compared.items()]
    table = pd.DataFrame(
        [(label, at["ndcg@10"], own) for label, at, own in rows],
        columns=["label", "ndcg@10", "own"],
    ).sort_values("ndcg@10", ascending=False)
    sizes = {} if inputs.sizes.empty else inputs.sizes.set_index("model")["parameters"].to_dict()
    cells = [
        [label, f"{sizes[label] / 1e6:,.1f}" if label in sizes else "–", score(value)]
        for label, value in zip(table["label"], table["ndcg@10"], strict=True)
    ]
    marked = frozenset(number for number, own in enumerate(table["own"]) if own)
    header = ["", "million parameters", "NDCG@10"]
    section.tables.append(Table("NDCG@10 (this run's models marked)", header, cells, marked))
    section.plots.append(plots.systems(table))
    _claims(section, inputs)
    if "text" not in metrics:
        section.answer.append("There is no text baseline: the pages have no text, or it is off.")
    if not compared:
        section.answer.append("No other model was compared: name some under `compare`.")
    far = metrics.get("distractors", {})
    if far:
        said = ", ".join(f"{name} {score(at['ndcg@10'])}" for name, at in far.items())
        won = claimed(inputs, "base" + DISTRACTORS, "tuned" + DISTRACTORS)
        section.answer.append(f"With every other page of the corpus as a distractor, {said}{won}.")
    _published(section, inputs)
    return section


def _claims(section: Section, inputs: Inputs) -> None:
    claims = inputs.comparisons
    if claims.empty:
        return
    others = [*inputs.embedder.get("text", {}), *inputs.embedder.get("compare", {})]
    rows = claims[claims["before"].isin(others)]
    if len(rows):
        nearest = rows.sort_values("difference").dropna(axis=1).to_dict("records")[0]
        name, gap = str(nearest["before"]), float(nearest["difference"])
        side = "ahead of" if gap > 0 else "behind"
        section.answer.append(
            f"The tuned embedder is {abs(gap):.4f} of NDCG@10 {side} "
            f"the best of the others, {BASELINES.get(name, name)}{sure(nearest)}."
        )
        labels = rows["before"].replace(BASELINES)
        section.tables.append(gain_table("Tuned against others, NDCG@10", "against", rows, labels))


def _published(section: Section, inputs: Inputs) -> None:
    """Published scores, only where they are of the very data of this run; quality against size."""
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    data = inputs.params.data
    points = _measured(inputs.sizes)
    if data.source == "hub" and data.hub.path == published["dataset"]:
        models = published["models"]
        section.answer.append(f"{published['note']} Source: {published['source']}.")
        rows = [[m["model"], f"{m['parameters'] or '–'}", f"{m['ndcg@10']:.3f}"] for m in models]
        header = ["model", "billion parameters", "NDCG@10"]
        section.tables.append(Table(f"Published: {published['setting']}", header, rows))
        rows = [
            [str(m["dimension"]), score(m["base"]), score(m["tuned"])]
            for m in published["dimensions"]
        ]
        header = ["dimensions", "base", "tuned"]
        section.tables.append(Table("Published: NDCG@10 by dimension", header, rows))
        others = pd.DataFrame(models)[["model", "parameters", "ndcg@10"]].dropna()
        others["model"] += " (published)"
        points = pd.concat([points, others.rename(columns={"model": "label"}).assign(own=False)])
    else:
        section.answer.append(
            "Published scores are shown only beside the reference data set, which this is not."
        )
    if points["parameters"].nunique() > 1:
        points["own"] = points["own"].astype(bool)
        section.plots.append(plots.sizes(points, "Is the size worth it?"))
    elif len(points):
        section.answer.append(
            f"The embedder has {points['parameters'].iloc[0] * 1000:.1f} million parameters; no "
            "model of another size was measured beside it."
        )


def _measured(sizes: pd.DataFrame) -> pd.DataFrame:
    """label, parameters (in billions), ndcg@10, own: what this run has measured."""
    if sizes.empty:
        return pd.DataFrame(columns=["label", "parameters", "ndcg@10", "own"])
    points = sizes.rename(columns={"model": "label"}).assign(parameters=sizes["parameters"] / 1e9)
    return points.assign(own=points["label"].isin(("base", "tuned")))
