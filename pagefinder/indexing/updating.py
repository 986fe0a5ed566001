"""Bring an index up to date with its folder: only what is new, changed or removed is touched."""

import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from pagefinder.data.corpus import PAGES, Corpus
from pagefinder.errors import InputError
from pagefinder.indexing import copying, schema, store
from pagefinder.indexing.encoder import Encoder, encode
from pagefinder.indexing.files import CHANGED, Chunk, File, Listing, is_pdf, list_files
from pagefinder.indexing.planning import (
    Indexed,
    Plan,
    Summary,
    count_pages,
    indexed_files,
    make_plan,
)
from pagefinder.indexing.reading import Page, Reading, can_read_scans, read_chunk, read_each
from pagefinder.indexing.tidying import tidy
from pagefinder.layout import TUNED_VECTORS
from pagefinder.retrieval.vectors import cut
from pagefinder.runtime import pool

if TYPE_CHECKING:
    from lancedb.table import Table

log = logging.getLogger(__name__)

# Encoded pages wait to be committed together, so many or so long: what a kill costs at most, beside
# the chunk at hand.
COMMIT_PAGES, COMMIT_SECONDS = 256, 20.0


@dataclass(frozen=True)
class Engine:
    """Who does the work of an update: this machine, or a cluster.

    Attributes:
        schema: Of the rows.
        reading: What is read of a page.
        count: Hashes files and counts their pages: the chunks of each.
        encode: Reads, encodes and commits the chunks of a plan.
        tidy: Puts small commits together, and deletes versions that nobody holds any more.
    """

    schema: pa.Schema
    reading: Reading
    count: Callable[[Sequence[File]], Iterable[list[Chunk]]]
    encode: Callable[["Table", Plan, str], None]
    tidy: Callable[["Table", str], None]


def bring_up_to_date(
    folder: Path,
    encoder: Encoder,
    root: Path,
    place: str | None = None,
    *,
    rebuild: bool = False,
    wait: bool = True,
) -> Summary | None:
    """Index what is new or changed in a folder, and remove what is gone.

    An update that was interrupted goes on: pages that are there are not read again.

    Args:
        folder: Of images and PDFs, or of a corpus.
        encoder: Makes the rows.
        root: The project's folder.
        place: Of the index; None: the default one, see `store.default_place`.
        rebuild: Build an index of another model, or a damaged one, anew. The one at the default
            place always is.
        wait: For another writer.

    Returns:
        What was done; None where another writer is at work and `wait` is false.

    Raises:
        InputError: there is no such folder, or no file in it, and the index stays as it is; or the
            index is of another model.
    """
    engine = local_engine(folder, encoder, root)
    rebuild = rebuild or place is None
    place = place or store.default_place(folder, root)
    listing = partial(list_files, folder)
    return update(listing, engine, place, root, rebuild=rebuild, wait=wait)


def local_engine(folder: Path, encoder: Encoder, root: Path) -> Engine:
    """This machine, as the engine of an update of a folder's index; see `bring_up_to_date`."""
    return Engine(
        encoder.schema,
        encoder.reading,
        partial(count_pages, folder),
        partial(_encode, encoder=encoder, root=root),
        tidy,
    )


def update(
    listing: Callable[[], Listing],
    engine: Engine,
    place: str,
    root: Path,
    *,
    rebuild: bool = False,
    wait: bool = True,
) -> Summary | None:
    """Bring an index up to date with files, by any engine; see `bring_up_to_date`.

    Args:
        listing: Lists the files. It is called once nobody else writes: a list from before would
            lack what another writer has indexed since, and remove that.
        engine: Does the work.
        place: Of the index.
        root: The project's folder.
        rebuild: Build an index of another model, or a damaged one, anew.
        wait: For another writer.
    """
    with store.writing(place, root, wait=wait) as held:
        if not held:
            return None
        files = listing()
        table, indexed = _opened(engine, place, rebuild=rebuild)
        try:
            return _update(files, engine, table, indexed, place)
        except store.DamagedError as error:
            mend = "run the same command again, and if that does not help, remove the index"
            raise InputError(f"{error}: {mend}") from error


