"""Files below an address, such as s3://bucket/scans: listed, and copied to where they are read."""

import atexit
import hashlib
import logging
import os
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path, PurePosixPath

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pagefinder.errors import InputError
from pagefinder.indexing.files import IMAGES, PDF, File, Listing

log = logging.getLogger(__name__)


def is_address(folder: str) -> bool:
    """Whether a folder is given by an address that fsspec opens, and not by its path."""
    return "://" in folder


def list_address(address: str) -> Listing:
    """The PDFs and images below an address.

    A line in the log names a file whose path leaves the address.

    Raises:
        InputError: it cannot be listed, it is a folder of this machine, or there is no such file.
    """
    try:
        system, base = fsspec.core.url_to_fs(address)
        if isinstance(system, LocalFileSystem):  # links out of it would be followed
            raise InputError(f"{address!r} is a folder of this machine: give its path, {base}")
        sizes = {path: entry["size"] for path, entry in system.find(base, detail=True).items()}
    except (ImportError, OSError, ValueError) as error:
        raise InputError(f"{address!r} cannot be listed: {error}") from error
    files = []
    for path, size in sorted(sizes.items()):
        name = path.removeprefix(base).lstrip("/")
        if PurePosixPath(name).suffix.lower() not in (*IMAGES, PDF):
            continue
        if ".." in PurePosixPath(name).parts:
            log.warning("%s is passed over: its path leaves the folder", path)
            continue
        files.append(File(name, size, round(system.modified(path).timestamp() * 1e9)))
    if not files:
        raise InputError(f"{address!r} holds no image and no PDF: name another one")
    return Listing(files)


def local_folder(folder: str, file: File) -> Path:
    """The folder on this machine that holds a file of `folder`, which may be an address.

    From an address the file is copied, as large and as old as it was when it was listed; the copy
    goes with the next file's.

    Raises:
        OSError: it cannot be copied.
    """
    if not is_address(folder):
        return Path(folder)
    copy = _scratch() / hashlib.sha256(repr((folder, file)).encode()).hexdigest()[:20]
    if not copy.is_dir():
        for path in _scratch().iterdir():
            shutil.rmtree(path)
        unfinished = _scratch() / "unfinished"
        path = unfinished / file.path
        path.parent.mkdir(parents=True)
        system, base = fsspec.core.url_to_fs(folder)
        system.get_file(f"{base.rstrip('/')}/{file.path}", str(path))
        os.utime(path, ns=(file.modified, file.modified))
        unfinished.rename(copy)
    return copy


@lru_cache(maxsize=1)
def _scratch() -> Path:
    """A folder of this process, which goes with it."""
    folder = tempfile.TemporaryDirectory(prefix="pagefinder-")
    atexit.register(folder.cleanup)
    return Path(folder.name)
