"""A folder of PDF files and images: every page, and queries from what PDFs say of their parts."""

import contextlib
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pypdfium2

from pagefinder.errors import InputError
from pagefinder.params import Params
from pagefinder.runtime import pool
from pagefinder.sources import pictures, rendering, storing
from pagefinder.sources.pdf_queries import chapters, layout, phrases, questions, sections
from pagefinder.sources.storing import Row, Source, SourcePage, SourceQuery

log = logging.getLogger(__name__)

PASSWORD_ERROR = 4  # FPDF_ERR_PASSWORD


class Document(NamedTuple):
    """A file, its name under data/source/pdf, and its path in the user's folder."""

    path: Path
    stored: str
    name: str


def open_source(params: Params, root: Path) -> Source:
    """All PDF files and images in the folder `input`, at any depth; identical PDFs count once.

    Raises:
        InputError: the folder holds neither.
    """
    folder = root / params.input
    documents, problems = _find(folder)
    scans = pictures.find(folder)
    if not documents and not scans:
        first = f", but {problems[0].origin} ({problems[0].problem})" if problems else ""
        raise InputError(
            f"input {str(folder)!r} holds no PDF and no image{first}: put some there, or name"
            " another folder"
        )

    files = {document.name: (document.stored, document.path) for document in documents}
    files |= {scan.name: (scan.stored, folder / scan.name) for scan in scans if scan.stored}

    def rows(start: int) -> Iterator[Row]:
        yield from pool.run(read_document, documents[start:], crashed, isolate=True)

    def others(start: int) -> Iterator[Row]:
        return ([problem] for problem in problems[start:])

    return Source(
        "pdf",
        {"documents": rows, "pictures": partial(pictures.rows, scans), "others": others},
        {"files": {name: stored for name, (stored, _) in files.items()}},
        files=dict(files.values()),
        folder=folder,
        choose_queries=questions.choose_queries,
    )


def _find(folder: Path) -> tuple[list[Document], list[SourcePage]]:
    """Documents of the folder, and a page with a problem for what looks like one and is none."""
    base = folder.resolve()
    paths = [folder] if folder.is_file() else sorted(folder.rglob("*"))
    documents: dict[str, Document] = {}
    problems = []
    for path in paths:
        name = path.name if path == folder else path.relative_to(folder).as_posix()
        try:
            problem = _problem(path, base)
            if problem is None:
                continue
            stored = "" if problem else f"{storing.file_digest(path)[:20]}.pdf"
        except (OSError, RuntimeError) as error:
            problem = f"unreadable file: {error}"
        if problem:
            problems.append(SourcePage(key=name, origin=name, problem=problem))
            continue
        if stored in documents:
            log.info("%s is the same file as %s", name, documents[stored].name)
        documents.setdefault(stored, Document(path, stored, name))
    return list(documents.values()), problems


def _problem(path: Path, base: Path) -> str | None:
    """Why a path is no PDF file of the folder `base`; "" if it is one, None if nobody expects it.

    A folder behind a link is not walked: that is a problem whatever its name is.
    """
    linked, named = path.is_symlink(), path.suffix.lower() == ".pdf"
    if not named and not (linked and path.is_dir()):
        return None
    if linked and not path.resolve().is_relative_to(base):
        return "path leaves the folder: a symbolic link"
    if path.is_file():
        return ""
    if path.is_dir():
        # The files of a real folder, or of one that is linked from elsewhere in it, are read.
        return "missing file: a folder, whose own files count" if named else None
    return "missing file: " + ("a symbolic link to nothing" if linked else "a pipe or device")


def crashed(document: Document) -> Row:
    """One page with a problem, for a file that crashed the process that read it."""
    return _unreadable(document, "unreadable PDF: the reader crashed")


def read_document(document: Document) -> Row:
    """Pages of one file, not yet rendered, and a query with a phrase for each of its phrases.

    `choose_queries` makes the questions. A file that cannot be read is one page with a problem.
    """
    path, stored, name = document
    _forget_last_error()
    try:
        with pypdfium2.PdfDocument(path) as pdf:
            if not len(pdf):
                return _unreadable(document, "empty PDF: no pages")
            present = rendering.present_pages(pdf)
            missing = len(pdf) - len(present)
            lost = f"unreadable PDF: {missing} of the {len(pdf)} pages that it claims are missing"
            if not present:
                return _unreadable(document, lost)
            outline = _outline(pdf)
            pages = [_read_page(pdf, index) for index in range(len(pdf))]
            title = (pdf.get_metadata_dict().get("Title") or "").strip()
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == PASSWORD_ERROR:
            return _unreadable(document, "encrypted PDF: it needs a password")
        return _unreadable(document, "unreadable PDF: damaged, or without a page")
    pages = layout.classify(layout.mend_hyphens(pages), [entry.title for entry in outline])
    keys = [f"{stored}/{index}" for index in range(len(pages))]
    places = chapters.page_sections(outline, len(pages))
    source_pages = [
        SourcePage(
            key=key,
            origin=f"{name} page {index + 1}",
            pdf=stored,
            document_id=name,
            page_number=index + 1,
            section=section,
            kind=page.kind,
            text=page.text or None,
        )
        for index, (key, page, section) in enumerate(zip(keys, pages, places, strict=True))
        if index in present
    ]
    if missing:
        source_pages += _unreadable(document, lost)
    candidates = [
        SourceQuery(
            text=phrase.subject,
            origin=phrase.origin,
            where=f"{name} page {phrase.pages[0] + 1}",
            relevance={keys[index]: 1 for index in phrase.pages},
            phrase=phrase,
        )
        for phrase in phrases.find_phrases(pages, outline, title or Path(name).stem)
    ]
    return [*source_pages, *candidates]


def page_texts(path: Path) -> list[str]:
    """The text of each page of a PDF file, as `read_document` gives it; "" where there is none.

    Raises:
        pypdfium2.PdfiumError: the file cannot be read.
    """
    with pypdfium2.PdfDocument(path) as pdf:
        pages = [_read_page(pdf, index) for index in range(len(pdf))]
    return [page.text for page in layout.mend_hyphens(pages)]


def _forget_last_error() -> None:
    """Clear PDFium's last error, so that a file is not taken for encrypted like the one before.

    A file without pages fails without an error of its own. Bytes that are no PDF set another one.
    """
    with contextlib.suppress(pypdfium2.PdfiumError):
        pypdfium2.PdfDocument(b"none").close()


def _unreadable(document: Document, problem: str) -> list[SourcePage]:
    """One page with a problem, for the whole file."""
    return [SourcePage(key=document.name, origin=document.name, problem=problem)]


def _outline(pdf: pypdfium2.PdfDocument) -> list[sections.Entry]:
    """Bookmarks with the titles above them, without those that have no title or page."""
    entries: list[sections.Entry] = []
    above: list[str] = []
    for bookmark in pdf.get_toc():
        title = " ".join((bookmark.get_title() or "").split())
        above = [*above[: bookmark.level], title]
        target = bookmark.get_dest()
        index = target.get_index() if target is not None else None
        if title and index is not None and 0 <= index < len(pdf):
            entries.append(sections.Entry(title, tuple(above[:-1]), index))
    return entries


def _read_page(pdf: pypdfium2.PdfDocument, index: int) -> layout.PageLayout:
    """The layout of page `index`; a picture if it cannot be read, as it may still render."""
    try:
        page = pdf[index]
        try:
            return layout.read_page(page)
        finally:
            page.close()
    except pypdfium2.PdfiumError:
        return layout.PageLayout([], "picture")
