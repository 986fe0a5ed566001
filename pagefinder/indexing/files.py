"""The files of a folder that have pages, and the chunks in which their pages are read."""

import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pypdfium2

from pagefinder.data.corpus import PAGES
from pagefinder.errors import InputError
from pagefinder.sources import images, storing
from pagefinder.sources.pictures import SUFFIXES, page_count
from pagefinder.sources.rendering import present_pages

log = logging.getLogger(__name__)

PDF = ".pdf"
IMAGES = (*SUFFIXES, ".bmp", ".gif")
# Pages of one file that are read and encoded together. Vectors never depend on another file, nor on
# what was there before: the bits of a vector depend on the batch that it is computed in.
CHUNK_PAGES = 16


@dataclass(frozen=True)
class File:
    """A file of a folder: its path relative to it, bytes, and time of change in ns."""

    path: str
    size: int
    modified: int


@dataclass(frozen=True)
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


def list_files(folder: Path) -> list[File]:
    """The PDFs and images below a folder, or the table of a corpus, sorted by path.

    A line in the log names what looks like one of them and may not be opened: a pipe, a link that
    leaves the folder, a name that is no Unicode.

    Raises:
        InputError: there is no such folder, or no such file in it.
    """
    if not folder.is_dir():
        raise InputError(f"{str(folder)!r} is no folder: name one with images or PDFs")
    if (folder / PAGES).is_file():
        return [_file(folder, folder / PAGES)]
    base = folder.resolve()
    found = []
    for path in sorted(folder.rglob("*")):
        problem = _problem(path, base)
        if problem is None:
            continue
        try:
            if problem:
                raise InputError(problem)
            found.append(_file(folder, path))
        except (OSError, InputError) as error:
            log.warning("%s is passed over: %s", _printable(path), error)
    if not found:
        raise InputError(f"{str(folder)!r} holds no image and no PDF: name another folder")
    return found


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


def _printable(path: Path) -> str:
    """A path as it may stand in a log, with marks for what is no character."""
    return str(path).encode(errors="backslashreplace").decode()


def file_chunks(folder: Path, file: File) -> list[Chunk]:
    """Hash a file and count its pages: the chunks that it is read in.

    A file that cannot be read is one chunk with a problem.
    """
    path = folder / file.path
    try:
        file_hash = storing.file_digest(path)
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
        with pa.memory_map(str(path)) as source:
            return list(range(pa.ipc.open_stream(source).read_all().num_rows)), "an empty corpus"
    if not is_pdf(file.path):
        if file.size > images.MAX_BYTES:
            return [], f"file too large: over {images.MAX_BYTES} bytes"
        return list(range(page_count(folder, file.path))), ""
    try:
        with pypdfium2.PdfDocument(path) as pdf:
            present, claimed = sorted(present_pages(pdf)), len(pdf)
    except (pypdfium2.PdfiumError, OSError) as error:
        return [], f"unreadable PDF: {error}"
    missing = f"{claimed - len(present)} of {claimed} pages are missing"
    if len(present) < claimed:
        log.warning("%s: %s", path, missing)
    return present, f"unreadable PDF: {missing}" if claimed else "empty PDF: no pages"


def page_id(chunk: Chunk, row: int) -> str:
    """The name of a page, as the corpus names it: of its file's content and its place in it."""
    suffix = PDF if is_pdf(chunk.file.path) else ".tiff"
    return hashlib.sha256(f"{chunk.file_hash[:20]}{suffix}/{row}".encode()).hexdigest()[:20]


def is_pdf(path: str) -> bool:
    """Whether a file's name is that of a PDF."""
    return path.lower().endswith(PDF)
