"""Compare a folder with its index: what is to be read, copied and removed."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from pagefinder.indexing import schema, store
from pagefinder.indexing.files import (
    Chunk,
    File,
    Listing,
    crashed_file,
    file_chunks,
    is_pdf,
    kind,
)
from pagefinder.runtime import pool

if TYPE_CHECKING:
    from lancedb.table import Table


@dataclass(frozen=True)
class Indexed:
    """What an index has of a file, as it was when it was read.

    Attributes:
        file_hash: Of its content.
        size: In bytes.
        modified: Time of change, ns.
        total: Rows of the whole file.
        rows: Those that are there, by their place in the file.
        unread: A page waits for OCR.
    """

    file_hash: str
    size: int
    modified: int
    total: int
    rows: frozenset[int]
    unread: bool

    @property
    def complete(self) -> bool:
        """Whether all pages of the file are there."""
        return len(self.rows) == self.total

    def is_of(self, file: File) -> bool:
        """Whether a file has the size and the time that it had then."""
        return (self.size, self.modified) == (file.size, file.modified)


def indexed_files(table: "Table") -> dict[str, list[Indexed]]:
    """What an index has of each file, by path; more than one where a file changed midway."""
    columns = ["path", "file_hash", "size", "modified", "rows", "row", "text_origin"]
    found: dict[tuple[str, str, int, int, int], dict[int, bool]] = {}
    for batch in table.search().select(columns).to_batches():
        values = (batch[name].to_pylist() for name in columns)
        for path, file_hash, size, modified, total, row, origin in zip(*values, strict=True):
            rows = found.setdefault((path, file_hash, size, modified, total), {})
            rows[row] = origin == schema.UNREAD
    files: dict[str, list[Indexed]] = {}
    for (path, file_hash, size, modified, total), rows in found.items():
        unread = any(rows.values())
        indexed = Indexed(file_hash, size, modified, total, frozenset(rows), unread)
        files.setdefault(path, []).append(indexed)
    return files


@dataclass
class Summary:
    """What an update did, in files and pages."""

    unchanged: int = 0
    new: int = 0
    changed: int = 0
    moved: int = 0
    removed: int = 0
    encoded: int = 0
    again: list[str] = field(default_factory=list)  # files that changed while they were read

    def __str__(self) -> str:
        files = f"{self.new} files new, {self.changed} changed, {self.moved} moved or copied"
        others = f"{self.removed} removed, {self.unchanged} unchanged"
        again = f"; {len(self.again)} files are left to the next run" if self.again else ""
        return f"{files}, {others}; {self.encoded} pages read{again}"


@dataclass(frozen=True)
class Copy:
    """A file whose content the index has under another path.

    Attributes:
        path: That path.
        state: What the index has there.
        file: The file.
    """

    path: str
    state: Indexed
    file: File


@dataclass(frozen=True)
class Touch:
    """A file whose time changed and whose content did not: what the index has of it, the file."""

    state: Indexed
    file: File


@dataclass(frozen=True)
class Plan:
    """What an update has to do.

    Attributes:
        chunks: To read and encode, in order.
        copies: Files whose rows are those of another path.
        touched: Files whose time changed, and whose content, by its hash, did not.
        first: Filters of rows that go before anything is read.
        last: Filters of rows that go when their file is read, by path.
        summary: Counts so far.
    """

    chunks: list[Chunk] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)
    touched: list[Touch] = field(default_factory=list)
    first: list[str] = field(default_factory=list)
    last: dict[str, list[str]] = field(default_factory=dict)
    summary: Summary = field(default_factory=Summary)


def make_plan(
    count: Callable[[Sequence[File]], Iterable[list[Chunk]]],
    listing: Listing,
    indexed: Mapping[str, Sequence[Indexed]],
    *,
    again: bool,
) -> Plan:
    """Compare a folder with its index. Only files whose size or time changed are hashed.

    Args:
        count: Hashes files and counts their pages, see `count_pages`.
        listing: Of the folder.
        indexed: What the index has of each file, by path.
        again: Read files again that have a page which waits for OCR.
    """
    plan, suspects = Plan(), []
    for file in listing.files:
        states = indexed.get(file.path, [])
        current = [state for state in states if state.is_of(file) and state.complete]
        # A file that could not be read has no hash: that may be mended without a change of it.
        if current and current[0].file_hash and not (again and current[0].unread):
            plan.summary.unchanged += 1
            _outdate(plan, file, states, current[0].file_hash)
        else:
            suspects.append(file)
    whole = {
        (state.file_hash, kind(path)): (path, state)
        for path, states in indexed.items()
        for state in states
        if state.complete and state.file_hash and not (again and state.unread)
    }
    listed = {file.path for file in listing.files}
    gone = {path for path in indexed.keys() - listed if not listing.may_hold(path)}
    moved = set()
    for file, chunks in zip(suspects, count(suspects), strict=True):
        states, file_hash = indexed.get(file.path, []), chunks[0].file_hash
        same = [state for state in states if state.file_hash == file_hash]
        if not same and (file_hash, kind(file.path)) in whole:
            path, state = whole[file_hash, kind(file.path)]
            plan.copies.append(Copy(path, state, file))
            moved.add(path)
            plan.summary.moved += 1
        elif same and not (again and same[0].unread):
            present = frozenset[int]().union(*(state.rows for state in same))
            plan.touched.extend(Touch(state, file) for state in same if not state.is_of(file))
            plan.chunks.extend(chunk for chunk in chunks if not present.issuperset(chunk.rows))
            plan.summary.unchanged += 1
        else:
            plan.first.extend(store.of_file(file.path, file_hash) for _ in same)
            plan.chunks.extend(chunks)
            plan.summary.changed += bool(states)
            plan.summary.new += not states
        _outdate(plan, file, states, file_hash)
    plan.last.update({path: [store.of_file(path)] for path in sorted(gone)})
    plan.summary.removed = len(gone - moved)
    return plan


def _outdate(plan: Plan, file: File, states: Sequence[Indexed], file_hash: str) -> None:
    """Plan the removal of rows that hold another content of a file than it has now."""
    old = {state.file_hash for state in states} - {file_hash}
    if old:
        plan.last[file.path] = [store.of_file(file.path, one) for one in sorted(old)]


def count_pages(folder: Path, files: Sequence[File]) -> Iterator[list[Chunk]]:
    """The chunks of each file; PDFs are opened in processes of their own, which they may crash."""
    if not files:
        return
    results = pool.run(
        partial(file_chunks, folder),
        files,
        partial(crashed_file, folder),
        isolate=any(is_pdf(file.path) for file in files),
    )
    yield from tqdm(results, "hashing", total=len(files), unit="file", disable=None)
