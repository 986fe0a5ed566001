"""Against whom: baselines, compared models, and published scores on the same data."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from pagefinder.reporting import plots
from pagefinder.reporting.format import bracketed, count, gained, score
from pagefinder.reporting.inputs import Inputs
from pagefinder.reporting.sections import Section, Table, gain_table
from pagefinder.systems import (
    BASE,
    BASELINES,
    DISTRACTORS,
    FUSED,
    RANDOM,
    TUNED,
    WITH_BM25,
    label,
)

PUBLISHED = Path(__file__).parent / "published.json"


def section(inputs: Inputs) -> Section:
    """NDCG@10 of all systems, the gain over each, distractors, and NDCG@10 by model size."""
    section = Section("rivals", "Rivals", "Against whom?")
    metrics = inputs.embedder
    systems = _systems(inputs)
    sizes = inputs.model_sizes
    parameters = {} if sizes.empty else sizes.set_index("model")["parameters"].to_dict()
    rows = [
        [name, f"{parameters[name] / 1e6:,.1f}" if name in parameters else "–", score(ndcg)]
        for name, ndcg in zip(systems["label"], systems["ndcg@10"], strict=True)
    ]
    marked = frozenset(number for number, of_run in enumerate(systems["of_run"]) if of_run)
    header = ["", "million parameters", "NDCG@10"]
    section.tables.append(Table("NDCG@10 (this run's models marked)", header, rows, marked))
    section.plots.append(plots.systems(systems))
    _gains(section, inputs)
    _fusion(section, inputs)
    if "text" not in metrics:
        section.answer.append("There is no text baseline: the pages have no text, or it is off.")
    if "compare" not in metrics:
        section.answer.append("No other model was compared: name some under `compare`.")
    if "distractors" in metrics:
        section.answer.append(_distractors(inputs))
    _published(section, inputs)
    return section


def _systems(inputs: Inputs) -> pd.DataFrame:
    """The systems, best first: label, ndcg@10, of_run (whether it is one of this run's models)."""
    metrics, depths = inputs.embedder, inputs.reranker.get("depth", {})
    rows = [(BASE, metrics[BASE], True), (TUNED, metrics[TUNED], True)]
    if depths:
        depth = inputs.params.reranker.compared_depth
        rows.append((f"{TUNED}, {depth} reranked", depths[str(depth)]["tuned"], True))
    rows += [
        (label(system), at, True)
        for system, at in inputs.fusion.items()
        if system in (BASE + WITH_BM25, TUNED + WITH_BM25)
    ]
    if depths and "over_first_stage" in inputs.reranker:
        rows.append((f"{label(TUNED + WITH_BM25)} + reranker", depths[str(depth)][FUSED], True))
    others = {RANDOM: metrics[RANDOM]} | metrics.get("text", {}) | metrics.get("compare", {})
    rows += [(BASELINES.get(name, name), at, False) for name, at in others.items()]
    table = pd.DataFrame(
        [(name, at["ndcg@10"], of_run) for name, at, of_run in rows],
        columns=["label", "ndcg@10", "of_run"],
    )
    return table.sort_values("ndcg@10", ascending=False)


def _gains(section: Section, inputs: Inputs) -> None:
    """Add the gain of the tuned embedder over text baselines and compared models."""
    comparisons = inputs.comparisons
    if comparisons.empty:
        return
    others = [*inputs.embedder.get("text", {}), *inputs.embedder.get("compare", {})]
    rows = comparisons[comparisons["before"].isin(others) & (comparisons["after"] == TUNED)]
    if len(rows):
        best = rows.sort_values("difference").dropna(axis=1).to_dict("records")[0]
        name, difference = str(best["before"]), float(best["difference"])
        side = "ahead of" if difference > 0 else "behind"
        section.answer.append(
            f"The tuned embedder is {abs(difference):.4f} of NDCG@10 {side} "
            f"the best of the others, {BASELINES.get(name, name)}{bracketed(best)}."
        )
        labels = rows["before"].replace(BASELINES)
        section.tables.append(gain_table("Tuned against others, NDCG@10", "against", rows, labels))


def _fusion(section: Section, inputs: Inputs) -> None:
    """Add what the embedders gain fused with BM25, and the weights."""
    fused, comparisons = inputs.fusion.get(TUNED + WITH_BM25), inputs.comparisons
    if not fused:
        return
    weights = ", ".join(f"{label(name)} {weight:g}" for name, weight in fused["weights"].items())
    gains = " and ".join(
        f"{gained(gain)} over {label(name)}" for name, gain in fused["over"].items()
    )
    section.answer.append(
        f"Fused with BM25 (weights chosen on dev: {weights}) the tuned embedder scores "
        f"{score(fused['ndcg@10'])}: {gains}."
    )
    if comparisons.empty:
        return
    rows = comparisons[comparisons["after"].str.endswith(WITH_BM25)]
    if len(rows):
        labels = rows["after"].map(label) + " over " + rows["before"].map(label)
        section.tables.append(gain_table("Fused with BM25, NDCG@10", "", rows, labels))
        labelled = rows.assign(label=labels)
        section.plots.append(plots.gains(labelled, "fusion", "What fusion with BM25 gains"))


def _distractors(inputs: Inputs) -> str:
    """The sentence on the search among all pages of the corpus."""
    scores = ", ".join(
        f"{name} {score(at['ndcg@10'])}" for name, at in inputs.embedder["distractors"].items()
    )
    gain = inputs.gain(BASE + DISTRACTORS, TUNED + DISTRACTORS)
    clause = f": {gained(gain)}" if gain else ""
    return f"With every other page of the corpus as a distractor, {scores}{clause}."


def _published(section: Section, inputs: Inputs) -> None:
    """Add published scores where they are of this run's data; plot NDCG@10 by model size."""
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    data, sizes = inputs.params.data, inputs.model_sizes
    points = pd.DataFrame(columns=["label", "parameters", "ndcg@10", "of_run"])
    if not sizes.empty:
        points = sizes.rename(columns={"model": "label"})
        points["parameters"] /= 1e9  # in billions, as published
        points["of_run"] = points["label"].isin((BASE, TUNED))
    if data.source == "hub" and data.hub.path == published["dataset"]:
        section.answer.append(f"{published['note']} Source: {published['source']}.")
        if inputs.recipe:
            section.answer.append(_as_recipe(inputs))
        section.tables += _published_tables(published)
        others = pd.DataFrame(published["models"]).dropna().assign(of_run=False)
        others["label"] = others.pop("model") + " (published)"
        points = pd.concat([points, others])
    else:
        section.answer.append(
            "Published scores are shown only beside the reference data set, which this is not."
        )
    if points["parameters"].nunique() > 1:
        points["of_run"] = points["of_run"].astype(bool)  # joined tables hold objects
        section.plots.append(plots.sizes(points))
    elif len(points):
        section.answer.append(
            f"The embedder has {points['parameters'].iloc[0] * 1000:.1f} million parameters; no "
            "model of another size was measured beside it."
        )


def _as_recipe(inputs: Inputs) -> str:
    """The sentence on NDCG@10 as the published figures are counted."""
    merged = len(inputs.corpus.page_rows("eval"))
    recipe, ours = (
        f"base {score(metrics[BASE]['ndcg@10'])}, tuned {score(metrics[TUNED]['ndcg@10'])}"
        for metrics in (inputs.recipe, inputs.embedder)
    )
    return (
        f"As the recipe counts, over {count(inputs.recipe['pages'])} pages with their repeats, "
        f"where a repeat of the answer is wrong: {recipe}. As everywhere else in this report, over "
        f"the {count(merged)} pages that differ: {ours}."
    )


def _published_tables(published: dict[str, Any]) -> list[Table]:
    """Tables of the published scores, by model and by dimension; `published` is PUBLISHED's."""
    models = [
        [model["model"], f"{model['parameters'] or '–'}", f"{model['ndcg@10']:.3f}"]
        for model in published["models"]
    ]
    dimensions = [
        [str(at["dimension"]), score(at["base"]), score(at["tuned"])]
        for at in published["dimensions"]
    ]
    header = ["model", "billion parameters", "NDCG@10"]
    return [
        Table(f"Published: {published['setting']}", header, models),
        Table("Published: NDCG@10 by dimension", ["dimensions", "base", "tuned"], dimensions),
    ]
