"""Pictures of the pages of data/source, as a model is shown them."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from tqdm import tqdm

from pagefinder.data import pixels
from pagefinder.params import Pixels
from pagefinder.runtime import pool
from pagefinder.sources import storing
from pagefinder.sources.rendering import render


class Place(NamedTuple):
    """Where a page stands in data/source, and what its picture is made of."""

    shard: Path
    batch: int
    row: int
    identity: str


@dataclass(frozen=True)
class Drawing:
    """A picture to make: of the page at `place`, as the file `target`."""

    place: Place
    target: Path
    dpi: int
    budget: Pixels


@dataclass(frozen=True)
class SourcePictures:
    """Pictures of the pages of data/source, made when they are needed, as files of `folder`.

    Attributes:
        places: Key of a page -> its place.
        folder: To draw into.
        dpi: Of the pages of PDFs, before `budget` bounds them.
        budget: Pixels of a picture.
        isolate: The source's pages may crash the process that renders them.
    """

    places: dict[str, Place]
    folder: Path
    dpi: int
    budget: Pixels
    isolate: bool

    def identity(self, page: str) -> str:
        """What the picture of a page is made of: its file and how large it is drawn."""
        return f"{self.places[page].identity}, {self.dpi} dpi, {self.budget.max} pixels"

    def make(self, pages: Collection[str]) -> None:
        """Draw the pages that are not drawn yet; one that cannot be read gets no picture."""
        drawings = [
            Drawing(self.places[page], self._file(page), self.dpi, self.budget)
            for page in sorted(pages, key=lambda page: self.places[page])
        ]
        drawings = [drawing for drawing in drawings if not drawing.target.exists()]
        if not drawings:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        results = pool.run(draw, drawings, crashed, isolate=self.isolate)
        for _ in tqdm(results, total=len(drawings), desc="pictures", unit=" pages", disable=None):
            pass

    def png(self, page: str) -> bytes | None:
        """The picture of a page that `make` drew; None where it could not be read."""
        data = self._file(page).read_bytes()
        return data or None

    def _file(self, page: str) -> Path:
        name = hashlib.sha256(self.identity(page).encode()).hexdigest()[:20]
        return self.folder / f"{name}.png"


def read_pages(source: Path) -> tuple[pd.DataFrame, dict[str, Place]]:
    """The usable pages of data/source, in its order, and their places by key.

    Columns: key, document_id, page_number, kind, split, origin, text ("" where there is none).
    """
    columns = ["key", "document_id", "page_number", "kind", "split", "origin", "text"]
    rows, places = [], {}
    for shard, number in storing.units(source):
        batch = storing.read_unit(shard, number)
        for row, page in enumerate(batch.select([*columns, "problem", "pdf"]).to_pylist()):
            # Of two rows of one page the second holds its text.
            if page["problem"]:
                continue
            if page["pdf"]:
                identity = f"{page['pdf']} page {page['page_number']}"
            else:
                image = batch["image"][row].as_py() or b""
                identity = hashlib.sha256(image).hexdigest()
            places[page["key"]] = Place(shard, number, row, identity)
            rows.append({name: page[name] for name in columns} | {"text": page["text"] or ""})
    table = pd.DataFrame(rows, columns=columns).drop_duplicates("key", keep="last")
    return table.reset_index(drop=True), places


def draw(drawing: Drawing) -> None:
    """Write the picture of a page; an empty file where the page cannot be read."""
    place = drawing.place
    page = storing.read_unit(place.shard, place.batch).slice(place.row, 1).to_pylist()[0]
    try:
        if page["pdf"]:
            path = place.shard.parent / storing.PDF / page["pdf"]
            image = render(path, page["page_number"] - 1, drawing.dpi, drawing.budget)
        else:
            image = pixels.fit(pixels.decode(page["image"] or b""), drawing.budget)
        data = pixels.encode_png(image)
    except pixels.BadImageError:
        data = b""
    scratch = drawing.target.with_suffix(".tmp")
    scratch.write_bytes(data)
    scratch.replace(drawing.target)


def crashed(drawing: Drawing) -> None:
    """An empty file, for a page that crashed the process that drew it."""
    drawing.target.write_bytes(b"")
