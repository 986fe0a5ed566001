"""Lance fragments: machines write them, one process commits them to the table of an index.

The package lance, of the extra `ray`, is what lancedb has inside and does not show.
"""

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pagefinder.indexing import schema, store
from pagefinder.indexing.tidying import COMMITS, tidy

if TYPE_CHECKING:
    from lancedb.table import Table


def uri_of(place: str) -> str:
    """Where the table of an index lies, as lance takes it."""
    return f"{place}/{schema.TABLE}.lance"


def write(batch: pa.Table, uri: str) -> pa.Table:
    """Write the rows of chunks as a fragment, which is in the index once it is committed.

    Args:
        batch: A row for each chunk: `rows`, an Arrow stream or nothing, and of a file that the next
            run has to read, its path `again` and the `reason`.
        uri: Of the table.

    Returns:
        One row: the fragments as JSON, their number of pages, and those files and reasons.
    """
    from lance.fragment import write_fragments

    tables = [pa.ipc.open_stream(rows).read_all() for rows in batch["rows"].to_pylist() if rows]
    fragments = write_fragments(pa.concat_tables(tables), uri) if tables else []
    again = [row for row in batch.select(["again", "reason"]).to_pylist() if row["again"]]
    return pa.table(
        {
            "fragments": [[json.dumps(fragment.to_json()) for fragment in fragments]],
            "pages": [sum(map(len, tables))],
            "again": [[row["again"] for row in again]],
            "reasons": [[row["reason"] for row in again]],
        },
        pa.schema(
            [
                ("fragments", pa.list_(pa.string())),
                ("pages", pa.int64()),
                ("again", pa.list_(pa.string())),
                ("reasons", pa.list_(pa.string())),
            ]
        ),
    )


def commit(uri: str, pending: list[Any], place: str) -> None:
    """Add all pending fragments to a table in one version of it; none are pending then."""
    import lance

    if not pending:
        return
    with store.damage(place), store.interrupted_after():
        version = lance.dataset(uri).version
        lance.LanceDataset.commit(uri, lance.LanceOperation.Append(pending), read_version=version)
        pending.clear()


def tidy_table(table: "Table", place: str) -> None:
    """Put small fragments together, each group on one machine; then tidy as every engine does."""
    import lance
    import ray
    from lance.optimize import Compaction

    with store.damage(place), store.interrupted_after():
        dataset = lance.dataset(uri_of(place))
        if len(dataset.get_fragments()) > COMMITS:
            tasks = Compaction.plan(dataset, {}).tasks
            compact = ray.remote(_compact)
            rewritten = ray.get([compact.remote(task, uri_of(place)) for task in tasks])
            Compaction.commit(dataset, rewritten)
            table.checkout_latest()
    tidy(table, place)


def _compact(task: Any, uri: str) -> Any:  # noqa: ANN401  # types of the package lance
    import lance

    return task.execute(lance.dataset(uri))
