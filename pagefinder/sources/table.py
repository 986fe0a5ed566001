"""A table of your own: JSONL, CSV or Parquet rows of a query, its page and any negatives."""

import itertools
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pagefinder.errors import InputError
from pagefinder.params import Params, Table
from pagefinder.sources import cells, csv_rows, images, storing
from pagefinder.sources.images import Access, BadCellError
from pagefinder.sources.storing import Row, Source, SourceQuery

log = logging.getLogger(__name__)

KINDS = (".jsonl", ".csv", ".parquet")
ROWS_SCHEMA = pa.schema(
    [
        pa.field("query", pa.string()),
        pa.field("image", pa.list_(pa.binary())),
        pa.field("negative", pa.list_(pa.binary())),
        pa.field("split", pa.string()),
        pa.field("document_id", pa.string()),
        pa.field("page_number", pa.int32()),
        pa.field("text", pa.string()),
    ]
)

# Bytes and rows that `save_rows` holds before it writes them as one row group.
GROUP_BYTES, GROUP_ROWS = 64 * 2**20, 1000
# Bytes of a column that are read at a time.
PIECE = 2**16

# How files begin that are not text, what they are called, and what to do about it.
NOT_TEXT = {
    b"\x1f\x8b": ("compressed by gzip", "unpack it"),
    b"PK\x03\x04": ("a ZIP or Excel file", "export it as UTF-8 CSV"),
    b"\xff\xfe": ("UTF-16 text", "save it as UTF-8"),
    b"\xfe\xff": ("UTF-16 text", "save it as UTF-8"),
    b"PAR1": ("a Parquet file", "name it .parquet"),
}

# A row, or the reason why there is none, with its number in the file.
Numbered = tuple[int, Mapping[str, Any] | str]


def open_source(params: Params, root: Path) -> Source:
    """The table in the folder `input`, and its images, which lie at any depth.

    `input` is a folder, not a file, so that the pipeline depends on the images too.

    Raises:
        InputError: no folder, no table, several, or one without the columns named in params.
    """
    settings, folder = params.data.table, root / params.input
    if folder.is_file():
        raise InputError(
            f"input {str(folder)!r} is a file: name its folder as input, and"
            f" {folder.name!r} in data.table.file"
        )
    files = {"train": _named(folder, "file", settings.file) or _only(folder, settings.eval)}
    if eval_file := _named(folder, "eval", settings.eval):
        files["eval"] = eval_file
    for path in files.values():
        _check_columns(path, settings)
    # The rows of a single file say their split themselves, or it is drawn.
    return Source(
        "table",
        {name: _rows(path, name if eval_file else None, settings) for name, path in files.items()},
        {
            "settings": settings.model_dump(),
            "files": {path.name: storing.file_digest(path) for path in files.values()},
        },
        folder=folder,
    )


def save_rows(rows: Iterable[Mapping[str, Any]], path: Path) -> Path:
    """Write rows that a program holds as a Parquet table that source `table` reads.

    Args:
        rows: Each has `query`, `image` and, if you like, `negative`: an image or a list of images,
            as PIL images, encoded bytes or paths. The other columns of ROWS_SCHEMA may be there.
        path: The .parquet file to write.

    Raises:
        InputError: a row has another key, no query, or an image that cannot be read.
    """
    scratch = path.with_suffix(".tmp")
    with pq.ParquetWriter(scratch, ROWS_SCHEMA) as writer:
        group, size = list[pa.RecordBatch](), 0
        for number, row in enumerate(rows):
            group.append(_checked(number, row))
            size += group[-1].nbytes
            if len(group) == GROUP_ROWS or size >= GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(group))
                group, size = [], 0
        if group:
            writer.write_table(pa.Table.from_batches(group))
    return scratch.replace(path)


def _checked(number: int, row: Mapping[str, Any]) -> pa.RecordBatch:
    """Row `number` of `save_rows` with its images as encoded bytes; InputError if it is wrong."""
    unknown = set(row) - set(ROWS_SCHEMA.names)
    if unknown:
        raise InputError(
            f"row {number} has {sorted(unknown)[0]!r}, which is none of {ROWS_SCHEMA.names}"
        )
    if not row.get("query"):
        raise InputError(f"row {number} has no query")
    try:
        images = {key: _encoded(row.get(key)) for key in ("image", "negative")}
        return pa.RecordBatch.from_pylist([{**row, **images}], schema=ROWS_SCHEMA)
    except (BadCellError, pa.ArrowException) as error:
        raise InputError(f"row {number}: {error}") from error


def _encoded(value: object) -> list[bytes]:
    """The encoded bytes of an image, or of each image in a list."""
    values = value if isinstance(value, list | tuple) else [value]
    values = [str(Path(v).resolve()) if isinstance(v, str | Path) else v for v in values]
    return [images.read(v, Access(Path("/"))) for v in values if v is not None]


def _named(folder: Path, param: str, name: str) -> Path | None:
    """The table `name`, the value of `data.table.PARAM`, in the folder; None if it is empty.

    Raises:
        InputError: the file is missing or of another type.
    """
    path = folder / name
    if name and not (path.suffix in KINDS and path.is_file()):
        raise InputError(
            f"data.table.{param} is {name!r}, but {path} is missing or no {', '.join(KINDS)} file"
        )
    return path if name else None


