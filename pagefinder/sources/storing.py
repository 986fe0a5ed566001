"""data/source: pages and queries of any source, stored as found, in shards that survive a kill.

A source has a few named parts. Each is a function that yields rows from a row number on. A row is a
list of pages and queries that belong together. `writing` stores them.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

PROVENANCE, QUERIES, QRELS, PDF = "provenance.json", "queries.parquet", "qrels.parquet", "pdf"
# Pages that one worker of `prepare` takes at a time.
BATCH_PAGES = 128
# A long document may be cut at its sections: at about so many, none of fewer pages than these. What
# is shorter would be left out whole, or nearly, between two cuts.
SECTIONS, SECTION_PAGES = 10, 5

PAGE_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),  # what queries refer to
        # File and row, for the person who mends it.
        pa.field("origin", pa.string(), nullable=False),
        pa.field("image", pa.binary()),  # encoded as found; null for a page of a PDF
        pa.field("pdf", pa.string()),  # file under pdf/ that holds page `page_number`
        pa.field("document_id", pa.string()),
        pa.field("page_number", pa.int32()),
        pa.field("section", pa.string()),  # part of the document that holds it, if the source knows
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


@dataclass(frozen=True)
class SourcePage:
    """A page as the source gives it; `problem` says why it is unusable (None: usable)."""

    key: str
    origin: str
    image: bytes | None = None
    pdf: str | None = None
    document_id: str | None = None
    page_number: int | None = None
    section: str | None = None
    split: str | None = None
    kind: str | None = None
    text: str | None = None
    problem: str | None = None


@dataclass(frozen=True)
class Phrase:
    """What a document calls a part of itself, from which a question may be made.

    Attributes:
        subject: What the question asks about; empty where no question is asked: the name
            of the part then only counts against equal names.
        wording: What stands on the page and names the part.
        origin: bookmark, heading, figure, table, run_in, paraphrase, title_reworded, or a kind of
            statement (pdf_queries/statements.py), with `_reworded` behind it where reworded.
        pages: Indexes of the pages that answer the question, in the document.
        document: Title of the document.
        parent: Title of the part around it, or empty.
        parent_pages: Indexes of the first and last page of the part around it.
        beginning: The question asks where the part begins, as it is long or has parts of its own.
    """

    subject: str
    wording: str
    origin: str
    pages: tuple[int, ...]
    document: str
    parent: str
    parent_pages: tuple[int, int]
    beginning: bool = False


@dataclass(frozen=True)
class SourceQuery:
    """A query with the relevance of pages by key; 0 is a negative that the source gives.

    `phrase` is what `Source.choose_queries` makes the text from; only the shards hold it.
    """

    text: str
    origin: str
    where: str
    relevance: Mapping[str, int]
    split: str | None = None
    problem: str | None = None
    phrase: Phrase | None = None


Row = Sequence[SourcePage | SourceQuery]


@dataclass(frozen=True)
class Source:
    """Pages and queries of a source, for `writing.write` to store.

    Attributes:
        name: The value of `data.source`.
        parts: Part -> function that yields its rows from a row number on.
        provenance: Settings, resolved revision and hashes of the user's files.
        files: Files copied unchanged to data/source/pdf, by name.
        folder: The user's folder, if the source reads one: an interrupted download starts again
            when a file in it has changed.
        choose_queries: Makes the final queries from the queries of all rows and the folder of
            shards. None: the queries of the rows are final.
    """

    name: str
    parts: Mapping[str, Callable[[int], Iterable[Row]]]
    provenance: Mapping[str, object]
    files: Mapping[str, Path] = field(default_factory=dict)
    folder: Path | None = None
    choose_queries: Callable[[list[SourceQuery], Path], list[SourceQuery]] | None = None


def batches(folder: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Record batches of at most BATCH_PAGES pages in source order, memory-mapped.

    `columns`: None for all of PAGE_SCHEMA.
    """
    for path in sorted(folder.glob("pages-*.arrow")):
        with pa.memory_map(str(path)) as mapped:
            for batch in pa.ipc.open_stream(mapped):
                yield batch.select(columns) if columns else batch


def units(folder: Path) -> list[tuple[Path, int]]:
    """Shard, and number in it, of each record batch of data/source, in source order."""
    places = []
    for path in sorted(folder.glob("pages-*.arrow")):
        with pa.memory_map(str(path)) as mapped:
            places += [(path, number) for number, _ in enumerate(pa.ipc.open_stream(mapped))]
    return places


def read_unit(path: Path, number: int) -> pa.RecordBatch:
    """Record batch `number` of the shard at `path`."""
    with pa.memory_map(str(path)) as mapped:
        for index, batch in enumerate(pa.ipc.open_stream(mapped)):
            if index == number:
                return batch
    raise IndexError(f"{path} has no batch {number}")


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
