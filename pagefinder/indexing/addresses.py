"""Files below an address, such as s3://bucket/scans: listed, and copied to where they are read."""

import atexit
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from pagefinder.errors import InputError
from pagefinder.indexing.files import IMAGES, PDF, File, Listing

log = logging.getLogger(__name__)

TALKATIVE = ("aiobotocore", "botocore", "azure")  # loggers of the storage's packages


def is_address(folder: str) -> bool:
    """Whether a folder is given by an address that fsspec opens, and not by its path."""
    return "://" in folder


def list_address(address: str) -> Listing:
    """The PDFs and images below an address.

    A line in the log names a file whose path leaves the address.

    Raises:
        InputError: it cannot be listed, it is a folder of this machine, or there is no such file.
    """
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        system, base = fsspec.core.url_to_fs(address)
        if isinstance(system, LocalFileSystem):  # links out of it would be followed
            raise InputError(f"{address!r} is a folder of this machine: give its path, {base}")
        files = _files(system, base)
    except InputError:
        raise
    except NotImplementedError as error:
        raise InputError(
            f"{address!r} cannot be listed: it tells no times of change, by which the next run "
            "knows what is new: copy its files into a folder"
        ) from error
    except Exception as error:  # each kind of storage has its own errors
        raise InputError(f"{address!r} cannot be listed: {_words(error)}") from error
    if not files:
        raise InputError(f"{address!r} holds no image and no PDF: name another one")
    return Listing(files)


def _files(system: fsspec.AbstractFileSystem, base: str) -> list[File]:
    """The PDFs and images below a path of a file system, sorted by path."""
    files = []
    for path, entry in sorted(system.find(base, detail=True).items()):
        name = path.removeprefix(base.rstrip("/")).removeprefix("/")
        if PurePosixPath(name).suffix.lower() not in (*IMAGES, PDF):
            continue
        if ".." in PurePosixPath(name).parts or name.startswith("/"):
            log.warning("%s is passed over: its path leaves the folder", path)
            continue
        files.append(File(name, entry["size"], _modified(system, path, entry)))
    return files


def _modified(system: fsspec.AbstractFileSystem, path: str, entry: Mapping[str, Any]) -> int:
    """When a file changed, in ns: as its listing tells, or else by a question for it alone."""
    told = (entry.get(key) for key in ("LastModified", "last_modified", "mtime"))
    time = next((value for value in told if isinstance(value, datetime)), None)
    return round((time or system.modified(path)).timestamp() * 1e9)


def _words(error: Exception) -> str:
    """What an error says, in a line, with its kind where that says more."""
    words = " ".join(str(error).split())
    return words if isinstance(error, (OSError, ValueError)) else f"{type(error).__name__}: {words}"


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
        try:
            system.get_file(f"{base.rstrip('/')}/{file.path}", str(path))
        except OSError:
            raise
        except Exception as error:  # such as missing credentials of the machine
            raise OSError(_words(error)) from error
        os.utime(path, ns=(file.modified, file.modified))
        unfinished.rename(copy)
    return copy


@lru_cache(maxsize=1)
def _scratch() -> Path:
    """A folder of this process, which goes with it."""
    folder = tempfile.TemporaryDirectory(prefix="pagefinder-")
    atexit.register(folder.cleanup)
    return Path(folder.name)
