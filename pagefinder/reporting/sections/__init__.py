"""The report's sections, a module each: `section(inputs)` answers one question.

Sentences, tables and plots show what the run measured; a sentence says what it did not measure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from pagefinder.reporting.format import change, interval, p_value
from pagefinder.reporting.svg import Plot


@dataclass(frozen=True)
class Table:
    """A table whose cells are text."""

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
    """A table of gains with intervals and p-values.

    Args:
        caption: The table's caption.
        first: Header of the labels' column.
        rows: difference, low, high, p_value of each comparison.
        labels: A label for each row.
    """
    records = rows.to_dict("records")
    cells = [[str(label), *gain_cells(row)] for label, row in zip(labels, records, strict=True)]
    return Table(caption, [first, "gain", "95% interval", "p"], cells)


def gain_cells(row: Mapping[Any, Any]) -> list[str]:
    """A comparison's difference, interval and p-value as text."""
    return [change(row["difference"]), interval(row), p_value(row)]
