"""The table of an index on the disk or in object storage: open, compare, commit, remove, compact.

Every change is one commit of the table, a whole version: it is there or not, whatever ends the
process, and who reads the index keeps the version that he opened.
"""

import contextlib
import errno
import hashlib
import logging
import re
import shlex
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from pagefinder.errors import InputError
from pagefinder.indexing import schema
from pagefinder.indexing.files import printable
from pagefinder.runtime import locks, outputs

if TYPE_CHECKING:
    from lancedb.table import Table

log = logging.getLogger(__name__)

FILTERS = 200  # files that one commit removes, or moves
WORDS = "words"  # folder of the words of an index, beside its table
# What the engine says of the system's errors. Where a file is missing the index is damaged; where
# it may not be opened, or too many are open, it is not.
_SYSTEM_ERROR = re.compile(r"os error (\d+)")
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL)
# What it says of object storage that cannot be asked, or refuses; of what is not there any more it
# says `Not found`.
_REFUSED = re.compile(
    r"RetryError|Error performing|[Cc]redential|No object store provider|object store prefix"
    r"|PermissionDenied|Unauthenticated"
)
_REASONS = (
    re.compile(r"<Code>(?P<code>\w+)</Code>\s*<Message>(?P<words>.*?)</Message>"),
    re.compile(r"(?P<words>No object store provider found for scheme: '\w+')"),
    re.compile(r"(?P<words>Failed to get \w+ credentials)"),
    re.compile(r"object store prefix: (?P<words>.*)"),
    re.compile(r'(?:message|error): \\*"(?P<words>[^"\\]+)'),
    re.compile(r"inner: (?P<words>.{,200})"),
)


class OtherModelError(InputError):
    """The index holds vectors of another model, or is of another format."""


class DamagedError(InputError):
    """A part of the index is missing or broken."""


class UnwritableError(InputError):
    """The index may be read, and not written."""


def mend(place: str) -> str:
    """What to do about an index that is another model's, or damaged, in the words of an error."""
    command = f"python -m pagefinder.index FOLDER --index {shlex.quote(place)} --rebuild"
    return f"to build it anew, run `{command}` with your other options"


def default_place(folder: Path, root: Path) -> str:
    """Where the index of a folder is unless the user names a place: in .work/index.

    Nothing is written beside the user's files.
    """
    digest = hashlib.sha256(str(folder.resolve()).encode(errors="surrogateescape")).hexdigest()
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", folder.resolve().name)[:40]
    return str(root / outputs.WORK / "index" / f"{name}-{digest[:10]}")


def is_address(place: str) -> bool:
    """Whether a place is an address of object storage, such as s3://bucket/index."""
    return "://" in place


def open_table(place: str) -> "Table | None":
    """The table of an index at its newest version; None where there is no index.

    Raises:
        DamagedError: it is there and does not open.
    """
    import lancedb  # takes a second that a wrong argument need not wait for

    if not is_address(place) and not (Path(place) / f"{schema.TABLE}.lance").is_dir():
        return None
    with damage(place):
        database = lancedb.connect(place)
        if schema.TABLE not in database.list_tables().tables:
            return None
        return database.open_table(schema.TABLE)


def create_table(place: str, wanted: pa.Schema) -> "Table":
    """An empty table in the place of any that is there; who reads that one keeps its version."""
    import lancedb

    if not is_address(place):
        Path(place).mkdir(parents=True, exist_ok=True)
        # They are those of a version, and versions may begin anew.
        outputs.remove(Path(place) / WORDS)
    with damage(place):
        database = lancedb.connect(place)
        mode = "overwrite" if schema.TABLE in database.list_tables().tables else "create"
        try:
            return database.create_table(schema.TABLE, schema=wanted, mode=mode)
        except (OSError, RuntimeError, ValueError) as error:
            if is_address(place) or outputs.is_disk_full(error):
                raise
            # Of a damaged table not even the next version can be written.
            outputs.remove(Path(place) / f"{schema.TABLE}.lance")
            return database.create_table(schema.TABLE, schema=wanted)


def check(table: "Table", wanted: pa.Schema, place: str) -> None:
    """Raise OtherModelError unless the rows of a table have a schema: one model's, one format's."""
    found, expected = table.schema.metadata or {}, wanted.metadata
    model, new = (content.get(schema.MODEL_KEY, b"?").decode() for content in (found, expected))
    if model != new:
        raise OtherModelError(f"the index {place} holds vectors of the model {model}, not of {new}")
    if found != expected or not table.schema.equals(wanted):
        written = found.get(schema.FORMAT_KEY, b"?").decode()
        raise OtherModelError(
            f"the index {place} is of another format, {written} and not {schema.FORMAT}"
        )


