"""Text of pages that come without one, by optical character recognition (OCR).

rapidocr runs the PP-OCRv6 models by onnxruntime and carries their weights; the extra `ocr` installs
both. A page takes a core some seconds. So every page is a task of its own, whose text is a file: an
interrupted run goes on after the last page.
"""

import functools
import hashlib
import importlib.util
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from pagefinder.data import pixels
from pagefinder.errors import InputError
from pagefinder.params import Pixels
from pagefinder.runtime import pool
from pagefinder.sources import storing
from pagefinder.sources.rendering import render

log = logging.getLogger(__name__)

# A4 at 127 dots per inch. Of seven pages of a manual as many words were read at 72 as at 150 dpi;
# smaller print needs the more.
DPI, BUDGET = 150, Pixels(min=1, max=1_500_000, multiple=1)
# The recogniser enlarges the shorter side to 736 pixels: a strip of 3 by 400 took it three minutes.
MAX_ASPECT = 8


@dataclass(frozen=True)
class Scan:
    """A page of data/source without text, and the file for the text that is read from it."""

    shard: Path
    batch: int
    row: int
    target: Path


def text_file(texts: Path, page: Mapping[str, Any]) -> Path:
    """The file in `texts` for a page, a row of `storing.PAGE_SCHEMA`.

    It is named by what the page is made of. So a file that is added to the source moves no text.
    """
    if page["pdf"]:
        name = f"{Path(page['pdf']).stem}-{page['page_number']:05d}"
    else:
        name = hashlib.sha256(page["image"] or b"").hexdigest()[:20]
    return texts / f"{name}.txt"


def read_scans(source: Path, texts: Path, *, isolate: bool) -> None:
    """Read every page of data/source that has no text; write the texts to files in `texts`.

    A page whose file is there is not read again. A page that cannot be opened gets no file.

    Args:
        source: The folder data/source.
        texts: Folder for the texts.
        isolate: The source's pages may crash the process that renders them.

    Raises:
        InputError: there are such pages, and the extra `ocr` is not installed.
    """
    scans = list({scan.target: scan for scan in _scans(source, texts)}.values())
    missing = [scan for scan in scans if not scan.target.exists()]
    if len(missing) < len(scans):
        log.info("OCR: %d of %d pages are read", len(scans) - len(missing), len(scans))
    if not missing:
        return
    if absent := missing_package():
        raise InputError(
            f"prepare.ocr is auto and {len(missing)} pages have no text, but {absent} is not "
            "installed: pip install 'pagefinder[ocr]', or set prepare.ocr to none"
        )
    texts.mkdir(parents=True, exist_ok=True)
    results = pool.run(_read_scan, missing, _no_text, isolate=isolate)
    for _ in tqdm(results, total=len(missing), desc="OCR", unit="page", disable=None):
        pass


def missing_package() -> str | None:
    """The first package of the extra `ocr` that is not installed."""
    names = ("rapidocr", "onnxruntime")
    return next((name for name in names if importlib.util.find_spec(name) is None), None)


def _scans(source: Path, texts: Path) -> Iterator[Scan]:
    """The pages of data/source that have no text, and no problem."""
    for shard, number in storing.units(source):
        batch = storing.read_unit(shard, number)
        names = ["text", "problem", "pdf", "page_number"]
        for row, page in enumerate(batch.select(names).to_pylist()):
            if not (page["text"] or "").strip() and not page["problem"]:
                image = None if page["pdf"] else batch["image"][row].as_py()
                target = text_file(texts, {**page, "image": image})
                yield Scan(shard, number, row, target)


def _read_scan(scan: Scan) -> None:
    """Write the text of one page; `prepare` quarantines a page that cannot be opened."""
    page = storing.read_unit(scan.shard, scan.batch).slice(scan.row, 1).to_pylist()[0]
    try:
        if page["pdf"]:
            path = scan.shard.parent / storing.PDF / page["pdf"]
            image = render(path, page["page_number"] - 1, DPI, BUDGET)
        else:
            image = pixels.fit(pixels.decode(page["image"] or b""), BUDGET)
    except pixels.BadImageError:
        return
    scratch = scan.target.with_suffix(".tmp")
    scratch.write_text(recognise(image), encoding="utf-8")
    scratch.replace(scan.target)


def _no_text(scan: Scan) -> None:
    """A page that crashed the process that read it stays without text."""
    log.warning("OCR: page %d of %s crashed the reader", scan.row, scan.shard.name)


def recognise(image: Image.Image) -> str:
    """The lines of text on an RGB image, from top to bottom."""
    shortest = -(-max(image.size) // MAX_ASPECT)
    if min(image.size) < shortest:
        size = (max(image.width, shortest), max(image.height, shortest))
        image = ImageOps.pad(image, size, color="white", centering=(0, 0))
    lines = _engine()(np.asarray(image)[:, :, ::-1], use_cls=False).txts  # it expects BGR
    return "\n".join(lines or ())


@functools.cache
def _engine() -> Any:  # noqa: ANN401  # the package has no types
    """The recogniser on one thread: each process of the pool reads a page of its own."""
    from rapidocr import RapidOCR

    threads = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
    return RapidOCR(params={**threads, "Global.log_level": "error"})
