"""Which written questions can be trusted: each filter drops, and says why."""

from typing import Any

import pandas as pd

from pagefinder.params import Writer
from pagefinder.writing.client import Ask


def requests_per_question(pages: int) -> int:
    """How many requests to the judge a question may take, at most, in a source of so many pages."""
    return 0


def filtered(
    rows: pd.DataFrame, pages: pd.DataFrame, judge: Ask, settings: Writer
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The written questions with the verdict of each filter, and what the filters counted.

    Args:
        rows: WRITTEN_COLUMNS of each question.
        pages: All usable pages of the source, in its order: key, document_id, page_number, kind,
            text ("" where there is none).
        judge: Asks the judge.
        settings: Of the writer.

    Returns:
        All rows, in their order, with the columns of WRITTEN_SCHEMA; counts for
        metrics/written.json.
    """
    empty: pd.Series = pd.Series([[] for _ in range(len(rows))], rows.index, dtype=object)
    return rows.assign(dropped_by=None, verdicts=empty, possible_pages=empty), {}
