"""Files whose pages an index has already: under another path, or with another time of change."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pagefinder.indexing import store
from pagefinder.indexing.planning import Copy, Touch

if TYPE_CHECKING:
    from lancedb.table import Table

# Rows that are read and committed together.
ROWS = 256


def touch(table: "Table", touched: Sequence[Touch], place: str) -> None:
    """Note the time of change of files whose content did not change, in one commit."""
    if not touched:
        return
    keys = [
        (one.file.path, one.state.file_hash, row, one.file.modified)
        for one in touched
        for row in sorted(one.state.rows)
    ]
    columns = ["path", "file_hash", "row", "modified"]
    fields = pa.schema([table.schema.field(name) for name in columns])
    rows = pa.table(list(zip(*keys, strict=True)), schema=fields)
    with store.damage(place), store.interrupted_after():
        table.merge_insert(columns[:-1]).when_matched_update_all().execute(rows)


def copy(table: "Table", copies: Sequence[Copy], place: str) -> None:
    """Add the rows of files once more, under other paths."""
    for part in _parts(copies):
        sources = {store.of_file(one.path, one.state.file_hash) for one in part}
        condition = " OR ".join(f"({source})" for source in sorted(sources))
        with store.damage(place):
            rows = table.search().where(condition).limit(None).to_arrow()
        rows = rows.select(table.schema.names).cast(table.schema)
        store.commit(table, [_under_new_path(rows, one) for one in part], place)


def _parts(copies: Sequence[Copy]) -> Iterator[list[Copy]]:
    """Copies that are made together: of as many rows, and files, as one commit takes."""
    part: list[Copy] = []
    for one in copies:
        part.append(one)
        if len(part) == store.FILTERS or sum(c.state.total for c in part) >= ROWS:
            yield part
            part = []
    if part:
        yield part


def _under_new_path(rows: pa.Table, one: Copy) -> pa.Table:
    """The rows of the file that is copied, among others' rows, as those of its new path."""
    is_source = pc.and_(
        pc.equal(rows["path"], one.path), pc.equal(rows["file_hash"], one.state.file_hash)
    )
    copied = rows.filter(is_source)
    for name, value in (
        ("path", one.file.path),
        ("document", one.file.path),
        ("modified", one.file.modified),
    ):
        number = copied.schema.get_field_index(name)
        values = pa.repeat(pa.scalar(value, copied.schema.field(name).type), len(copied))
        copied = copied.set_column(number, copied.schema.field(name), values)
    return copied
