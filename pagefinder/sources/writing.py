"""Write a source into data/source: in shards, with the progress after each.

A killed download goes on after its last complete shard and ends with the same bytes.
"""

import itertools
import json
import logging
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from pagefinder.sources.storing import (
    BATCH_PAGES,
    PAGE_SCHEMA,
    PDF,
    PROVENANCE,
    QREL_SCHEMA,
    QRELS,
    QUERIES,
    QUERY_SCHEMA,
    Phrase,
    Row,
    Source,
    SourcePage,
    SourceQuery,
    batches,
    file_digest,
)

log = logging.getLogger(__name__)

PROGRESS = "progress.json"
# A shard ends after the row that reaches either bound: it is what a kill can lose.
SHARD_BYTES, SHARD_ITEMS = 64 * 2**20, 2000
ROW_GROUP = 10_000  # queries that are written at a time
_PHRASE = pa.struct(
    [
        *((name, pa.string()) for name in ("subject", "wording", "origin", "document", "parent")),
        ("pages", pa.list_(pa.int32())),
        ("parent_pages", pa.list_(pa.int32())),
        ("beginning", pa.bool_()),
    ]
)
_SHARD_QUERY_SCHEMA = pa.schema(
    [
        *(field for field in QUERY_SCHEMA if field.name != "query"),
        pa.field("relevance", pa.map_(pa.string(), pa.int32())),
        pa.field("phrase", _PHRASE),
    ]
)


def write(source: Source, folder: Path) -> None:
    """Store a source in `folder`, going on after the complete shards of an interrupted run."""
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
        log.info("download: goes on after %d complete shards", progress["shards"])
    stored = {
        _identity(key, document, text)
        for batch in batches(folder, ["key", "document_id", "text"])
        for key, document, text in zip(*(column.to_pylist() for column in batch), strict=True)
    }
    for part, rows in source.parts.items():
        if part in progress["complete"]:
            continue
        start = progress["rows"].get(part, 0)
        counted = tqdm(rows(start), desc=part, unit=" rows", initial=start, disable=None)
        for shard in _shards(counted):
            _write_shard(folder, progress["shards"], shard, stored)
            progress["shards"] += 1
            progress["rows"][part] = progress["rows"].get(part, 0) + len(shard)
            _write_progress(folder, progress)
        progress["complete"].append(part)
        _write_progress(folder, progress)
    _finish(source, folder, progress["shards"])


def publish(folder: Path, target: Path) -> None:
    """Move a finished folder to `target`, without the files that only an interrupted run needs."""
    for number in range(len(list(folder.glob("queries-*.arrow")))):
        (folder / f"queries-{number:05d}.arrow").unlink()
    (folder / PROGRESS).unlink()
    shutil.move(folder, target)


