"""Against whom: baselines, compared models, and published scores on the same data."""

import json
import math
import re
from pathlib import Path

import pandas as pd

from pagefinder.reporting import plots
from pagefinder.reporting.inputs import Inputs
from pagefinder.reporting.sections import Section, Table, gain_table, sure
from pagefinder.reporting.words import score

PUBLISHED = Path(__file__).parent / "published.json"
BASELINES = {"random": "random order", "bm25": "BM25 on the text", "minilm": "MiniLM on the text"}


def rivals(inputs: Inputs) -> Section:
    """Against whom: baselines, compared models, published scores on the same data."""
    section = Section("rivals", "Against whom?")
    metrics = inputs.embedder
    compared = metrics.get("compare", {})
    rows = [("base", metrics["base"], True), ("tuned", metrics["tuned"], True)]
    at = inputs.reranker.get("depth", {})
    if at:
        depths = inputs.params.reranker.depths
        middle = depths[len(depths) // 2]
        rows.append((f"tuned, {middle} reranked", at[str(middle)]["tuned"], True))
    rows.append((BASELINES["random"], metrics["random"], False))
    rows += [(BASELINES[name], at, False) for name, at in metrics.get("text", {}).items()]
    rows += [(name, at, False) for name, at in compared.items()]
    table = pd.DataFrame(
        [(label, at["ndcg@10"], own) for label, at, own in rows],
        columns=["label", "ndcg@10", "own"],
    ).sort_values("ndcg@10", ascending=False)
    cells = [[str(row["label"]), score(row["ndcg@10"])] for row in table.to_dict("records")]
    marked = frozenset(number for number, own in enumerate(table["own"]) if own)
    section.tables.append(
        Table("NDCG@10 (this run's models marked)", ["", "NDCG@10"], cells, marked)
    )
    section.plots.append(plots.systems(table))
    _claims(section, inputs)
    if "text" not in metrics:
        section.answer.append("There is no text baseline: the pages have no text, or it is off.")
    if not compared:
        section.answer.append("No other model was compared: name some under `compare`.")
    far = metrics.get("distractors", {})
    if far:
        said = ", ".join(f"{name} {score(at['ndcg@10'])}" for name, at in far.items())
        section.answer.append(f"With every other page of the corpus as a distractor: {said}.")
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
    """Published scores, only where they are of the very data of this run."""
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    data = inputs.params.data
    reference = data.source == "hub" and data.hub.path == published["dataset"]
    names = {"base": inputs.params.base.model}
    names |= {name: at.model for name, at in inputs.params.compare.items()}
    points = [
        {"label": name, "parameters": stated_size(model), "own": name == "base"}
        | {"ndcg@10": inputs.embedder.get("compare", inputs.embedder).get(name, {}).get("ndcg@10")}
        for name, model in names.items()
        if name != "base"
    ]
    own = parameters(inputs.release / "embedder") or stated_size(names["base"])
    points += [
        {"label": name, "parameters": own, "own": True}
        | {"ndcg@10": inputs.embedder[name]["ndcg@10"]}
        for name in ("base", "tuned")
    ]
    if reference:
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
        points += [
            {"label": m["model"], "parameters": m["parameters"], "own": False}
            | {"ndcg@10": m["ndcg@10"]}
            for m in models
        ]
    else:
        section.answer.append(
            "Published scores are shown only beside the reference data set, which this is not."
        )
    known = pd.DataFrame([p for p in points if p["parameters"] and p["ndcg@10"] is not None])
    if len(known) and known["own"].nunique() == 2:
        title = "Is the size worth it?"
        section.plots.append(plots.sizes(known, title))
    elif own:
        section.answer.append(
            f"The embedder has {own * 1000:.1f} million parameters; no other model of known size "
            "stands beside it."
        )


def stated_size(model: str) -> float | None:
    """Billions of parameters as a model's name states them, e.g. 2 for Qwen3-VL-Embedding-2B."""
    found = re.search(r"(?<![\w.])(\d+(?:\.\d+)?)([bBmM])(?![A-Za-z0-9])", model.replace("_", "-"))
    if not found:
        return None
    return float(found[1]) / (1 if found[2] in "bB" else 1000)


def parameters(folder: Path) -> float | None:
    """Billions of parameters in a folder's safetensors, from their headers; None without any."""
    total = 0
    for path in sorted(folder.rglob("*.safetensors")):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        shapes = [tensor["shape"] for name, tensor in header.items() if name != "__metadata__"]
        total += sum(math.prod(shape) for shape in shapes)
    return total / 1e9 if total else None
