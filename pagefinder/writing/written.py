"""data/written: the questions that a model wrote from the pages, kept or dropped by the filters."""

from pathlib import Path

import pandas as pd
import pyarrow as pa

QUESTIONS = "questions.parquet"

# What the writer says of a question.
WRITTEN_COLUMNS = ("text", "page", "kind", "language", "answer", "evidence")
WRITTEN_SCHEMA = pa.schema(
    [
        pa.field("text", pa.string(), nullable=False),
        pa.field("page", pa.string(), nullable=False),  # key in data/source
        pa.field("kind", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),  # as params name it
        pa.field("answer", pa.string(), nullable=False),
        pa.field("evidence", pa.string()),  # words of the page that prove the answer
        # The first filter that dropped it; null: kept.
        pa.field("dropped_by", pa.string()),
        # Filter -> what it found: "passed", or why not. Filters that did not run are left out.
        pa.field("verdicts", pa.map_(pa.string(), pa.string()), nullable=False),
        # Keys of other pages that may answer it too: no negatives.
        pa.field("possible_pages", pa.list_(pa.string()), nullable=False),
    ]
)


def read_written(folder: Path) -> pd.DataFrame:
    """The questions in data/written that the filters kept; none where nothing was written.

    Columns as WRITTEN_SCHEMA.
    """
    path = folder / QUESTIONS
    if not path.exists():
        none: pd.DataFrame = WRITTEN_SCHEMA.empty_table().to_pandas()
        return none
    rows = pd.read_parquet(path)
    return rows[rows["dropped_by"].isna()].reset_index(drop=True)
