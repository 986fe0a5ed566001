"""The report's sections, a module each: `section(inputs)` answers one question.

Sentences, tables and plots say what the run has; what it lacks is said in a sentence.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from pagefinder.reporting.format import change, interval, p_value
from pagefinder.reporting.svg import Plot


@dataclass(frozen=True)
class Table:
    """Cells as text."""

    caption: str
    header: list[str]  # all "" where the table needs none
    rows: list[list[str]]
    marked: frozenset[int] = frozenset()  # numbers of the rows that stand out
    wide: bool = False  # whether it takes the whole width of the page
    words: bool = False  # whether the cells are words, set to the left, rather than numbers


@dataclass
class Section:
    """A question, its answer in sentences, the tables and plots that show it."""

    anchor: str  # of links to the section
    title: str  # in the page's navigation
    question: str
    answer: list[str] = field(default_factory=list)  # what stands between backticks is code
    tables: list[Table] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    verdict: str = ""  # better, worse, unclear or unknown, where the answer is yes or no
    folded: list[Table] = field(default_factory=list)  # shown on a click


def gain_table(caption: str, first: str, rows: pd.DataFrame, labels: pd.Series) -> Table:
    """Comparisons (difference, low, high, p_value), a row each after its label under `first`."""
    records = rows.to_dict("records")
    cells = [[str(label), *gain_cells(row)] for label, row in zip(labels, records, strict=True)]
    return Table(caption, [first, "gain", "95% interval", "p"], cells)


def gain_cells(row: Mapping[Any, Any]) -> list[str]:
    """Difference, interval and p-value of a comparison as cells."""
    return [change(row["difference"]), interval(row), p_value(row)]
