"""How tables and metrics are written: bytes that depend on their content alone."""

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pagefinder.runtime import outputs


def write_table(
    rows: pd.DataFrame | list[dict[str, object]], schema: pa.Schema, path: Path
) -> None:
    """Write a small table as Parquet with exactly the columns of its schema.

    The pandas metadata is left out, so that the bytes depend on the rows alone.
    """
    if isinstance(rows, pd.DataFrame):
        table = pa.Table.from_pandas(rows[schema.names], schema=schema, preserve_index=False)
        table = table.replace_schema_metadata(None)
    else:
        table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table, path, compression="zstd")


def write_csv(table: pd.DataFrame, path: Path, root: Path) -> None:
    """Write a table as CSV, numbers with 6 digits; an interrupted run leaves no partial file.

    `root` is the root of the run.
    """
    with outputs.output(path, root) as scratch:
        table.to_csv(scratch, index=False, float_format="%.6f", lineterminator="\n")


def write_json(metrics: object, path: Path, root: Path) -> None:
    """Write nested metrics as JSON, numbers with 6 digits; no partial file is ever left.

    With more digits a diff would show what did not change. `root` is the root of the run.
    """
    with outputs.output(path, root) as scratch:
        scratch.write_text(json.dumps(_rounded(metrics), indent=2) + "\n", encoding="utf-8")


def _rounded(value: object) -> object:
    """The value with its floats rounded to 6 digits, at any depth of dictionaries and lists."""
    if isinstance(value, dict):
        return {str(key): _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return round(value, 6) if isinstance(value, float) else value
