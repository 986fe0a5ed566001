"""Render pages of files straight at the size they are stored in: of PDFs, and of TIFF files."""

import atexit
from functools import lru_cache
from pathlib import Path

import pypdfium2
import pypdfium2.raw as pdfium
from PIL import Image

from pagefinder.data import pixels
from pagefinder.params import Pixels

POINTS_PER_INCH = 72


def render(path: Path, index: int, dpi: int, budget: Pixels) -> Image.Image:
    """A page of a PDF or TIFF file in RGB, at its size in the pixel budget.

    The page of a PDF has its size at `dpi`, fitted to the budget. It is rendered once, at the final
    size, so that no resize blurs its type.

    Raises:
        pixels.BadImageError: PDFium cannot open or render the page, a side has 0 pixels, or it is
            more elongated than MAX_ASPECT; or see `pixels.decode`.
    """
    if path.suffix.lower() != ".pdf":
        return pixels.fit(pixels.decode(path, index), budget)
    try:
        page = _open(path, path.stat().st_mtime_ns)[index]
        try:
            return _render(page, dpi, budget)
        finally:
            page.close()
    except (pypdfium2.PdfiumError, OSError) as error:
        raise pixels.BadImageError(f"PDFium: {error}") from error


def present_pages(pdf: pypdfium2.PdfDocument) -> set[int]:
    """Indexes of the pages that a PDF holds; it may claim any number of others."""

    def is_present(index: int) -> bool:
        try:
            pdf.get_page_size(index)
        except pypdfium2.PdfiumError:
            return False
        return True

    return {index for index in range(len(pdf)) if is_present(index)}


@lru_cache(maxsize=1)  # pages come in order; the next file closes this one, or what it became
def _open(path: Path, modified: int) -> pypdfium2.PdfDocument:
    return pypdfium2.PdfDocument(path)


atexit.register(_open.cache_clear)  # PDFium warns of files that are still open then


def _render(page: pypdfium2.PdfPage, dpi: int, budget: Pixels) -> Image.Image:
    width, height = (max(round(side * dpi / POINTS_PER_INCH), 0) for side in page.get_size())
    if not width or not height:
        raise pixels.BadImageError(f"{width}x{height} pixels")
    if max(width, height) > pixels.MAX_ASPECT * min(width, height):
        raise pixels.BadImageError(
            f"{width}x{height} pixels, more elongated than {pixels.MAX_ASPECT} to 1"
        )
    width, height = pixels.budget_size(width, height, budget)
    bitmap = pypdfium2.PdfBitmap.new_native(
        width, height, pdfium.FPDFBitmap_BGR, rev_byteorder=True
    )
    try:
        bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
        flags = pdfium.FPDF_ANNOT | pdfium.FPDF_REVERSE_BYTE_ORDER
        # Both sides are given, so the page fills the grid of the budget exactly: at most half a
        # multiple of distortion, the same that resizing to the budget makes.
        pdfium.FPDF_RenderPageBitmap(bitmap, page, 0, 0, width, height, 0, flags)
        image: Image.Image = bitmap.to_pil().convert("RGB").copy()
        return image
    finally:
        bitmap.close()
