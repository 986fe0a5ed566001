"""What the search page works with: models opened once, the index, uploads; for several users."""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from time import perf_counter
from typing import Any

from pagefinder.data import pixels
from pagefinder.data.corpus import PAGES, QUERIES, Corpus
from pagefinder.errors import InputError
from pagefinder.indexing import store
from pagefinder.indexing.files import is_pdf
from pagefinder.indexing.reading import jpeg
from pagefinder.params import Pixels
from pagefinder.serving import uploads
from pagefinder.serving.adding import Adding
from pagefinder.serving.joined import ADDED, JoinedView, Searched
from pagefinder.serving.search import (
    Found,
    check_models,
    current_view,
    find,
    open_models,
    pages_folder,
)
from pagefinder.serving.view import open_view, refreshed

log = logging.getLogger(__name__)

TOP = 12  # pages that are shown
MAX_QUESTION = 1000  # characters
LARGE = Pixels(min=1, max=2_000_000, multiple=1)  # A4 at 145 dots per inch: small type is readable
EXAMPLES, EXAMPLE_LENGTH = 4, 70


@dataclass(frozen=True)
class Options:
    """What is searched, and with what; see `pagefinder.app`."""

    models: Path
    folder: Path | None
    place: str | None
    ocr: bool


@dataclass(frozen=True)
class Result:
    """A page that was found, as it is shown.

    Attributes:
        rank: From 1.
        score: As the search gives it.
        document: Name of its document, or of itself.
        number: What a reader calls the page; None where it has none.
        thumbnail: A JPEG file; None where there is no image of the page.
        page: Its row of the index.
    """

    rank: int
    score: float
    document: str
    number: int | None
    thumbnail: bytes | None
    page: Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """What a search found: the best pages, whether any of them answers, and the seconds it took."""

    results: list[Result]
    answered: bool
    seconds: float


class Desk:
    """Models, index and uploads, shared by everybody who has the page open.

    Attributes:
        folder: What is searched; None: an index as it is, see `search.pages_folder`.
        has_reranker: Whether the release has a reranker.
        has_fusion: Whether it fuses the embedder with BM25.
        examples: Questions to try.
        adding: Indexes uploads.
        version: Of what is searched: another one after each upload.
    """

    def __init__(self, options: Options, root: Path = Path()) -> None:
        """Open the models, and bring the indexes of the folder and of the uploads up to date.

        Raises:
            InputError: a model or the folder is not there, or no page can be read.
        """
        self.has_reranker = (options.models / "reranker").is_dir()
        check_models(options.models, rerank=self.has_reranker)
        self.folder, self._root = pages_folder(options.folder, root, options.place), root
        self.has_reranker &= self.folder is not None  # it reads the pages' files
        # One at a time uses a model or PDFium: neither may be used by two threads.
        self._turn = threading.Lock()
        self._models = open_models(options.models, rerank=self.has_reranker, ocr=options.ocr)
        encoder = self._models.encoder
        self._first = current_view(encoder, self.folder, root, options.place)
        self._view: Searched = self._first
        self.version = 0
        self.has_fusion = self._models.fusion.bm25 > 0
        self.examples = example_questions(self.folder) if self.folder else []
        self.adding = Adding(encoder, self._turn, root, self._refresh)
        self.search("?")  # the first user need not wait for what a first search reads

    def _refresh(self) -> None:
        """Search the newest versions of both indexes from now on."""
        folder = self._root / uploads.FOLDER
        place = store.default_place(folder, self._root)
        try:
            self._first = refreshed(self._first)
        except InputError as error:  # removed, or another model's since: what is open goes on
            log.warning("%s is searched as it was opened: %s", self._first.place, error)
        view: Searched = self._first
        if store.open_table(place) is not None:
            second = open_view(place, folder, self._models.encoder.schema)
            if second.count():
                view = JoinedView(self._first, second)
                view.prepare()
        self._view = view
        self.version += 1

    def count(self) -> int:
        """The number of pages that can be found."""
        return self._view.count()

    def search(self, question: str, *, rerank: bool = False, fusion: bool = True) -> Answer:
        """The best pages for a question that is not empty.

        Args:
            question: Cut at MAX_QUESTION characters.
            rerank: Let the reranker, if the release has one, order the first pages once more.
            fusion: See `search.find`.
        """
        started = perf_counter()
        find_pages = partial(
            self._find, question[:MAX_QUESTION], rerank and self.has_reranker, fusion
        )
        try:
            found, pages = find_pages()
        except store.DamagedError as error:
            # An index that is updated elsewhere deletes the version at hand some time later.
            log.warning("%s: its newest version is opened", error)
            self._refresh()
            found, pages = find_pages()
        names = uploads.read_names(self._root / uploads.FOLDER)
        results = [
            self._result(rank, hit.score, page, names)
            for rank, (hit, page) in enumerate(zip(found.hits, pages, strict=True), 1)
        ]
        return Answer(results, found.answered, perf_counter() - started)

    def _find(
        self, question: str, rerank: bool, fusion: bool
    ) -> tuple[Found, list[dict[str, Any]]]:
        """What a search finds, and the pages with their thumbnails."""
        view = self._view
        with self._turn:
            found = find(question, self._models, view, TOP, rerank=rerank, fusion=fusion)
            return found, view.pages([hit.key for hit in found.hits], ["thumbnail"])

    def _result(
        self, rank: int, score: float, page: Mapping[str, Any], names: Mapping[str, str]
    ) -> Result:
        """A page that was found, as it is shown; `names` are those of uploads, by path."""
        document, number = page["document"] or page["page_id"], page["page_number"]
        if page.get(ADDED):
            document = names.get(page["path"], page["path"])
        # An image that is a file of its own is page 1 of nothing.
        alone = page["document"] == page["path"] and page["rows"] == 1 and not is_pdf(page["path"])
        thumbnail = page["thumbnail"]
        return Result(rank, score, document, None if alone else number, thumbnail, page)

    def enlarge(self, page: Mapping[str, Any]) -> bytes:
        """The image of a page that was found, as a JPEG file to read.

        Raises:
            InputError: its file is gone or broken since it was indexed, or in an unknown folder.
        """
        if self.folder is None and not page.get(ADDED):
            raise InputError(
                "a page is enlarged from its file, and only the index is known: "
                "start with --pages FOLDER"
            )
        try:
            with self._turn:
                return jpeg(self._view.open_page(page, LARGE))
        except (pixels.BadImageError, InputError, OSError, IndexError) as error:
            raise InputError(f"this page cannot be shown any more: {error}") from error


def example_questions(folder: Path) -> list[str]:
    """Short questions of a corpus, of as many documents; [] for another folder."""
    if not (folder / PAGES).is_file() or not (folder / QUERIES).is_file():
        return []
    texts = [text for text in Corpus(folder).queries["text"] if len(text) <= EXAMPLE_LENGTH]
    # Those of one document stand together.
    return list(dict.fromkeys(texts[:: max(1, len(texts) // EXAMPLES)]))[:EXAMPLES]


@lru_cache(maxsize=1)
def open_desk(options: Options) -> Desk:
    """The desk of this process, opened once; see `Desk`."""
    return Desk(options)
