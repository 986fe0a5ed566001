"""Render pages of PDF files straight at the size they are stored in."""

from pathlib import Path
from types import TracebackType
from typing import Self

import pypdfium2
import pypdfium2.raw as pdfium
from PIL import Image

from pagefinder.data import pixels
from pagefinder.params import Pixels

POINTS_PER_INCH = 72


class Renderer:
    """Renders pages by file name and index; keeps the last file open, as pages come in order."""

    def __init__(self, folder: Path, dpi: int) -> None:
        self.folder = folder
        self.dpi = dpi
        self._name = ""
        self._document: pypdfium2.PdfDocument | None = None

    def render(self, name: str, index: int, budget: Pixels) -> Image.Image:
        """The page in RGB at its size in the pixel budget.

        `dpi` gives the page's nominal size, which the budget then bounds; the page is drawn once,
        at the final size, so that no resize blurs its type.

        Raises:
            pixels.BadImageError: PDFium cannot open or draw it.
        """
        try:
            page = self._open(name)[index]
            try:
                return _draw(page, self.dpi, budget)
            finally:
                page.close()
        except pypdfium2.PdfiumError as error:
            raise pixels.BadImageError(f"PDFium: {error}") from error

    def _open(self, name: str) -> pypdfium2.PdfDocument:
        if name != self._name or self._document is None:
            self.close()
            self._document = pypdfium2.PdfDocument(self.folder / name)
            self._name = name
        return self._document

    def close(self) -> None:
        """Close the open file, if any."""
        if self._document is not None:
            self._document.close()
            self._document = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _draw(page: pypdfium2.PdfPage, dpi: int, budget: Pixels) -> Image.Image:
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