def _shards(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """The rows in lists, each of which ends at SHARD_BYTES of images or SHARD_ITEMS items."""
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


def _write_shard(folder: Path, number: int, rows: list[Row], stored: set[tuple[str, bool]]) -> None:
    """Write pages and queries of `rows` as shard `number`, pages already in `stored` left out.

    A page stored without document and text is written again when it comes with them. `stored` gets
    the identities of the pages that are written.
    """
    pages, queries = [], []
    for item in (item for row in rows for item in row):
        if isinstance(item, SourceQuery):
            queries.append({**asdict(item), "relevance": list(item.relevance.items())})
            continue
        identity = _identity(item.key, item.document_id, item.text)
        if identity not in stored and (item.key, True) not in stored:
            stored.add(identity)
            pages.append(asdict(item))
    _write_stream(folder / f"pages-{number:05d}.arrow", pages, PAGE_SCHEMA)
    _write_stream(folder / f"queries-{number:05d}.arrow", queries, _SHARD_QUERY_SCHEMA)


def _identity(key: str, document: str | None, text: str | None) -> tuple[str, bool]:
    """Key of a page, and whether it came with document or text."""
    return key, document is not None or text is not None


def _write_stream(path: Path, rows: list[dict[str, object]], schema: pa.Schema) -> None:
    """Write rows as an Arrow stream; no partial file is ever left at `path`."""
    scratch = path.with_suffix(".tmp")
    with pa.ipc.new_stream(str(scratch), schema) as writer:
        for start in range(0, len(rows), BATCH_PAGES):
            chunk = [_encodable(row) for row in rows[start : start + BATCH_PAGES]]
            writer.write_batch(pa.RecordBatch.from_pylist(chunk, schema=schema))
    scratch.replace(path)


def _encodable(value: Any) -> Any:  # noqa: ANN401  # a row or a cell
    """The value with lone surrogates, which JSON and PDFs may hold, replaced: UTF-8 has none."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {name: _encodable(cell) for name, cell in value.items()}
    return value


def _copy(source: Path, target: Path) -> None:
    """Copy a file unless a whole copy is there: the name holds the content's hash."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_suffix(".tmp")
    shutil.copyfile(source, scratch)
    scratch.replace(target)


def _read_progress(folder: Path) -> dict[str, Any]:
    """Number of complete shards, rows stored of each part, and names of complete parts."""
    try:
        progress: dict[str, Any] = json.loads((folder / PROGRESS).read_text())
        return progress
    except FileNotFoundError:
        return {"shards": 0, "rows": {}, "complete": []}


def _write_progress(folder: Path, progress: dict[str, Any]) -> None:
    """Write what `_read_progress` reads, in one step that a kill cannot halve."""
    scratch = folder / f"{PROGRESS}.tmp"
    scratch.write_text(json.dumps(progress))
    scratch.replace(folder / PROGRESS)


def _finish(source: Source, folder: Path, shards: int) -> None:
    """Write final queries and qrels from the queries of all shards, and provenance.json."""
    queries: Iterable[SourceQuery] = _read_queries(folder, shards)
    if source.choose_queries is not None:
        queries = source.choose_queries(list(queries), folder)
    counts = {"pages": sum(batch.num_rows for batch in batches(folder, ["key"]))}
    counts |= _write_queries(queries, folder)
    pages = [folder / f"pages-{number:05d}.arrow" for number in range(shards)]
    provenance = {
        "source": source.name,
        **source.provenance,
        "counts": counts,
        "shards": {path.name: file_digest(path) for path in pages},
    }
    scratch = folder / f"{PROVENANCE}.tmp"
    scratch.write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
    scratch.replace(folder / PROVENANCE)


def _write_queries(queries: Iterable[SourceQuery], folder: Path) -> dict[str, int]:
    """Write the tables of queries and qrels piece by piece; returns the number of rows of each."""
    numbered = enumerate(queries)
    counts = {"queries": 0, "qrels": 0}
    with (
        pq.ParquetWriter(folder / QUERIES, QUERY_SCHEMA, compression="zstd") as table,
        pq.ParquetWriter(folder / QRELS, QREL_SCHEMA, compression="zstd") as judgements,
    ):
        while piece := list(itertools.islice(numbered, ROW_GROUP)):
            rows = [{"query": number, **vars(query)} for number, query in piece]
            qrels = [
                {"query": number, "page": page, "relevance": grade}
                for number, query in piece
                for page, grade in query.relevance.items()
            ]
            table.write_table(pa.Table.from_pylist(rows, schema=QUERY_SCHEMA))
            judgements.write_table(pa.Table.from_pylist(qrels, schema=QREL_SCHEMA))
            counts = {
                "queries": counts["queries"] + len(rows),
                "qrels": counts["qrels"] + len(qrels),
            }
    return counts


def _read_queries(folder: Path, shards: int) -> Iterator[SourceQuery]:
    """The queries of the first `shards` shards, in source order."""
    for number in range(shards):
        with pa.memory_map(str(folder / f"queries-{number:05d}.arrow")) as mapped:
            for row in pa.ipc.open_stream(mapped).read_all().to_pylist():
                phrase = row["phrase"]
                if phrase is not None:
                    pages = {name: tuple(phrase[name]) for name in ("pages", "parent_pages")}
                    phrase = Phrase(**{**phrase, **pages})
                yield SourceQuery(**{**row, "relevance": dict(row["relevance"]), "phrase": phrase})
