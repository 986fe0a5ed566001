"""Turn a cell into the encoded image of a page, opening only what the source may open."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pagefinder.data import pixels
from pagefinder.sources import fetching

# An encoded page of more than this is no page; it also bounds what a URL may send.
MAX_BYTES = 100 * 2**20
ARCHIVES = ("zip://", "tar://")  # how `datasets` names the images of an archive
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")  # others become RGB before they are written


class BadCellError(ValueError):
    """A cell without a page image; the text says why, after a category and a colon."""


@dataclass(frozen=True)
class Access:
    """What the cells of a source may open.

    Attributes:
        folder: Paths are relative to it and may not leave it; None: paths are not allowed.
        repository: hf://datasets/NAME@COMMIT of a dataset, whose files may be opened; or empty.
        urls: Whether pages may be fetched from URLs.
        private_urls: Whether a URL may lead into a private network or to this machine.
    """

    folder: Path | None = None
    repository: str = ""
    urls: bool = False
    private_urls: bool = False


def read(value: object, access: Access) -> bytes:
    """The encoded image of a page from bytes, a {bytes, path} pair, an image, a path or a URL.

    Raises:
        BadCellError: the cell holds no readable page image, or names what may not be opened.
    """
    if isinstance(value, Mapping):
        inner = value.get("bytes")
        value = inner if inner is not None else value.get("path")
    if isinstance(value, bytes):
        return value
    if isinstance(value, Image.Image):
        return _encode(value)
    if not isinstance(value, str):
        raise BadCellError(f"wrong type: {type(value).__name__} is no image, path or URL")
    inside, _, archive = value.rpartition("::")
    if inside.startswith(ARCHIVES) and "::" not in inside:
        return _read_from_archive(value, archive, access)
    if access.repository and value.startswith("hf://"):
        _check_repository(value, access)
        return _open(value)
    if "://" in value:
        return _fetch(value, access)
    return _read_path(value, access)


def _encode(image: Image.Image) -> bytes:
    """The image as a PNG file."""
    try:
        buffer = io.BytesIO()
        (image if image.mode in PNG_MODES else pixels.flatten(image)).save(buffer, "PNG")
        return buffer.getvalue()
    except Exception as error:  # Pillow raises OSError, ValueError, SystemError and more
        raise BadCellError(f"unreadable image: {' '.join(str(error).split())[:200]}") from error


def _read_from_archive(value: str, archive: str, access: Access) -> bytes:
    """The content of a file in an archive that the source may open; `value` names both."""
    if access.repository and archive.startswith("hf://"):
        _check_repository(archive, access)
        return _open(value)
    return _open(f"{value.removesuffix(archive)}{_checked_path(archive, access)}")


def _check_repository(address: str, access: Access) -> None:
    """Raise BadCellError unless the address is of a file in the source's dataset."""
    own = address.startswith(f"{access.repository}/") and "::" not in address
    if not own or ".." in address.split("/"):
        raise BadCellError(f"path not allowed: {address[:80]!r} is no file of {access.repository}")


def _open(address: str) -> bytes:
    """The content of a checked address, as the library of the Hub opens it."""
    from datasets.utils.file_utils import xopen  # takes a second that tables need not wait

    try:
        with xopen(address, "rb") as file:
            data: bytes = file.read(MAX_BYTES + 1)
    except Exception as error:  # the client lets the errors of its transport through
        text = " ".join(str(error).split())[:200]
        raise BadCellError(f"unreadable file: {address[:80]!r}: {text}") from error
    if len(data) > MAX_BYTES:
        raise BadCellError(f"file too large: {address[:80]!r}, over {MAX_BYTES} bytes")
    return data


def _read_path(value: str, access: Access) -> bytes:
    """The content of the file at path `value` of the source's folder."""
    path = _checked_path(value, access)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadCellError(f"file too large: {value[:80]!r}, over {MAX_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise BadCellError(f"unreadable file: {value[:80]!r}: {error}") from error


def _checked_path(value: str, access: Access) -> Path:
    """The file at path `value` of the source's folder.

    Raises:
        BadCellError: the source has no folder, or the path leads to no file in it.
    """
    if access.folder is None:
        raise BadCellError(f"path not allowed: {value[:80]!r}, as this source has no folder")
    try:
        # Resolved, so that neither `..` nor a symbolic link leads outside.
        path, base = (access.folder / value).resolve(), access.folder.resolve()
        inside, is_file, exists = path.is_relative_to(base), path.is_file(), path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        raise BadCellError(f"unreadable file: {value[:80]!r}: {error}") from error
    if not inside:
        raise BadCellError(f"path leaves the folder: {value[:80]!r}")
    if not is_file:
        why = ", a folder or device" if exists else ""
        raise BadCellError(f"missing file: {value[:80]!r}{why}")
    return path


def _fetch(url: str, access: Access) -> bytes:
    """What the URL sends; BadCellError where that fails or is not allowed."""
    shown = repr(url[:80])
    if not url.startswith(("http://", "https://")):
        raise BadCellError(f"URL not allowed: {shown} is neither http nor https")
    if not access.urls:
        raise BadCellError(f"URL not allowed: {shown}, as allow_urls is false")
    try:
        data = fetching.fetch(url, MAX_BYTES, access.private_urls)
    except fetching.ForbiddenError as error:
        raise BadCellError(f"URL not allowed: {shown}: {error}") from error
    except fetching.FetchError as error:
        raise BadCellError(f"URL failed: {shown}: {error}") from error
    if len(data) > MAX_BYTES:
        raise BadCellError(f"file too large: {shown}, over {MAX_BYTES} bytes")
    return data
