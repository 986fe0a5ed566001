"""data/source: pages and queries of any source, stored as found, in shards that survive a kill.

A source is a few named parts, each an iterator of rows that can start anywhere; a row is the pages
and queries that belong together. Rows are written in shards, and after each shard the progress: a
killed download goes on behind its last whole shard and ends with the same bytes.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

log = logging.getLogger(__name__)

PROVENANCE, QUERIES, QRELS, PDF = "provenance.json", "queries.parquet", "qrels.parquet", "pdf"
PROGRESS = "progress.json"
# A shard ends behind the row that reaches either bound: it is what a kill can lose.
SHARD_BYTES, SHARD_ITEMS = 64 * 2**20, 2000
# Pages that one worker of `prepare` takes at a time.
BATCH_PAGES = 128

PAGE_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),  # what queries refer to
        pa.field(
            "origin", pa.string(), nullable=False
        ),  # file and row, for the person who mends it
        pa.field("image", pa.binary()),  # encoded as found; null for a page of a PDF
        pa.field("pdf", pa.string()),  # file under pdf/ that holds page `page_number`
        pa.field("document_id", pa.string()),
        pa.field("page_number", pa.int32()),
        pa.field("split", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("text", pa.string()),
        pa.field("problem", pa.string()),  # why this is no page
    ]
)
QUERY_SCHEMA = pa.schema(
    [
        pa.field("query", pa.int64(), nullable=False),  # row number: what qrels refer to
        pa.field("text", pa.string(), nullable=False),
        pa.field("split", pa.string()),
        pa.field("origin", pa.string(), nullable=False),  # how it came about
        pa.field("where", pa.string(), nullable=False),
        pa.field("problem", pa.string()),
    ]
)
QREL_SCHEMA = pa.schema(
    [
        pa.field("query", pa.int64(), nullable=False),
        pa.field("page", pa.string(), nullable=False),
        pa.field("relevance", pa.int32(), nullable=False),
    ]
)
_SHARD_QUERY_SCHEMA = pa.schema(
    [f for f in QUERY_SCHEMA if f.name != "query"]
    + [pa.field("relevance", pa.map_(pa.string(), pa.int32()))]
)


@dataclass(frozen=True)
class SourcePage:
    """A page as the source gives it; `problem` says why it is none after all."""

    key: str
    origin: str
    image: bytes | None = None
    pdf: str | None = None
    document_id: str | None = None
    page_number: int | None = None
    split: str | None = None
    kind: str | None = None
    text: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class SourceQuery:
    """A query with the relevance of pages by key; 0 is a negative that the source gives."""

    text: str
    origin: str
    where: str
    relevance: Mapping[str, int]
    split: str | None = None
    problem: str | None = None


Row = Sequence[SourcePage | SourceQuery]


@dataclass(frozen=True)
class Source:
    """What `write` stores.

    Attributes:
        name: The value of `data.source`.
        parts: Per part a function that yields its rows from a given row number on.
        provenance: Settings, resolved revision and hashes of the user's files.
        files: Files copied unchanged to data/source/pdf, by name.
        settle: Makes the final queries from all that the rows held and the folder of shards.
    """

    name: str
    parts: Mapping[str, Callable[[int], Iterable[Row]]]
    provenance: Mapping[str, object]
    files: Mapping[str, Path] = field(default_factory=dict)
    settle: Callable[[list[SourceQuery], Path], list[SourceQuery]] | None = None


def write(source: Source, folder: Path) -> None:
    """Store a source in `folder`, going on from what an interrupted run left there."""
    if (folder / PROVENANCE).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in source.files.items():
        _copy(path, folder / PDF / name)
    progress = _read_progress(folder)
    for path in folder.glob("*.arrow"):
        if int(path.stem.split("-")[1]) >= progress["shards"]:
            path.unlink()
    if progress["shards"]:
        log.info("download: goes on behind %d whole shards", progress["shards"])
    seen = {key for batch in batches(folder, ["key"]) for key in batch["key"].to_pylist()}
    for part, rows in source.parts.items():
        if part in progress["complete"]:
            continue
        start = progress["rows"].get(part, 0)
        counted = tqdm(rows(start), desc=part, unit=" rows", initial=start, disable=None)
        for shard in _shards(counted):
            _write_shard(folder, progress["shards"], shard, seen)
            progress["shards"] += 1
            progress["rows"][part] = progress["rows"].get(part, 0) + len(shard)
            _write_progress(folder, progress)
        progress["complete"].append(part)
        _write_progress(folder, progress)
    _finish(source, folder, progress["shards"])


def publish(folder: Path, target: Path) -> None:
    """Move a finished work folder to `target`, without what only a resume needs."""
    for number in range(len(list(folder.glob("queries-*.arrow")))):
        (folder / f"queries-{number:05d}.arrow").unlink()
    (folder / PROGRESS).unlink()
    shutil.move(folder, target)


def batches(folder: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Record batches of at most BATCH_PAGES pages in source order, memory-mapped."""
    for path in sorted(folder.glob("pages-*.arrow")):
        with pa.memory_map(str(path)) as mapped:
            for batch in pa.ipc.open_stream(mapped):
                yield batch.select(columns) if columns else batch


