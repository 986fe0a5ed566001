"""Files that people upload: checked and stored under the hash of their content, never their name.

What is stored is bounded: the bytes of a file, its pages, and the bytes of all files together.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from pagefinder.errors import InputError
from pagefinder.indexing.files import IMAGES, PDF, Chunk, is_pdf
from pagefinder.runtime import outputs

FOLDER = outputs.WORK / "uploads"
NAMES = "names.json"  # what each stored file was called
SUFFIXES = (PDF, *IMAGES)
FILE_MB, ALL_MB = 50, 2000
MAX_PAGES = 2000
HEADER = 1024  # bytes in which a PDF says that it is one


class UnfitError(InputError):
    """A file may not be indexed, by whatever model."""


def shown_name(name: str) -> str:
    """The name of an uploaded file as it may be shown: its last part, on one line, not long."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    line = "".join(c for c in last if c.isprintable()).strip()
    return line if len(line) <= 80 else f"{line[:60]}…{line[-19:]}"


def store(name: str, data: bytes, folder: Path, root: Path) -> str:
    """Store a file under the hash of its content; its path in the folder.

    Args:
        name: What the user calls it: decides its kind, and is shown. It is never a path.
        data: Its content.
        folder: Of uploads.
        root: The project's folder.

    Raises:
        InputError: it is no PDF and no image, is too large, or there is no room for it.
    """
    shown = shown_name(name)
    suffix = PurePosixPath(shown).suffix.lower()
    if suffix not in SUFFIXES:
        kinds = ", ".join(one[1:].upper() for one in SUFFIXES)
        raise InputError(f"{shown} is no PDF and no image: add a file of a kind among {kinds}")
    if not data:
        raise InputError(f"{shown} is empty: choose another file")
    if len(data) > FILE_MB * 2**20:
        raise InputError(f"{shown} is larger than {FILE_MB} MB: split it, or index it as a folder")
    if suffix == PDF and b"%PDF-" not in data[:HEADER]:
        raise InputError(f"{shown} is no PDF, though its name ends in {suffix}: export it anew")
    path = f"{hashlib.sha256(data).hexdigest()[:20]}{suffix}"
    if not (folder / path).is_file():
        if stored_bytes(folder) + len(data) > ALL_MB * 2**20:
            raise InputError(f"no room for {shown}: uploads hold {ALL_MB} MB, so remove {folder}")
        with outputs.output(folder / path, root) as scratch:
            scratch.write_bytes(data)
    _write_names(read_names(folder) | {path: shown}, folder, root)
    return path


def stored_bytes(folder: Path) -> int:
    """The bytes of all files that are stored."""
    return sum(path.stat().st_size for path in folder.glob("*") if path.is_file())


def check_chunks(chunks: Sequence[Chunk]) -> int:
    """The number of pages of a stored file, from the chunks that it is read in.

    Raises:
        UnfitError: it is broken, or has too many pages.
    """
    if chunks[0].problem:
        if "password" in chunks[0].problem.lower():
            raise UnfitError("it asks for a password: save a copy without one, and add that")
        kind = "PDF" if is_pdf(chunks[0].file.path) else "image"
        raise UnfitError(f"it is broken, or no {kind} ({chunks[0].problem})")
    if chunks[0].total > MAX_PAGES:
        raise UnfitError(f"it has {chunks[0].total} pages, more than {MAX_PAGES}: split it")
    return chunks[0].total


def discard(path: str, folder: Path, root: Path) -> None:
    """Remove a stored file."""
    (folder / path).unlink(missing_ok=True)
    _write_names(
        {key: name for key, name in read_names(folder).items() if key != path}, folder, root
    )


def read_names(folder: Path) -> dict[str, str]:
    """What each stored file was called, by its path; {} where nothing is stored."""
    try:
        names: dict[str, str] = json.loads((folder / NAMES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return names


def _write_names(names: dict[str, str], folder: Path, root: Path) -> None:
    with outputs.output(folder / NAMES, root) as scratch:
        scratch.write_text(json.dumps(names, ensure_ascii=False, indent=1), encoding="utf-8")
