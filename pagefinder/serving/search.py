"""Find the best pages for a query with the released models, over an index of pages."""

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pagefinder.data import pixels
from pagefinder.data.corpus import PAGES, PageInput, page_input
from pagefinder.errors import InputError
from pagefinder.indexing import schema, store
from pagefinder.indexing.encoder import Encoder, open_model
from pagefinder.indexing.files import list_files
from pagefinder.indexing.updating import bring_up_to_date
from pagefinder.layout import CORPUS
from pagefinder.params import PageContent
from pagefinder.release.folders import page_content
from pagefinder.release.fusion import FUSION, NO_FUSION, Fusion
from pagefinder.retrieval.runs import DEPTH
from pagefinder.serving.fusion import fuse_two, is_answered, with_zeros
from pagefinder.serving.joined import Searched
from pagefinder.serving.view import View, open_view

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

log = logging.getLogger(__name__)

NO_ANSWER = "no page answers this, as far as the scores tell; the nearest pages are:"


@dataclass(frozen=True)
class Models:
    """The models of a release, opened once.

    Attributes:
        encoder: The embedder.
        reranker: None where the release has none, or it was not asked for.
        reranker_content: What a page gives the reranker.
        fusion: How their scores are put together.
    """

    encoder: Encoder
    reranker: "CrossEncoder | None"
    reranker_content: PageContent
    fusion: Fusion


@dataclass(frozen=True)
class Hit:
    """A page that was found: its score, its key in the view, and its row of `view.COLUMNS`."""

    score: float
    key: int
    page: Mapping[str, Any]

    @property
    def label(self) -> str:
        """What the page is called."""
        return schema.label(self.page)


@dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        hits: The best pages, best first.
        answered: Whether any page answers the question, as far as the scores tell.
    """

    hits: list[Hit]
    answered: bool


def open_models(models: Path, *, rerank: bool, ocr: bool = True) -> Models:
    """Open the models of a release.

    Args:
        models: Folder with `embedder`, `reranker` and fusion.json, as `export` writes it.
        rerank: Whether the reranker is needed.
        ocr: Read the text of pages that come without one, where the release reads text.

    Raises:
        InputError: a model is not there.
    """
    check_models(models, rerank=rerank)
    fusion = Fusion.read(models / FUSION)
    encoder, reranker = Encoder(models, ocr=ocr), None
    if rerank:
        # Imported only here: it takes seconds, and a wrong argument should be named at once.
        from sentence_transformers import CrossEncoder

        reranker = open_model(CrossEncoder, models / "reranker")
    return Models(encoder, reranker, page_content(models / "reranker"), fusion)


def check_models(models: Path, *, rerank: bool) -> None:
    """Raise an InputError unless a release is there, and with it the reranker if it is needed."""
    if not (models / "embedder").is_dir():
        raise InputError(f"{models / 'embedder'} is not there: run `make repro`, or name --models")
    if rerank and not (models / "reranker").is_dir():
        raise InputError(
            f"{models / 'reranker'} is not there: leave out --rerank, or run the pipeline with a "
            "reranker.model"
        )


def pages_folder(folder: Path | None, root: Path, place: str | None = None) -> Path | None:
    """The folder to search, None standing for the corpus of the last run.

    Without a folder an index that a `place` names is searched as it is, if it holds pages: to bring
    it up to date with that corpus would remove those of others. Then it is None.

    Raises:
        InputError: there is none, or no page in it; or the index is damaged.
    """
    if folder is None and place and _holds_pages(place):
        log.info("%s is searched as it is: --pages FOLDER brings it up to date first", place)
        return None
    if folder is None:
        folder = root / CORPUS
        if not (folder / PAGES).is_file():
            raise InputError(
                f"{folder} holds no corpus: run `make repro`, or name a folder by --pages"
            )
    list_files(folder, silent=True)
    return folder


def current_view(
    encoder: Encoder,
    folder: Path | None,
    root: Path,
    place: str | None = None,
    *,
    rebuild: bool = False,
) -> View:
    """The index of a folder, brought up to date, for search.

    Where another process is writing to it, what that has committed is searched. So is an index that
    this user may not write.

    Args:
        encoder: Of the model that will ask.
        folder: Images and PDFs, or a corpus; None: the index at `place` is searched as it is.
        root: The project's folder.
        place: Of the index; None: the default one, see `store.default_place`.
        rebuild: See `updating.bring_up_to_date`.

    Raises:
        InputError: no page can be read; or the index is another model's, or damaged.
    """
    if folder is None:
        assert place is not None
        with _mend_named(place):
            return open_view(place, root / CORPUS, encoder.schema)
    bring = partial(bring_up_to_date, folder, encoder, root, place, rebuild=rebuild)
    place = place or store.default_place(folder, root)
    try:
        summary = bring(wait=False)
        if summary is None and not _has_pages(place):
            summary = bring(wait=True)
    except store.UnwritableError as error:
        if not _has_pages(place):
            raise
        log.warning("%s; it is searched as it is", error)
        summary = None
    if summary and summary.encoded:
        log.info("%s: %s", place, summary)
        store.log_problems(place)
    view = open_view(place, folder, encoder.schema)
    if not view.count():
        if summary and not summary.encoded:
            store.log_problems(place)
        raise InputError("no page could be read: each is named above with its reason")
    return view


def _holds_pages(place: str) -> bool:
    """Whether there is an index with pages; one that cannot be read is named with its mend."""
    with _mend_named(place):
        return _has_pages(place)


@contextlib.contextmanager
def _mend_named(place: str) -> Iterator[None]:
    """Say what to do about an index that cannot be searched as it is."""
    try:
        yield
    except (store.OtherModelError, store.DamagedError) as error:
        raise InputError(f"{error}: {store.mend(place)}") from error


def _has_pages(place: str) -> bool:
    """Whether there is an index with rows."""
    table = store.open_table(place)
    with store.damage(place):
        return table is not None and table.count_rows() > 0


def find(
    query: str,
    models: Models,
    view: Searched,
    top: int,
    *,
    rerank: bool = False,
    fusion: bool = True,
) -> Found:
    """The `top` best pages for a query, best first, and whether any of them answers it.

    Args:
        query: The question.
        models: With a reranker where `rerank`.
        view: What is searched.
        top: Number of pages to return; a fused list has at most DEPTH.
        rerank: Let the reranker reorder the first pages.
        fusion: Fuse the embedder with BM25 where pages have text, and both with the reranker, by
            the weights of the release. Without it the score is the embedder's cosine or, with
            `rerank`, the reranker's.
    """
    settings = models.fusion
    if not fusion:
        settings = replace(NO_FUSION, answers=settings.answers)
    vector = models.encoder.model.encode_query(
        query, normalize_embeddings=True, show_progress_bar=False
    )
    deepest = max(top, settings.pages) if rerank else top
    cosines = view.nearest(np.asarray(vector, np.float32), max(deepest, DEPTH))
    words: dict[int, float] = {}
    if settings.bm25 and view.has_words():
        words = with_zeros(view.with_words(query, DEPTH), cosines)
    best = fuse_two(cosines, words, settings.bm25) if words else cosines
    first, best = next(iter(best)), dict(islice(best.items(), deepest))
    logits: list[float] = []
    if rerank:
        best, logits = _rerank(query, models, view, best, settings.reranker)
    best = dict(islice(best.items(), top))
    pages = view.pages(list(best))
    hits = [Hit(score, key, page) for (key, score), page in zip(best.items(), pages, strict=True)]
    return Found(hits, is_answered(settings, first, cosines, words, logits))


def _rerank(
    query: str, models: Models, view: Searched, best: Mapping[int, float], weight: float
) -> tuple[dict[int, float], list[float]]:
    """Scores by key once the reranker, which has a weight, has read the pages; and its logits.

    At weight 1 the scores are the reranker's. A page whose file is gone or broken since it was
    indexed is left out.
    """
    assert models.reranker is not None
    inputs: dict[int, PageInput] = {}
    for key, page in zip(best, view.pages(list(best), ["text"]), strict=True):
        try:
            inputs[key] = _input(models, view, page)
        except pixels.BadImageError as error:
            log.warning("%s is left out: %s", schema.label(page), error)
    keys = list(inputs)
    if not keys:
        return {}, []
    # Weights and the rule of answers are about logits.
    ranking = models.reranker.rank(
        query, list(inputs.values()), activation_fn=lambda logits: logits
    )
    # corpus_id is the position in the list given to rank.
    by_logit = {keys[int(at["corpus_id"])]: float(at["score"]) for at in ranking}
    logits = list(by_logit.values())
    if weight == 1:
        scores = _activated(models.reranker, logits)
        return dict(zip(by_logit, scores, strict=True)), logits
    return fuse_two({key: best[key] for key in keys}, by_logit, weight), logits


def _activated(reranker: "CrossEncoder", logits: Sequence[float]) -> list[float]:
    """The scores that a reranker gives plainly, from its logits."""
    import torch

    scores: list[float] = reranker.activation_fn(torch.tensor(logits)).tolist()
    return scores


def _input(models: Models, view: Searched, page: Mapping[str, Any]) -> PageInput:
    """A page as the reranker takes it."""
    budget = models.encoder.reading.budget
    return page_input(
        models.reranker_content,
        lambda _: view.open_page(page, budget),
        lambda _: str(page["text"]),
        page["row"],
    )