def units(folder: Path) -> list[tuple[Path, int]]:
    """Shard and number of every record batch, in source order."""
    found = []
    for path in sorted(folder.glob("pages-*.arrow")):
        with pa.memory_map(str(path)) as mapped:
            found += [(path, number) for number, _ in enumerate(pa.ipc.open_stream(mapped))]
    return found


def read_unit(path: Path, number: int) -> pa.RecordBatch:
    """One record batch of a shard."""
    with pa.memory_map(str(path)) as mapped:
        for index, batch in enumerate(pa.ipc.open_stream(mapped)):
            if index == number:
                return batch
    raise IndexError(f"{path} has no batch {number}")


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(*parts: object) -> str:
    """Name of a work folder: 16 hex digits of all parts; a path stands for its content."""
    digest = hashlib.sha256()
    for part in parts:
        content = file_digest(part) if isinstance(part, Path) else json.dumps(part, sort_keys=True)
        digest.update(content.encode())
        digest.update(b"\0")
    return digest.hexdigest()[:16]


def _shards(rows: Iterable[Row]) -> Iterator[list[Row]]:
    shard: list[Row] = []
    size = items = 0
    for row in rows:
        shard.append(row)
        items += len(row)
        size += sum(len(item.image or b"") for item in row if isinstance(item, SourcePage))
        if size >= SHARD_BYTES or items >= SHARD_ITEMS:
            yield shard
            shard, size, items = [], 0, 0
    if shard:
        yield shard


def _write_shard(folder: Path, number: int, rows: list[Row], seen: set[str]) -> None:
    """Write the pages (each key once) and the queries of some rows."""
    pages, queries = [], []
    for item in (item for row in rows for item in row):
        if isinstance(item, SourceQuery):
            queries.append({**asdict(item), "relevance": list(item.relevance.items())})
        elif item.key not in seen:
            seen.add(item.key)
            pages.append(asdict(item))
    _write_stream(folder / f"pages-{number:05d}.arrow", pages, PAGE_SCHEMA)
    _write_stream(folder / f"queries-{number:05d}.arrow", queries, _SHARD_QUERY_SCHEMA)


def _write_stream(path: Path, rows: list[dict[str, object]], schema: pa.Schema) -> None:
    scratch = path.with_suffix(".tmp")
    with pa.ipc.new_stream(str(scratch), schema) as writer:
        for start in range(0, len(rows), BATCH_PAGES):
            chunk = rows[start : start + BATCH_PAGES]
            writer.write_batch(pa.RecordBatch.from_pylist(chunk, schema=schema))
    scratch.replace(path)


def _copy(source: Path, target: Path) -> None:
    """Copy a file unless a whole copy is there: the name holds the content's hash."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_suffix(".tmp")
    shutil.copyfile(source, scratch)
    scratch.replace(target)


def _read_progress(folder: Path) -> dict[str, Any]:
    try:
        progress: dict[str, Any] = json.loads((folder / PROGRESS).read_text())
        return progress
    except FileNotFoundError:
        return {"shards": 0, "rows": {}, "complete": []}


def _write_progress(folder: Path, progress: dict[str, Any]) -> None:
    scratch = folder / f"{PROGRESS}.tmp"
    scratch.write_text(json.dumps(progress))
    scratch.replace(folder / PROGRESS)


def _finish(source: Source, folder: Path, shards: int) -> None:
    """Join the queries of all shards and write the provenance."""
    queries = _read_queries(folder, shards)
    if source.settle is not None:
        queries = source.settle(queries, folder)
    table, qrels = [], []
    for number, query in enumerate(queries):
        row = asdict(query)
        qrels += [
            {"query": number, "page": page, "relevance": grade}
            for page, grade in row.pop("relevance").items()
        ]
        table.append({"query": number, **row})
    for name, rows, schema in ((QUERIES, table, QUERY_SCHEMA), (QRELS, qrels, QREL_SCHEMA)):
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / name, compression="zstd")
    pages = [folder / f"pages-{number:05d}.arrow" for number in range(shards)]
    counts = {
        "pages": sum(batch.num_rows for batch in batches(folder, ["key"])),
        "queries": len(table),
        "qrels": len(qrels),
    }
    provenance = {
        "source": source.name,
        **source.provenance,
        "counts": counts,
        "shards": {path.name: file_digest(path) for path in pages},
    }
    scratch = folder / f"{PROVENANCE}.tmp"
    scratch.write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
    scratch.replace(folder / PROVENANCE)


def _read_queries(folder: Path, shards: int) -> list[SourceQuery]:
    queries = []
    for number in range(shards):
        with pa.memory_map(str(folder / f"queries-{number:05d}.arrow")) as mapped:
            for row in pa.ipc.open_stream(mapped).read_all().to_pylist():
                queries.append(SourceQuery(**{**row, "relevance": dict(row["relevance"])}))
    return queries
