"""Does the reranker pay."""

from collections.abc import Mapping
from typing import Any

from pagefinder.reporting import plots
from pagefinder.reporting.format import count, gained, score, verdict
from pagefinder.reporting.inputs import Inputs
from pagefinder.reporting.sections import Section, Table
from pagefinder.systems import FIRST_STAGE, FUSED, RERANKING, TUNED


def section(inputs: Inputs) -> Section:
    """NDCG@10 of the reranker and of the embedder alone, by number of pages reranked."""
    section = Section("reranker", "Reranker", "Does the reranker pay?")
    metrics = inputs.reranker
    if not metrics:
        section.answer.append("No reranker was measured.")
        return section
    depths = inputs.params.reranker.depths
    compared = str(inputs.params.reranker.compared_depth)
    at = {name: values["ndcg@10"] for name, values in metrics["depth"][compared].items()}
    if "over_first_stage" in metrics:
        section.verdict, sentence = _over_first_stage(section, metrics, at, compared)
    else:
        section.verdict, sentence = verdict(metrics["gain"], "Reranking")
        section.answer.append(
            f"Reranking the embedder's first {compared} pages moves NDCG@10 from "
            f"{score(at['embedder'])} to {score(at['tuned'])}: {gained(metrics['gain'])}."
        )
    section.answer.append(sentence)
    if "base" in at:
        section.answer.append(
            f"Untrained, it scores {score(at['base'])}: training is worth "
            f"{gained(metrics['training'])}."
        )
    if "fused" in at:
        section.answer.append(
            f"Fused with its first stage (the reranker weighs {metrics['fusion_weight']:g}, as "
            f"chosen on dev) it scores {score(at['fused'])}, against the embedder alone "
            f"{gained(metrics['fusion'])}."
        )
    missed = metrics.get("first_stage_missed", 0)
    section.answer.append(
        f"For {count(missed)} queries no right page is among the first {depths[-1]}: no reranker "
        "can mend that."
    )
    measured = {name: label for name, label in RERANKING.items() if name in at}
    rows = [
        [depth, *(score(values.get(name, {}).get("ndcg@10")) for name in measured)]
        for depth, values in metrics["depth"].items()
    ]
    marked = frozenset(number for number, row in enumerate(rows) if row[0] == compared)
    labels = [
        label.removesuffix(" reranker").removesuffix(" scores") for label in measured.values()
    ]
    section.tables.append(Table("NDCG@10 by depth", ["pages reranked", *labels], rows, marked))
    if not inputs.depth_curve.empty:
        section.plots.append(plots.depths(inputs.depth_curve))
    return section


def _over_first_stage(
    section: Section, metrics: Mapping[str, Any], at: Mapping[str, float], compared: str
) -> tuple[str, str]:
    """Add what the reranker adds to the embedder fused with BM25, and return the verdict on it.

    `at` holds NDCG@10 by system at the compared depth.
    """
    over = metrics["over_first_stage"]
    section.answer.append(
        f"The first stage, the tuned embedder fused with BM25, scores {score(at[FIRST_STAGE])}. "
        f"Its first {compared} pages in the reranker's order score {score(at[TUNED])}: "
        f"{gained(over[TUNED])}. Both fused score {score(at[FUSED])}: {gained(over[FUSED])}."
    )
    return verdict(over[FUSED], "The reranker")
