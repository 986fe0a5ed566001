"""The report's sections, a module each: `section(inputs)` answers one question.

Sentences, tables and plots say what the run has; what it lacks is said in a sentence.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from pagefinder.reporting.format import change, interval, p_value
from pagefinder.reporting.plots.svg import Plot


@dataclass(frozen=True)
class Table:
    """Cells as text.

    Attributes:
        caption: Stands above the table.
        header: A name for each column; "" for all of them where the table needs none.
        rows: The cells.
        marked: Numbers of the rows that stand out.
        wide: Whether the table takes the whole width of the page.
        words: Whether the cells are words, which are set to the left, rather than numbers.
    """

    caption: str
    header: list[str]
    rows: list[list[str]]
    marked: frozenset[int] = frozenset()
    wide: bool = False
    words: bool = False


@dataclass
class Section:
    """A question, its answer in sentences, the tables and plots that show it.

    Attributes:
        anchor: Of links to the section.
        title: In the page's navigation.
        question: The heading.
        answer: Sentences; what stands between backticks is code.
        tables: Beside the plots.
        plots: Drawn in the page and written as files.
        verdict: better, worse, unclear or unknown, where the first sentence answers yes or no.
        folded: Tables that the page shows on a click.
    """

    anchor: str
    title: str
    question: str
    answer: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    verdict: str = ""
    folded: list[Table] = field(default_factory=list)


def gain_table(caption: str, first: str, rows: pd.DataFrame, labels: pd.Series) -> Table:
    """Gains with interval and p-value, a row each, named by `labels` under the header `first`.

    Args:
        caption: Of the table.
        first: Header of the labels.
        rows: difference, low, high, p_value.
        labels: Of the rows.
    """
    records = rows.to_dict("records")
    cells = [[str(label), *gain_cells(row)] for label, row in zip(labels, records, strict=True)]
    return Table(caption, [first, "gain", "95% interval", "p"], cells)


def gain_cells(row: Mapping[Any, Any]) -> list[str]:
    """Difference, interval and p-value of a comparison as cells."""
    return [change(row["difference"]), interval(row), p_value(row)]