@contextlib.contextmanager
def damage(place: str) -> Iterator[None]:
    """Turn what the engine says of missing and broken files, or of a full disk, into one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # the engine raises RuntimeError, OSError, ValueError and others
        if outputs.is_disk_full(error):
            raise InputError(_full(place)) from error
        if isinstance(error, (OSError, RuntimeError, ValueError)):
            words = _refusal(error, place) or " ".join(str(error).split())[:200]
            if _is_access(error, place):
                raise InputError(
                    f"the index {place} cannot be read or written now: {words}: mend that, then "
                    "run again"
                ) from error
            raise DamagedError(f"the index {place} is damaged: {words}") from error
        raise


def _full(place: str) -> str:
    return (
        f"the disk of {place} is full: free some space, then run again; the pages that are in the "
        "index stay there"
    )


def _refusal(error: Exception, place: str) -> str:
    """Why object storage cannot be used, in a line; "" where an error does not say that.

    Of an index on a disk it never does, though its path may hold such words.
    """
    words = " ".join(str(error).split())
    if not is_address(place) or not _REFUSED.search(words):
        return ""
    if "BadScheme" in words:
        return "its endpoint begins with http: set AWS_ALLOW_HTTP=true"
    reason = next(filter(None, (pattern.search(words) for pattern in _REASONS)), None)
    return ": ".join(reason.groups()) if reason else words[:200]


def _is_access(error: Exception, place: str) -> bool:
    """Whether an error says that files could not be opened or that another writer was quicker."""
    if _refusal(error, place):
        return True
    number = getattr(error, "errno", None)
    match = _SYSTEM_ERROR.search(str(error))
    if number is None and match:
        number = int(match[1])
    if number is not None:
        return number not in _MISSING
    return "conflict" in str(error).lower()


def quoted(value: str) -> str:
    """A text as the engine's filters take it."""
    return "'" + value.replace("'", "''") + "'"


def of_file(path: str, file_hash: str | None = None) -> str:
    """The filter for the rows of a file; with a hash, of it as it was then."""
    rows = f"path = {quoted(path)}"
    return rows if file_hash is None else f"{rows} AND file_hash = {quoted(file_hash)}"


def commit(table: "Table", pending: list[pa.Table], place: str) -> None:
    """Add all pending rows to a table in one version of it; none are pending then."""
    if pending:
        with damage(place), interrupted_after():
            table.add(pa.concat_tables(pending))
            pending.clear()


def remove(table: "Table", filters: Sequence[str], place: str) -> int:
    """Remove the rows that any of the filters holds; their number."""
    removed = 0
    for start in range(0, len(filters), FILTERS):
        condition = " OR ".join(f"({part})" for part in filters[start : start + FILTERS])
        with damage(place), interrupted_after():
            removed += table.delete(condition).num_deleted_rows
    return removed


@contextlib.contextmanager
def interrupted_after() -> Iterator[None]:
    """Hold Ctrl-C back until the block is done: a commit is known to be there, or not."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    received: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if received:
        raise KeyboardInterrupt


@contextlib.contextmanager
def writing(place: str, root: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of an index, so that one process or thread at a time writes to it.

    It goes with its process, even a killed one. Of an index in object storage only the writers on
    this machine see each other: the engine refuses one of two commits at a time.

    Args:
        place: Of the index.
        root: The project's folder.
        wait: For another writer, with a line that names its process.

    Yields:
        Whether the lock is held: False where another writer has it and `wait` is false.

    Raises:
        UnwritableError: this user may not write there.
    """
    name = hashlib.sha256(place.encode()).hexdigest()[:10]
    file = (
        root / outputs.WORK / "locks" / f"index-{name}"
        if is_address(place)
        else Path(place) / "lock"
    )
    with contextlib.ExitStack() as stack:
        try:
            lock = locks.held(file, f"the index {place}", wait=wait)
            held = stack.enter_context(lock)
        except OSError as error:
            if outputs.is_disk_full(error):
                raise InputError(_full(place)) from error
            raise UnwritableError(
                f"the index {place} cannot be written: {error.strerror}: let this user write "
                "there, or name another one with --index"
            ) from error
        yield held


def log_problems(place: str) -> None:
    """Log which pages of an index could not be read, and why: the first ten, and how many."""
    table = open_table(place)
    if table is None:
        return
    with damage(place):
        condition = "problem IS NOT NULL"
        count = table.count_rows(condition)
        columns = ["page_id", "document", "page_number", "path", "rows", "problem"]
        shown = table.search().where(condition).select(columns).limit(10).to_list()
    for page in shown:
        log.warning("%s is passed over: %s", printable(schema.label(page)), page["problem"])
    if count > len(shown):
        log.warning("and %d more pages could not be read", count - len(shown))
