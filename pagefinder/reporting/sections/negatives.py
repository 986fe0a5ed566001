"""Were the negatives sound: counts and histograms. Their pages are shown by the gallery."""

from collections.abc import Mapping
from typing import Any

from pagefinder.reporting import plots
from pagefinder.reporting.format import count
from pagefinder.reporting.inputs import Inputs
from pagefinder.reporting.sections import Section, Table


def section(inputs: Inputs) -> Section:
    """How many were mined, how many are false, which rule left out how many pages."""
    section = Section("negatives", "Negatives", "Were the negatives sound?")
    metrics = inputs.mining
    if not metrics:
        section.answer.append("No negatives were mined.")
        return section
    queries, kept = metrics["queries"], metrics["kept"]
    section.answer.append(
        f"For {count(queries['mined'])} train queries {count(kept['mined'])} negatives were mined "
        f"and {count(kept['given'])} of the source's own kept; {count(queries['short'])} queries "
        f"got fewer than asked for, {count(queries['without'])} of them none."
    )
    if inputs.params.embedder.mined_negatives == 0:
        section.answer.append(
            "The embedder trained with none of them (embedder.mined_negatives is 0): its negatives "
            "are the other pages of a batch."
        )
    section.answer.append(_false_negatives(metrics))
    section.tables.append(_dropped(metrics))
    if not inputs.mined_scores.empty:
        section.plots.append(plots.mined_scores(inputs.mined_scores))
    if not inputs.candidate_ranks.empty:
        section.plots.append(plots.candidate_ranks(inputs.candidate_ranks))
    if inputs.audit_sheet.empty:
        section.answer.append("The audit sampled no query: there is no sheet.")
    return section


def _false_negatives(metrics: Mapping[str, Any]) -> str:
    """The sentence on false negatives: counted, estimated from hidden positives, or unknown."""
    counted, hidden = metrics.get("false_negatives"), metrics.get("hidden_positives")
    if counted:
        return (
            "The pages are drawn, so every right page is known: they made up "
            f"{counted['before']:.2%} of what the search found and {counted.get('kept', 0):.2%} of "
            "what was kept. The rule `positive` alone removes them here; what the other rules "
            "dropped were no answers, and would have been safe to keep."
        )
    if hidden:
        rates = hidden["rate"]
        return (
            f"Right pages that were hidden on purpose made up {rates['before']:.2%} of what the "
            f"search found and {rates.get('kept', 0):.2%} of what was kept: the share of false "
            "negatives to expect where only one right page is known."
        )
    return (
        "No train query has several right pages, so false negatives cannot be counted; judge "
        "by the sheet below."
    )


def _dropped(metrics: Mapping[str, Any]) -> Table:
    """The number of pairs that each rule dropped, the source's own negatives in separate rows."""
    dropped = dict(metrics["dropped"])
    given = dropped.pop("given")
    dropped |= {f"given by the source: {rule}": number for rule, number in given.items()}
    rows = [[rule.replace("_", " "), count(number)] for rule, number in dropped.items() if number]
    rows.append(["passed every rule, not needed", count(metrics["spare"])])
    return Table("Pages left out, by rule", ["rule", "pairs"], rows)