def _only(folder: Path, eval_name: str) -> Path:
    """The only table of a folder besides `eval_name`; InputError if there are several or none."""
    paths = [path for path in sorted(folder.glob("*")) if path.suffix in KINDS]
    others = ", ".join(path.name for path in paths if not path.is_file())
    if others:
        log.warning("passed over, as no file but a folder, pipe or link to nothing: %s", others)
    tables = [path for path in paths if path.is_file() and path.name != eval_name]
    if len(tables) > 1:
        names = ", ".join(path.name for path in tables)
        raise InputError(
            f"input {str(folder)!r} holds several tables ({names}): name one in data.table.file,"
            " and the eval table in data.table.eval"
        )
    if not tables:
        raise InputError(
            f"input {str(folder)!r} holds no table: put a {', '.join(KINDS)} file there, or name"
            f" another input{f' ({others}: no file)' if others else ''}"
        )
    return tables[0]


def _check_columns(path: Path, settings: Table) -> None:
    """Check that the header, or the first whole row, has the columns that params name."""
    if path.suffix == ".parquet":
        try:
            columns = pq.read_schema(path).names
        except (pa.ArrowException, OSError) as error:
            text = " ".join(str(error).split())[:200]
            raise InputError(f"{path} is not a Parquet file: {text}") from error
    elif path.suffix == ".csv":
        _check_text(path)
        columns = csv_rows.header(path)
    else:
        _check_text(path)
        columns, broken = [], ""
        for number, row in _read_jsonl(path):
            if isinstance(row, Mapping):
                columns = list(row)
                break
            broken = broken or f"{path} has no whole row, the first is line {number}: {row}"
        if broken and not columns:
            raise InputError(broken)
    cells.check_columns(columns, settings, "data.table", str(path))


def _check_text(path: Path) -> None:
    """Raise InputError if the file begins like one of another kind than text."""
    with path.open("rb") as file:
        start = file.read(1000)
    for magic, (kind, mend) in NOT_TEXT.items():
        if start.startswith(magic):
            raise InputError(f"{path} is {kind}: {mend}")
    if b"\0" in start:
        raise InputError(f"{path} holds zero bytes, so it is no UTF-8 text: save it as UTF-8")


def _rows(path: Path, split: str | None, settings: Table) -> Callable[[int], Iterator[Row]]:
    """A function that yields the rows of a table from a row number on.

    `split` is the split of all rows; None: the row's column `split` says it, or it is drawn.
    """
    readers: dict[str, Callable[[], Iterator[Numbered]]] = {
        ".jsonl": lambda: _read_jsonl(path),
        ".csv": lambda: csv_rows.read(path, settings.image),
        ".parquet": lambda: _read_parquet(path, settings),
    }
    access = Access(path.parent, urls=settings.allow_urls, private_urls=settings.allow_private_urls)

    def rows(start: int) -> Iterator[Row]:
        for number, row in itertools.islice(readers[path.suffix](), start, None):
            where = f"{path.name}:{number}"
            if isinstance(row, str):
                yield [SourceQuery("", "given", where, {}, split, problem=row)]
            else:
                yield cells.items(row, where, split, settings, access)

    return rows


def _read_jsonl(path: Path) -> Iterator[Numbered]:
    """Line number, and the row or the reason why it is broken, of each line that is not blank."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line, object_pairs_hook=_object)
            # RecursionError: thousands of nested brackets; ValueError: also a number too long.
            except (ValueError, RecursionError) as error:
                yield number, f"broken row: {' '.join(str(error).split())[:120]}"
                continue
            yield number, row if isinstance(row, dict) else "broken row: not a JSON object"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; ValueError where a key stands twice, as the first value would be lost."""
    row = dict(pairs)
    if len(row) < len(pairs):
        (key, times), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {key[:40]!r} stands {times} times")
    return row


def _read_parquet(path: Path, settings: Table) -> Iterator[Numbered]:
    """Number from 1, and the used cells or the reason why they are broken, of each row."""
    # Without its buffer, which would hold the whole file; a column is read in pieces, as a file may
    # be a single row group.
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=PIECE) as file:
        number = 0
        columns = cells.used_columns(file.schema_arrow.names, settings)
        try:
            for batch in file.iter_batches(batch_size=32, columns=columns):
                for row in _python_rows(batch):
                    number += 1
                    yield number, row
        except (pa.ArrowException, OSError) as error:
            text = " ".join(str(error).split())[:200]
            raise InputError(f"{path} breaks off after row {number}: {text}") from error


def _python_rows(batch: pa.RecordBatch) -> list[dict[str, Any] | str]:
    """The cells of each row; the reason where one has no equal in Python, as a date in year 10,000.

    Text that is not UTF-8 is another such cell.
    """
    try:
        rows: list[dict[str, Any] | str] = batch.to_pylist()
        return rows
    except (ValueError, OverflowError, pa.ArrowException) as error:
        if batch.num_rows == 1:
            return [f"broken row: {' '.join(str(error).split())[:120]}"]
        single = (_python_rows(batch.slice(row, 1)) for row in range(batch.num_rows))
        return list(itertools.chain.from_iterable(single))
