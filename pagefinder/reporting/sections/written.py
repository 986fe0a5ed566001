"""Can the questions that a model wrote be trusted: what the filters dropped, and what it cost."""

from typing import Any

import pandas as pd

from pagefinder.reporting.format import count
from pagefinder.reporting.inputs import Inputs
from pagefinder.reporting.sections import Section, Table

ORIGIN = "written"


def section(inputs: Inputs) -> Section | None:
    """How many questions were written, which filter dropped how many; None where none were."""
    metrics = inputs.written
    if not metrics:
        return None
    section = Section("written", "Written questions", "Can the written questions be trusted?")
    questions = metrics["questions"]
    written, kept = questions["written"], questions["kept"]
    share = f" ({kept / written:.0%})" if written else ""
    section.answer.append(
        f"A model wrote {count(written)} questions about {count(metrics['pages'])} pages; "
        f"{count(kept)}{share} passed every filter and are used."
    )
    section.answer.append(_use(inputs.corpus.queries, inputs.params.queries.eval))
    section.tables.append(_filters(metrics["filters"]))
    kinds = questions["kept_by_kind"]
    if kinds:
        rows = [[kind.replace("_", " "), count(number)] for kind, number in kinds.items()]
        section.tables.append(Table("Kept questions by kind", ["kind", "questions"], rows))
    if metrics["requests"]:
        section.tables.append(_requests(metrics["requests"]))
    if inputs.written_sheet.empty:
        section.answer.append("No question was written: there is no sheet.")
    else:
        section.answer.append(
            "Filters err both ways. Read the sheet: is what they kept a question that people would "
            "ask, and does its page answer it? Is what they dropped rightly dropped?"
        )
    return section


def _use(queries: pd.DataFrame, origins: str) -> str:
    """Where the written questions went, and what the figures of eval then measure."""
    written = queries[queries["origin"] == ORIGIN]
    numbers = {name: int((written["split"] == name).sum()) for name in ("train", "dev", "eval")}
    in_eval = int((queries["split"] == "eval").sum())
    splits = f"{count(numbers['train'])} train the models and {count(numbers['dev'])} are in dev."
    if not numbers["eval"]:
        return f"{splits} None is in eval (`queries.eval` is {origins}): a model wrote no test."
    return (
        f"{splits} {count(numbers['eval'])} of the {count(in_eval)} questions of eval are written "
        f"(`queries.eval` is {origins}): those figures measure that model's taste too. The slices "
        "by kind of question tell them apart."
    )


def _filters(filters: dict[str, dict[str, int]]) -> Table:
    """Questions that each filter has seen, did not let pass, and dropped as the first one."""
    rows = [
        [name.replace("_", " "), *(count(n) for n in (by["seen"], by["failed"], by["dropped"]))]
        for name, by in filters.items()
    ]
    header = ["filter", "looked at", "did not pass", "dropped, as the first"]
    return Table("Questions by filter, in their order", header, rows)


def _requests(steps: dict[str, dict[str, Any]]) -> Table:
    """What was asked of the server and what it cost, by step."""
    names = ("requests", "cached", "retried", "tokens_in", "tokens_out")
    rows = []
    for step, counts in steps.items():
        failures = ", ".join(f"{n} {name}" for name, n in sorted(counts["failures"].items()))
        numbers = [count(counts[name]) for name in names]
        rows.append([step.replace("_", " "), *numbers, failures.replace("_", " ") or "none"])
    header = ["step", *(name.replace("_", " ") for name in names), "without an answer"]
    return Table("Requests", header, rows, wide=True)
