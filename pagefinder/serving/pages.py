"""Pages to search: from a folder of images and PDFs, or from the last run's corpus."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pypdfium2
from PIL import Image

from pagefinder.data import pixels
from pagefinder.data.corpus import PAGES, Corpus, PageInput, page_input
from pagefinder.errors import InputError
from pagefinder.params import PageContent, Pixels
from pagefinder.runtime.scratch import file_states
from pagefinder.sources.pdf import page_texts
from pagefinder.sources.pictures import SUFFIXES, page_count
from pagefinder.sources.rendering import present_pages, render

log = logging.getLogger(__name__)

IMAGES = (*SUFFIXES, ".bmp", ".gif")
DPI = 144  # of a PDF's page, which the model's pixel budget then bounds


@dataclass(frozen=True)
class Pages:
    """Pages to search, and what of a page the model at hand gets.

    Attributes:
        labels: What each page is called.
        open: The image of the page in a row; raises pixels.BadImageError where it is broken.
        text: The text of the page in a row, "" where it has none.
        state: Paths, sizes and times of change of the pages' files: differs when a page changed.
        page_content: See `input`.
    """

    labels: list[str]
    open: Callable[[int], Image.Image]
    text: Callable[[int], str]
    state: object
    page_content: PageContent = "image"

    def input(self, row: int) -> PageInput:
        """The page of a row as a model takes it that gets `page_content` of pages.

        Raises:
            pixels.BadImageError: its image is needed, and is broken.
        """
        return page_input(self.page_content, self.open, self.text, row)


def list_folder(folder: Path) -> list[tuple[str, int | None]]:
    """The images and the pages of PDFs below a folder, sorted by path.

    Returns:
        Path relative to the folder, and the index of the page in a PDF or a TIFF file of several
        pages, None for another image.

    Raises:
        InputError: there is no such folder, or no page in it.
    """
    if not folder.is_dir():
        raise InputError(f"--pages {str(folder)!r} is no folder: name one with images or PDFs")
    pages: list[tuple[str, int | None]] = []
    for path in sorted(folder.rglob("*")):
        name, suffix = path.relative_to(folder).as_posix(), path.suffix.lower()
        if not path.is_file():
            if suffix in (*IMAGES, ".pdf") or (path.is_symlink() and path.is_dir()):
                log.warning("%s is passed over: no file, but a folder, pipe or link", path)
        elif suffix in IMAGES:
            count = page_count(folder, name)
            pages += [(name, index) for index in range(count)] if count > 1 else [(name, None)]
        elif suffix == ".pdf":
            pages += [(name, index) for index in _page_indexes(path)]
    if not pages:
        raise InputError(f"--pages {str(folder)!r} holds no image and no PDF: name another folder")
    return pages


def _page_indexes(path: Path) -> list[int]:
    """Indexes of the pages in a PDF; a line in the log says what does not open."""
    try:
        with pypdfium2.PdfDocument(path) as document:
            present = sorted(present_pages(document))
            if len(present) < len(document):
                missing = len(document) - len(present)
                log.warning("%s: %d of %d pages are missing", path, missing, len(document))
            return present
    except (pypdfium2.PdfiumError, OSError) as error:
        log.warning("%s is passed over: %s", path, error)
        return []


def folder_pages(folder: Path, listing: list[tuple[str, int | None]], budget: Pixels) -> Pages:
    """The pages that `list_folder` lists, each fitted to the pixel budget.

    An entry of `listing` is a file's name, and the index of the page in it, None for an image that
    is one page.
    """

    def open_page(row: int) -> Image.Image:
        name, index = listing[row]
        if index is not None:
            return render(folder / name, index, DPI, budget)
        try:
            data = (folder / name).read_bytes()
        except OSError as error:
            raise pixels.BadImageError(f"unreadable file: {error}") from error
        return pixels.fit(pixels.decode(data), budget)

    def text_of_page(row: int) -> str:
        name, index = listing[row]
        is_pdf = Path(name).suffix.lower() == ".pdf"
        return _pdf_texts(folder / name)[index] if index is not None and is_pdf else ""

    labels = [name if index is None else f"{name}, page {index + 1}" for name, index in listing]
    names = sorted({name for name, _ in listing})
    return Pages(labels, open_page, text_of_page, file_states(folder / name for name in names))


@lru_cache(maxsize=1)  # pages come in order
def _pdf_texts(path: Path) -> list[str]:
    """The text of each page of a PDF that `list_folder` could open."""
    return page_texts(path)


def corpus_pages(folder: Path) -> Pages:
    """The pages of a corpus.

    Raises:
        InputError: `folder` holds no corpus.
    """
    if not (folder / PAGES).is_file():
        raise InputError(f"{folder} holds no corpus: run `make repro`, or name a folder by --pages")
    corpus = Corpus(folder)
    labels = []
    for page in corpus.pages.to_dict("records"):
        number = page["page_number"]
        place = f", page {int(number)}" if number is not None and number == number else ""
        label = f"{page['document_id']}{place} ({page['page_id']})"
        labels.append(label if isinstance(page["document_id"], str) else page["page_id"])
    return Pages(labels, corpus.image, corpus.text, file_states([folder / PAGES]))
