"""Images as pages: those of one folder are a document, and so is a TIFF file of several pages."""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from PIL import Image

from pagefinder.sources import images, storing
from pagefinder.sources.storing import Row, SourcePage

log = logging.getLogger(__name__)

TIFF = (".tif", ".tiff")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", *TIFF)


@dataclass(frozen=True)
class Picture:
    """An image file of a folder.

    Attributes:
        folder: The user's folder.
        name: Path in it.
        stored: Name under data/source/pdf of a file of several pages; of another file empty.
        document: Name of the document that its pages belong to.
        number: Of its first page in the document, from 1.
        pages: Number of its pages.
    """

    folder: Path
    name: str
    stored: str
    document: str
    number: int
    pages: int


def find(folder: Path) -> list[Picture]:
    """The images below a folder as pages of documents, in natural order: page 9 before page 10.

    Of identical files of several pages the first counts.
    """
    paths = folder.rglob("*") if folder.is_dir() else ()
    named = (path for path in paths if path.suffix.lower() in SUFFIXES and not path.is_dir())
    names = sorted((path.relative_to(folder).as_posix() for path in named), key=_natural)
    pictures: list[Picture] = []
    stored_names = set[str]()
    # A subfolder may be called as the folder is: its images are another document.
    top = f"./{folder.name}" if (folder / folder.name).is_dir() else folder.name
    for parent, group in groupby(names, key=lambda name: Path(name).parent):
        number = 0
        for name in group:
            count = page_count(folder, name)
            if count > 1:
                stored = f"{storing.file_digest(folder / name)[:20]}.tiff"
                if stored not in stored_names:
                    pictures.append(Picture(folder, name, stored, name, 1, count))
                stored_names.add(stored)
                continue
            number += 1
            document = top if parent == Path() else parent.as_posix()
            pictures.append(Picture(folder, name, "", document, number, 1))
    if pictures:
        documents = len({picture.document for picture in pictures})
        log.info("%d image files are pages of %d documents", len(pictures), documents)
    return pictures


def _natural(name: str) -> list[list[tuple[str, int]]]:
    """A key to sort paths by: folder, then file, and numbers in them by their value."""
    path = Path(name)
    parts = [re.findall(r"(\D*)(\d*)", part) for part in (str(path.parent), path.name)]
    return [[(text, int(digits or -1)) for text, digits in part] for part in parts]


def page_count(folder: Path, name: str) -> int:
    """The number of pages in an image file; 1 for one that may not be read or does not open.

    `_read` says why it may not be read, `prepare` that it does not open.
    """
    path = folder / name
    if path.suffix.lower() not in TIFF:
        return 1
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
        if not inside or not path.is_file():  # a pipe would be waited for
            return 1
        with Image.open(path) as image:
            return int(getattr(image, "n_frames", 1))
    except Exception:  # Pillow raises OSError, SyntaxError, ValueError, struct.error and more
        return 1


def rows(pictures: list[Picture], start: int) -> Iterator[Row]:
    """The pages of each file from number `start` on."""
    for picture in pictures[start:]:
        yield list(_read(picture))


def _read(picture: Picture) -> Iterator[SourcePage]:
    """The pages of a file; one with a problem where the file may not be read."""
    if picture.stored:
        for index in range(picture.pages):
            yield SourcePage(
                key=f"{picture.stored}/{index}",
                origin=f"{picture.name} page {index + 1}",
                pdf=picture.stored,
                document_id=picture.document,
                page_number=index + 1,
            )
        return
    image, problem = None, None
    try:
        image = images.read(picture.name, images.Access(picture.folder))
    except images.BadCellError as error:
        problem = str(error)
    yield SourcePage(
        key=picture.name,
        origin=picture.name,
        image=image,
        document_id=picture.document,
        page_number=picture.number,
        problem=problem,
    )
