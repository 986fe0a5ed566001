"""What each dimension, precision and pixel budget costs."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from pagefinder.reporting import plots
from pagefinder.reporting.inputs import Inputs
from pagefinder.reporting.sections import Section, Table, claimed
from pagefinder.reporting.words import count, score

PRECISIONS = {"binary_rescored": "binary, rescored"}


def cost(inputs: Inputs) -> Section:
    """What each dimension and precision costs."""
    section = Section("cost", "What does a shorter or coarser vector cost?")
    metrics = inputs.dimensions
    if not metrics:
        section.answer.append("No dimension was measured.")
        return section
    choice = int(metrics["recommended"]["dimension"])
    loss, full = metrics["recommended"]["loss"], max(map(int, metrics["dims"]))
    said = "none" if choice == full else f"{abs(loss):.1%}"
    verb = "gains" if loss < 0 else "loses"
    section.answer.append(
        f"Recommended: {choice} dimensions, {count(4 * choice)} bytes a page as float32. It is the "
        f"smallest that loses at most {inputs.params.evaluate.tolerance:.0%} of NDCG@10 on the dev "
        f"split; on the eval split it {verb} {said} against all {full} dimensions"
        f"{claimed(inputs, 'tuned', f'tuned@{choice}')}."
    )
    if "beats_base" in metrics:
        ahead = metrics["beats_base"]["dimension"]
        section.answer.append(
            f"Cut to {ahead} dimensions it still scores above the base at full length"
            f"{claimed(inputs, 'base', f'tuned@{ahead}')}."
        )
    else:
        section.answer.append(
            "At no dimension does the tuned model score above the base at full length."
        )
    header = ["dimensions", "base", "tuned", "bytes as float32"]
    rows, marked = [], set()
    for number, (name, at) in enumerate(metrics["dims"].items()):
        base, tuned = at["base"]["ndcg@10"], at["tuned"]["ndcg@10"]
        rows.append([name, score(base), score(tuned), count(4 * int(name))])
        marked |= {number} if int(name) == choice else set()
    table = Table("NDCG@10 by dimension (recommended marked)", header, rows, frozenset(marked))
    section.tables += [table, _precisions(metrics["precision"], choice)]
    if "int8" not in metrics["precision"]:
        section.answer.append("There are no train pages to set int8 ranges on: it is left out.")
    if not inputs.grid.empty:
        section.plots += [plots.dimensions(inputs.grid, choice), plots.pareto(inputs.grid, choice)]
    _budgets(section, inputs.budgets)
    return section


def _precisions(precision: Mapping[str, Any], choice: int) -> Table:
    names = list(precision)
    header = ["dimensions", *(PRECISIONS.get(name, name) for name in names)]
    dims = list(precision[names[0]])

    def cell(at: Mapping[str, float]) -> str:
        return f"{score(at['ndcg@10'])} · {count(at['bytes_per_page'])} B"

    rows = [[d, *(cell(precision[name][d]) for name in names)] for d in dims]
    marked = frozenset(number for number, d in enumerate(dims) if int(d) == choice)
    return Table("Tuned: NDCG@10 and bytes per page, by precision", header, rows, marked, wide=True)


def _budgets(section: Section, budgets: pd.DataFrame) -> None:
    """Quality by visual tokens, where more than the pipeline's own budget was measured."""
    if len(budgets) < 2:
        section.answer.append(
            "Only one pixel budget was measured: name others under `evaluate.pixel_budgets`."
        )
        return
    rows = [
        [count(row["max_pixels"]), f"{row['tokens_per_page']:.0f}", score(row["ndcg@10"])]
        for row in budgets.to_dict("records")
    ]
    header = ["pixels per page, at most", "visual tokens per page", "NDCG@10"]
    section.tables.append(Table("Tuned, by pixel budget", header, rows))
    section.plots.append(plots.budgets(budgets))
