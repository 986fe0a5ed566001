"""The files of a folder that have pages, and the chunks in which their pages are read."""

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pypdfium2

from pagefinder.data.corpus import PAGES
from pagefinder.errors import InputError
from pagefinder.sources import images, storing
from pagefinder.sources.pdf import PASSWORD_ERROR
from pagefinder.sources.pictures import SUFFIXES, TIFF, page_count
from pagefinder.sources.rendering import present_pages

log = logging.getLogger(__name__)

PDF = ".pdf"
IMAGES = (*SUFFIXES, ".bmp", ".gif")
# Pages of one file that are read and encoded together. Vectors never depend on another file, nor on
# what was there before: the bits of a vector depend on the batch that it is computed in.
CHUNK_PAGES = 16
CHANGED = "the file changed while it was read"


@dataclass(frozen=True, slots=True)
class File:
    """A file of a folder: its path relative to it, bytes, and time of change in ns."""

    path: str
    size: int
    modified: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Pages of one file that are read and encoded together: the same in every engine.

    Attributes:
        folder: Where the file is.
        file: As it was before it was hashed.
        file_hash: SHA-256 of its content, hex; "" where it cannot be read.
        rows: Places of the pages in the file, from 0.
        total: Rows that the whole file has in the index.
        problem: Why the file has no page; it is then one row.
    """

    folder: Path
    file: File
    file_hash: str
    rows: tuple[int, ...]
    total: int
    problem: str = ""


@dataclass(frozen=True)
class Listing:
    """The files of a folder at a moment.

    Attributes:
        files: The PDFs and images, or the table of a corpus, sorted by path.
        unlisted: Paths of folders and files that could not be looked at: what was there may still
            be.
    """

    files: list[File]
    unlisted: tuple[str, ...] = ()

    def may_hold(self, path: str) -> bool:
        """Whether a file that is not listed may still be there."""
        return any(path == one or path.startswith(f"{one}/") for one in self.unlisted)


def list_files(folder: Path, *, silent: bool = False) -> Listing:
    """The PDFs and images below a folder, or the table of a corpus.

    A line in the log names what looks like one of them and may not be opened: a pipe, a link that
    leaves the folder, a name that is no Unicode, a folder that may not be listed.

    Args:
        folder: Of the files.
        silent: Log nothing.

    Raises:
        InputError: there is no such folder, or no such file in it.
    """
    if not folder.is_dir():
        raise InputError(f"{str(folder)!r} is no folder: name one with images or PDFs")
    if (folder / PAGES).is_file():
        return Listing([_file(folder, folder / PAGES)])
    base = folder.resolve()
    errors: list[OSError] = []
    found, problems = [], []
    for path in sorted(_paths(folder, errors)):
        problem = _problem(path, base)
        if problem:
            problems.append((path, problem))
        elif problem is not None:
            try:
                found.append(_file(folder, path))
            except OSError as error:
                errors.append(error)
    unlisted = [(Path(error.filename), error.strerror or str(error)) for error in errors]
    problems += [(path, f"{reason}; what the index has of it stays") for path, reason in unlisted]
    for path, problem in () if silent else problems:
        log.warning("%s is passed over: %s", printable(str(path)), problem)
    if not found:
        raise InputError(f"{str(folder)!r} holds no image and no PDF: name another folder")
    return Listing(found, tuple(path.relative_to(folder).as_posix() for path, _ in unlisted))


def _paths(folder: Path, errors: list[OSError]) -> Iterator[Path]:
    """All files and folders below a folder; links are not followed.

    Args:
        folder: That is walked.
        errors: Gets an error for each folder that cannot be listed.
    """
    for parent, folders, names in os.walk(folder, onerror=errors.append):
        yield from (Path(parent, name) for name in (*folders, *names))


def _file(folder: Path, path: Path) -> File:
    state = path.stat()
    return File(path.relative_to(folder).as_posix(), state.st_size, state.st_mtime_ns)


def _problem(path: Path, base: Path) -> str | None:
    """Why a path may not be opened; "" if it may, None if nobody expects pages there."""
    named = path.suffix.lower() in (*IMAGES, PDF)
    if path.is_symlink():
        if not named and not path.is_dir():
            return None
        try:
            inside = path.resolve().is_relative_to(base)
        except (OSError, RuntimeError):  # a link to itself
            return "a link to nothing"
        if not inside or path.is_dir():
            return "a link that leaves the folder" if not inside else "a link to a folder"
    if not named:
        return None
    if not path.is_file():
        return "no file, but a folder, pipe or link to nothing"
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        return "its name is no Unicode: rename it"
    return ""


def printable(path: str) -> str:
    """A path on one line of a log, with marks for what is no character or moves the cursor."""
    text = path.encode(errors="backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def file_chunks(folder: Path, file: File) -> list[Chunk]:
    """Hash a file and count its pages: the chunks that it is read in.

    A file that cannot be read is one chunk with a problem.
    """
    path = folder / file.path
    try:
        file_hash = storing.file_digest(path)
    except FileNotFoundError:
        return [Chunk(folder, file, "", (0,), 1, CHANGED)]
    except OSError as error:
        return [Chunk(folder, file, "", (0,), 1, f"unreadable file: {error.strerror}")]
    rows, problem = _rows(folder, file)
    if not rows:
        return [Chunk(folder, file, file_hash, (0,), 1, problem)]
    return [
        Chunk(folder, file, file_hash, tuple(rows[start : start + CHUNK_PAGES]), len(rows))
        for start in range(0, len(rows), CHUNK_PAGES)
    ]


def crashed_file(folder: Path, file: File) -> list[Chunk]:
    """The chunk of a file that crashed the process that counted its pages."""
    try:
        file_hash = storing.file_digest(folder / file.path)
    except OSError:
        file_hash = ""
    return [Chunk(folder, file, file_hash, (0,), 1, "unreadable PDF: the reader crashed")]


def _rows(folder: Path, file: File) -> tuple[list[int], str]:
    """The places of the pages in a file, or why there is none."""
    path = folder / file.path
    if file.path == PAGES:
        try:
            with pa.memory_map(str(path)) as source:
                count = pa.ipc.open_stream(source).read_all().num_rows
        except (pa.ArrowInvalid, OSError) as error:
            return [], f"no table of a corpus: {error}"
        return list(range(count)), "an empty corpus"
    if not is_pdf(file.path):
        if file.size > images.MAX_BYTES:
            return [], f"file too large: over {images.MAX_BYTES} bytes"
        return list(range(page_count(folder, file.path))), ""
    with contextlib.suppress(pypdfium2.PdfiumError):
        # A file without a page sets no error: the last one, such as a password's, would count.
        pypdfium2.PdfDocument(b"none").close()
    try:
        with pypdfium2.PdfDocument(path) as pdf:
            present, claimed = sorted(present_pages(pdf)), len(pdf)
    except (pypdfium2.PdfiumError, OSError, UnicodeEncodeError) as error:
        if getattr(error, "err_code", None) == PASSWORD_ERROR:
            return [], "encrypted PDF: it needs a password"
        return [], f"unreadable PDF: {error}"
    missing = f"{claimed - len(present)} of {claimed} pages are missing"
    if len(present) < claimed:
        log.warning("%s: %s", path, missing)
    return present, f"unreadable PDF: {missing}" if claimed else "empty PDF: no pages"


def page_id(chunk: Chunk, row: int) -> str:
    """The name of a page, as the corpus names it: of its file's content and its place in it."""
    suffix = PDF if is_pdf(chunk.file.path) else ".tiff"
    return hashlib.sha256(f"{chunk.file_hash[:20]}{suffix}/{row}".encode()).hexdigest()[:20]


def kind(path: str) -> str:
    """How a file is read, by its name: one content under names of two kinds has other pages."""
    suffix = "." + path.lower().rpartition(".")[2]  # a Path interns each name, which takes memory
    return suffix if suffix == PDF else "tiff" if suffix in TIFF else "image"


def is_pdf(path: str) -> bool:
    """Whether a file's name is that of a PDF."""
    return path.lower().endswith(PDF)