def _opened(
    engine: Engine, place: str, *, rebuild: bool
) -> tuple["Table", dict[str, list[Indexed]]]:
    """The table of an index, and what it has of each file; an empty one where it is built anew."""
    try:
        table = store.open_table(place)
        if table is not None:
            store.check(table, engine.schema, place)
            with store.damage(place):
                return table, indexed_files(table)
    except (store.OtherModelError, store.DamagedError) as error:
        if not rebuild:
            raise InputError(f"{error}: {store.mend(place)}, or name another one") from error
        log.warning("%s: it is built anew", error)
    return store.create_table(place, engine.schema), {}


def _update(
    listing: Listing,
    engine: Engine,
    table: "Table",
    indexed: Mapping[str, Sequence[Indexed]],
    place: str,
) -> Summary:
    """Bring an open table up to date with files."""
    again = engine.reading.ocr and can_read_scans()
    plan = make_plan(engine.count, listing, indexed, again=again)
    store.remove(table, plan.first, place)
    copying.touch(table, plan.touched, place)
    copying.copy(table, plan.copies, place)
    engine.encode(table, plan, place)
    last = [
        part
        for path, parts in plan.last.items()
        if path not in plan.summary.again
        for part in parts
    ]
    store.remove(table, last, place)
    engine.tidy(table, place)
    if plan.summary.encoded and engine.reading.ocr and not can_read_scans():
        unread = table.count_rows(f"text_origin = '{schema.UNREAD}'")
        if unread:
            mend = "pip install 'pagefinder[ocr]', and the next run reads them"
            log.warning("%d pages have no text and OCR is not installed: %s", unread, mend)
    return plan.summary


def _encode(table: "Table", plan: Plan, place: str, *, encoder: Encoder, root: Path) -> None:
    """Read, encode and commit the chunks of a plan, in order."""
    if not plan.chunks:
        return
    chunks = pool.run(
        partial(read_chunk, encoder.reading),
        plan.chunks,
        partial(read_each, encoder.reading),
        isolate=any(is_pdf(chunk.file.path) for chunk in plan.chunks),
    )
    vectors = None
    if plan.chunks[0].file.path == PAGES:
        vectors = vectors_of_run(encoder, plan.chunks[0].folder, root / TUNED_VECTORS / "pages.npy")
    pending: list[pa.Table] = []
    committed = monotonic()
    total = sum(len(chunk.rows) for chunk in plan.chunks)
    progress = tqdm(total=total, desc="indexing", unit="page", disable=None)
    with progress, contextlib.closing(chunks):
        try:
            for pages in chunks:
                progress.update(len(pages))
                if _is_changed(pages, plan.summary):
                    continue
                if vectors is not None:
                    pages = [replace(page, vector=vectors[page.row]) for page in pages]
                pending.append(encoder.rows(pages))
                plan.summary.encoded += len(pages)
                late = monotonic() - committed > COMMIT_SECONDS
                if late or sum(map(len, pending)) >= COMMIT_PAGES:
                    store.commit(table, pending, place)
                    committed = monotonic()
        finally:
            # Ctrl-C, too, loses nothing that is encoded.
            store.commit(table, pending, place)


def _is_changed(pages: Sequence[Page], summary: Summary) -> bool:
    """Whether the file of pages changed while they were read; then it is noted."""
    if not any(page.problem == CHANGED for page in pages):
        return False
    path = pages[0].chunk.file.path
    if path not in summary.again:
        log.warning("%s changed while it was read: the next run reads it", path)
        summary.again.append(path)
    return True


def vectors_of_run(encoder: Encoder, folder: Path, path: Path) -> np.ndarray | None:
    """The last run's vectors in `path` of a corpus; None where they are missing or another model's.

    Whether the encoder's model made them is tested on the first, the middle and the last page.
    """
    if not path.is_file():
        return None
    vectors = np.load(path, mmap_mode="r")
    corpus = Corpus(folder, encoder.page_content)
    count, dimension = len(corpus.table), encoder.schema.field("vector").type.list_size
    if len(vectors) != count or dimension > vectors.shape[1]:
        return None
    vectors = cut(np.asarray(vectors), dimension)
    sample = sorted({0, count // 2, count - 1})
    cosines = (encode(encoder.model, corpus.page_inputs(sample)) * vectors[sample]).sum(axis=1)
    return vectors if cosines.min() > 0.999 else None
