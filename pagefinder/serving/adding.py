"""Index uploaded files in the background, one after the other, while others search."""

import logging
import queue
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pyarrow as pa

from pagefinder.errors import InputError
from pagefinder.indexing import store
from pagefinder.indexing.encoder import Encoder
from pagefinder.indexing.files import Chunk, File, Listing, list_files
from pagefinder.indexing.planning import count_pages, indexed_files
from pagefinder.indexing.reading import Page
from pagefinder.indexing.updating import local_engine, update
from pagefinder.serving import uploads

log = logging.getLogger(__name__)

WAITING = 20  # files that may wait at a time
WAITS, READS, FOUND, REFUSED = "waits", "reads", "found", "refused"
BROKEN = "pagefinder could not read it; the terminal shows why"


def counted(number: int, noun: str) -> str:
    """A number of things in words, such as `1 page` and `2,880 pages`."""
    return f"{number:,} {noun}{'s' if number != 1 else ''}"


@dataclass
class Upload:
    """A file on its way into the index.

    Attributes:
        name: As it may be shown.
        path: Where it is stored, in the folder of uploads.
        state: WAITS, READS, FOUND or REFUSED.
        pages: Its number of pages, 0 while that is unknown.
        done: Pages that are read.
        problem: Why it is refused.
        earlier: It was stored before the page started.
    """

    name: str
    path: str
    state: str = WAITS
    pages: int = 0
    done: int = 0
    problem: str = ""
    earlier: bool = False

    @property
    def ended(self) -> bool:
        """Whether it is found or refused."""
        return self.state in (FOUND, REFUSED)

    def sentence(self) -> str:
        """What to tell the user of it."""
        if self.state == FOUND:
            return f"{self.name}: {counted(self.pages, 'page')} can be found now."
        if self.state == REFUSED:
            return f"{self.name} was not added: {self.problem}."
        if self.pages:
            return f"{self.name}: {self.done} of {self.pages} pages read"
        return f"{self.name} waits for its turn" if self.state == WAITS else f"Opening {self.name}"


class _SharedEncoder(Encoder):
    """An encoder that lets searches take turns between two chunks of pages, and counts pages."""

    def __init__(
        self, encoder: Encoder, turn: threading.Lock, count: Callable[[int], None]
    ) -> None:
        vars(self).update(vars(encoder))
        self.turn, self.count = turn, count

    def rows(self, pages: Sequence[Page]) -> pa.Table:
        with self.turn:
            rows = super().rows(pages)
        self.count(len(pages))
        return rows


