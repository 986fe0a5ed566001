"""What the report says of the models: each section answers one question in sentences and tables."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from pagefinder.reporting import plots
from pagefinder.reporting.figures import Plot
from pagefinder.reporting.inputs import Inputs
from pagefinder.reporting.words import change, count, interval, p_value, score, verdict

METRICS = {
    "ndcg@10": "NDCG@10",
    "ndcg@5": "NDCG@5",
    "recall@1": "recall@1",
    "recall@10": "recall@10",
    "mrr@10": "MRR@10",
}


@dataclass(frozen=True)
class Table:
    """Cells as text; `marked` are the numbers of the rows that stand out."""

    caption: str
    header: list[str]
    rows: list[list[str]]
    marked: frozenset[int] = frozenset()
    wide: bool = False


@dataclass
class Section:
    """A question, its answer in sentences, the tables and plots that show it."""

    anchor: str
    question: str
    answer: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    verdict: str = ""
    more: list[Table] = field(default_factory=list)  # folded away


def tuning(inputs: Inputs) -> Section:
    """Did tuning help, by how much, how sure are we."""
    section = Section("tuning", "Did tuning help, and how sure are we?")
    metrics = inputs.embedder
    gain, base, tuned = metrics["gain"], metrics["base"]["ndcg@10"], metrics["tuned"]["ndcg@10"]
    section.verdict, sentence = verdict(gain, "Tuning")
    section.answer.append(
        f"NDCG@10 goes from {score(base)} to {score(tuned)} on {_asked(inputs)}: "
        f"{change(gain['ndcg@10'])}{sure(gain)}."
    )
    section.answer.append(sentence)
    claims = inputs.comparisons
    if not claims.empty:
        rows = claims[(claims["before"] == "base") & (claims["after"] == "tuned")]
        labels = rows["metric"].replace(METRICS)
        section.tables.append(gain_table("Tuned against base", "metric", rows, labels))
        labelled = rows.assign(label=labels)
        section.plots.append(plots.gains(labelled, "gain", "Gain of tuning over the base"))
    queries = inputs.queries
    if not queries.empty:
        difference = queries["tuned.ndcg@10"] - queries["base.ndcg@10"]
        better, worse = int((difference > 1e-9).sum()), int((difference < -1e-9).sum())
        section.answer.append(
            f"{better} queries rank better than before, {worse} worse, "
            f"{len(queries) - better - worse} the same."
        )
        systems = [s for s in ("base", "tuned", "reranked") if f"{s}.rank" in queries]
        section.plots.append(plots.ranks(queries, systems))
    _slices(section, inputs.slices)
    return section


def _slices(section: Section, slices: pd.DataFrame) -> None:
    if slices.empty:
        section.answer.append("The queries carry no origin, kind or document to compare by.")
        return
    for by, what in (("origin", "kind of question"), ("kind", "kind of page")):
        rows = slices[slices["by"] == by]
        if len(rows) > 1:
            section.tables.append(_slice_table(f"By {what}", rows))
            title = f"Where tuning helps, by {what}"
            labelled = rows.assign(label=rows["value"])
            section.plots.append(plots.gains(labelled, f"gain_by_{by}", title))
    rows = slices[slices["by"] == "document_id"].sort_values("difference")
    if len(rows):
        section.more.append(_slice_table("By document, the greatest loss first", rows))


def _slice_table(caption: str, rows: pd.DataFrame) -> Table:
    header = ["", "queries", "base", "tuned", "gain", "95% interval", "p"]
    cells = [
        [str(row["value"]), count(row["queries"]), score(row["base"]), score(row["tuned"])]
        + _claim(row)
        for row in rows.to_dict("records")
    ]
    # A document alone carries no interval.
    columns = 5 if (rows["by"] == "document_id").all() else 7
    return Table(caption, header[:columns], [row[:columns] for row in cells])


def gain_table(caption: str, first: str, rows: pd.DataFrame, labels: pd.Series) -> Table:
    """Gains with interval and p-value, a row a claim, named by `labels` under `first`."""
    records = rows.to_dict("records")
    cells = [[str(label), *_claim(row)] for label, row in zip(labels, records, strict=True)]
    return Table(caption, [first, "gain", "95% interval", "p"], cells)


def _claim(row: Mapping[Any, Any]) -> list[str]:
    return [change(row["difference"]), interval(row), p_value(row)]


def sure(gain: Mapping[Any, Any]) -> str:
    """The interval of a gain in brackets; nothing where there is none."""
    if "low" not in gain:
        return ""
    return f" (95% interval {interval(gain)}, p = {p_value(gain)})"


def claimed(inputs: Inputs, before: str, after: str) -> str:
    """What `after` adds to `before`, behind a colon; nothing where they were not compared."""
    gain = inputs.claim(before, after)
    return f": {change(gain['difference'])}{sure(gain)}" if gain else ""


def _asked(inputs: Inputs) -> str:
    pages = len(inputs.corpus.page_rows("eval"))
    asked = len(inputs.queries) or len(inputs.corpus.query_rows("eval"))
    documents = int(inputs.embedder["gain"].get("documents", 0))
    return f"{count(asked)} queries about {count(documents)} documents, over {count(pages)} pages"


def reranking(inputs: Inputs) -> Section:
    """Does the reranker pay."""
    section = Section("reranker", "Does the reranker pay?")
    metrics = inputs.reranker
    if not metrics:
        section.answer.append("No reranker was measured.")
        return section
    depths = inputs.params.reranker.depths
    compared = str(inputs.params.reranker.compared_depth)
    at, gain = metrics["depth"][compared], metrics["gain"]
    section.verdict, sentence = verdict(gain, "Reranking")
    section.answer.append(
        f"Reranking the embedder's first {compared} pages moves NDCG@10 from "
        f"{score(at['embedder']['ndcg@10'])} to {score(at['tuned']['ndcg@10'])}: "
        f"{change(gain['ndcg@10'])}{sure(gain)}."
    )
    section.answer.append(sentence)
    if "base" in at:
        worth = metrics["training"]
        section.answer.append(
            f"Untrained, it scores {score(at['base']['ndcg@10'])}: training is worth "
            f"{change(worth['ndcg@10'])}{sure(worth)}."
        )
    if "fused" in at:
        section.answer.append(
            f"Fused with the embedder's score (the reranker weighs {metrics['fusion_weight']:g}, "
            f"as chosen on dev) it scores {score(at['fused']['ndcg@10'])}, against the embedder "
            f"alone {change(metrics['fusion']['ndcg@10'])}{sure(metrics['fusion'])}."
        )
    missed = metrics.get("first_stage_missed", 0)
    section.answer.append(
        f"For {count(missed)} queries no right page is among the first {depths[-1]}: no reranker "
        "can mend that."
    )
    names = {"embedder": "embedder alone", "base": "untrained", "tuned": "tuned", "fused": "fused"}
    rows = [
        [depth, *(score(by.get(name, {}).get("ndcg@10")) for name in names)]
        for depth, by in metrics["depth"].items()
    ]
    marked = frozenset(number for number, row in enumerate(rows) if row[0] == compared)
    header = ["pages reranked", *names.values()]
    section.tables.append(Table("NDCG@10 by depth", header, rows, marked))
    if not inputs.depth.empty:
        section.plots.append(plots.depths(inputs.depth))
    return section


def headline(inputs: Inputs) -> list[tuple[str, str, str]]:
    """The few numbers on top: what, how much, and how sure or compared with what."""
    metrics = inputs.embedder
    gain = metrics["gain"]
    tiles = [
        ("Base", score(metrics["base"]["ndcg@10"]), "NDCG@10 before tuning"),
        ("Tuned", score(metrics["tuned"]["ndcg@10"]), f"{change(gain['ndcg@10'])}{sure(gain)}"),
    ]
    if inputs.reranker:
        compared = inputs.params.reranker.compared_depth
        at, gain = inputs.reranker["depth"][str(compared)], inputs.reranker["gain"]
        detail = f"{change(gain['ndcg@10'])}{sure(gain)}, first {compared} pages"
        tiles.append(("Reranked", score(at["tuned"]["ndcg@10"]), detail))
    if inputs.dimensions:
        choice = inputs.dimensions["recommended"]["dimension"]
        tiles.append(
            ("Recommended", f"{choice} dims", f"{count(4 * choice)} bytes a page, float32")
        )
    return tiles