class Adding:
    """One thread that indexes what is uploaded.

    Attributes:
        folder: Of uploads.
        root: The project's folder.
    """

    def __init__(
        self, encoder: Encoder, turn: threading.Lock, root: Path, added: Callable[[], None]
    ) -> None:
        """Take up what an earlier process stored, and start the thread.

        Args:
            encoder: Makes the rows.
            turn: Held by whoever uses a model.
            root: The project's folder.
            added: Called when the index has changed, before the upload counts as found.
        """
        self.folder, self.root = root / uploads.FOLDER, root
        self._added = added
        self._encoder = _SharedEncoder(encoder, turn, self._count)
        self._waiting = queue.Queue[Upload]()
        self._storing = threading.Lock()
        self._current: Upload | None = None
        self._found: set[str] = set()  # paths of files that are indexed
        self._take_up()
        threading.Thread(target=self._run, name="adding", daemon=True).start()

    def add(self, name: str, data: bytes) -> Upload:
        """Store a file and let it be indexed.

        A file that may not be stored is refused at once.
        """
        shown = uploads.shown_name(name)
        try:
            with self._storing:
                if self._waiting.qsize() >= WAITING:
                    raise InputError(f"{WAITING} files wait already: try again in a minute")
                upload = Upload(shown, uploads.store(name, data, self.folder, self.root))
                self._waiting.put(upload)
        except (InputError, OSError) as error:
            log.warning("upload refused: %s", error)
            problem = str(error).removeprefix(f"{shown} ")
            return Upload(shown, "", REFUSED, problem=problem)
        return upload

    def waiting(self) -> int:
        """The number of files that are still to be read."""
        return self._waiting.qsize()

    def _take_up(self) -> None:
        """Search what an earlier process indexed; what it did not, gets its turn like a new file.

        After a change of the model that is every file.
        """
        try:
            paths = [file.path for file in list_files(self.folder).files]
        except InputError:
            return  # nothing was added
        place = store.default_place(self.folder, self.root)
        try:
            table = store.open_table(place)
            if table is not None:
                store.check(table, self._encoder.schema, place)
                with store.damage(place):
                    # A file has rows only once it is checked.
                    self._found = set(paths) & indexed_files(table).keys()
                listing = partial(self._listed, set(paths) - self._found)
                engine = local_engine(self.folder, self._encoder, self.root)
                update(listing, engine, place, self.root, wait=False)
                self._added()
        except store.UnwritableError as error:
            log.warning("%s; it is searched as it is", error)
            self._added()
        except (store.OtherModelError, store.DamagedError) as error:
            self._found = set()
            log.warning("%s: files that were added earlier are read again", error)
        names = uploads.read_names(self.folder)
        for path in paths:
            if path not in self._found:
                self._waiting.put(Upload(names.get(path, path), path, earlier=True))

    def _run(self) -> None:
        while True:
            upload = self._waiting.get()
            try:
                self._index(upload)
            except uploads.UnfitError as error:
                self._refuse(upload, str(error))
            except InputError as error:
                # Another model may read what this one does not.
                self._refuse(upload, str(error), keep=upload.earlier)
            except Exception:  # whatever one file does, the next one gets its turn
                log.exception("%s", upload.path)
                self._refuse(upload, BROKEN)

    def _index(self, upload: Upload) -> None:
        """Index a file; an InputError says why that cannot be."""
        upload.state, self._current = READS, upload
        with self._storing:
            # Those that wait get their own turn, in which they are checked.
            waiting = {other.path for other in self._waiting.queue} - {upload.path} - self._found
        listing = partial(self._listed, waiting)
        place = store.default_place(self.folder, self.root)
        engine = local_engine(self.folder, self._encoder, self.root)
        update(listing, replace(engine, count=self._chunks), place, self.root, rebuild=True)
        table = store.open_table(place)
        assert table is not None
        rows = table.search().where(store.of_file(upload.path)).select(["problem"]).limit(None)
        found = rows.to_arrow()["problem"].to_pylist()
        problems = [problem for problem in found if problem]
        upload.pages = len(found) - len(problems)
        if not upload.pages:
            raise InputError(problems[0] if problems else "it changed while it was read")
        self._added()
        self._found.add(upload.path)
        upload.state = FOUND
        log.info("%s is %s: %d pages added", upload.path, upload.name, upload.pages)

    def _listed(self, waiting: Collection[str]) -> Listing:
        """The uploads but those that wait."""
        listing = list_files(self.folder)
        files = [file for file in listing.files if file.path not in waiting]
        return replace(listing, files=files)

    def _chunks(self, files: Sequence[File]) -> Iterator[list[Chunk]]:
        """The chunks of files; an InputError if the file at hand is broken or too long."""
        for chunks in count_pages(self.folder, files):
            if self._current is not None and chunks[0].file.path == self._current.path:
                self._current.pages = uploads.check_chunks(chunks)
            yield chunks

    def _refuse(self, upload: Upload, problem: str, *, keep: bool = False) -> None:
        with self._storing:
            # The same content may wait once more, and has to be there at its turn.
            if not keep and all(other.path != upload.path for other in self._waiting.queue):
                uploads.discard(upload.path, self.folder, self.root)
                self._found.discard(upload.path)
        upload.problem, upload.state = problem, REFUSED
        log.warning("%s is refused: %s", upload.path, problem)

    def _count(self, pages: int) -> None:
        if self._current is not None:
            self._current.done = min(self._current.done + pages, self._current.pages)
