"""Find the best pages for a query with the released models.

The vectors of a folder of images and PDFs are kept under .work/index, so that only the first search
waits for them.
"""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from pagefinder.data import pixels
from pagefinder.data.corpus import PageInput
from pagefinder.errors import InputError
from pagefinder.layout import CORPUS, TUNED_VECTORS
from pagefinder.params import Pixels
from pagefinder.release.folders import page_content
from pagefinder.release.fusion import FUSION, NO_FUSION, Fusion
from pagefinder.retrieval.runs import DEPTH
from pagefinder.retrieval.vectors import cut
from pagefinder.runtime import outputs
from pagefinder.runtime.scratch import file_states
from pagefinder.serving.fusion import bm25_scores, fuse_two, indexed_texts, is_answered
from pagefinder.serving.pages import Pages, corpus_pages, folder_pages, list_folder

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, SentenceTransformer

log = logging.getLogger(__name__)

NO_ANSWER = "no page answers this, as far as the scores tell; the nearest pages are:"
CHUNK = 64  # pages decoded at a time
# For models whose processor names no budget and resizes by itself: it only bounds memory.
ANY_SIZE = Pixels(min=1, max=1_000_000, multiple=1)


def search(
    query: str,
    models: Path,
    folder: Path | None,
    top: int,
    *,
    rerank: bool,
    fusion: bool = True,
    root: Path = Path(),
) -> list[tuple[float, str]]:
    """The score and label of the `top` best pages for a query, best first.

    Args:
        query: The question.
        models: Folder with `embedder`, `reranker` and fusion.json, as `export` writes it.
        folder: Images and PDFs to search; None: the corpus of the last run.
        top: Number of pages to return; a fused list has at most DEPTH.
        rerank: Let the reranker reorder the first pages.
        fusion: Fuse the embedder with BM25 where pages have text, and both with the reranker, by
            the weights of fusion.json. Without it, or without that file, the score is the
            embedder's cosine or, with `rerank`, the reranker's.
        root: The project's folder.

    Raises:
        InputError: models or pages are not there.
    """
    if not (models / "embedder").is_dir():
        raise InputError(f"{models / 'embedder'} is not there: run `make repro`, or name --models")
    if rerank and not (models / "reranker").is_dir():
        raise InputError(
            f"{models / 'reranker'} is not there: leave out --rerank, or run the pipeline with a "
            "reranker.model"
        )
    settings = Fusion.read(models / FUSION)
    if not fusion:
        settings = replace(NO_FUSION, answers=settings.answers)
    # List the folder first: a wrong path fails before the slow opening of the models.
    listing = list_folder(folder) if folder else []
    embedder, reranker = _open_models(models, rerank)
    if folder:
        pages, index = folder_pages(folder, listing, pixel_budget(embedder)), None
    else:
        pages = corpus_pages(root / CORPUS)
    pages = replace(pages, page_content=page_content(models / "embedder"))
    if not folder:
        index = vectors_of_run(embedder, pages, root / TUNED_VECTORS / "pages.npy")
    vectors, rows = index or indexed_vectors(embedder, models / "embedder", pages, root)
    vector = embedder.encode_query(query, normalize_embeddings=True, show_progress_bar=False)
    scores = vectors @ np.asarray(vector, np.float32)
    deepest = max(top, settings.pages) if rerank else top
    nearest = np.argsort(-scores, kind="stable")[: max(deepest, DEPTH)].tolist()
    best = {place: float(scores[place]) for place in nearest}
    cosines, bm25, logits = best, dict[int, float](), list[float]()
    if settings.bm25:
        texts = indexed_texts(pages, rows, root) if folder else list(map(pages.text, rows))
        bm25 = bm25_scores(query, texts)
        best = fuse_two(cosines, bm25, settings.bm25) if bm25 else cosines
    first, best = next(iter(best)), dict(islice(best.items(), deepest))
    if reranker is not None:
        pages = replace(pages, page_content=page_content(models / "reranker"))
        inputs = [pages.input(rows[place]) for place in best]
        best, logits = _rerank(reranker, query, inputs, best, settings.reranker)
    if not is_answered(settings, first, cosines, bm25, logits):
        log.warning(NO_ANSWER)
    return [(score, pages.labels[rows[place]]) for place, score in islice(best.items(), top)]


def _rerank(
    reranker: "CrossEncoder",
    query: str,
    inputs: Sequence[PageInput],
    best: Mapping[int, float],
    weight: float,
) -> tuple[dict[int, float], list[float]]:
    """Scores by place once the reranker, which has a weight, has read the pages; and its logits.

    `inputs` are the pages of `best`, in its order. At weight 1 the scores are the reranker's.
    """
    # Weights and the rule of answers are about logits.
    ranking = reranker.rank(query, inputs, activation_fn=lambda logits: logits)
    by_logit = _reranked(ranking, list(best))
    logits = list(by_logit.values())
    if weight == 1:
        return dict(zip(by_logit, _activated(reranker, logits), strict=True)), logits
    return fuse_two(best, by_logit, weight), logits


def _reranked(ranking: Sequence[Mapping[str, Any]], places: Sequence[int]) -> dict[int, float]:
    """The scores of a cross-encoder's `rank`, by the place of each page, best first."""
    # corpus_id is the position in the list given to rank.
    return {places[int(at["corpus_id"])]: float(at["score"]) for at in ranking}


def _activated(reranker: "CrossEncoder", logits: Sequence[float]) -> list[float]:
    """The scores that a reranker gives plainly, from its logits."""
    import torch

    scores: list[float] = reranker.activation_fn(torch.tensor(logits)).tolist()
    return scores


def _open_models(models: Path, rerank: bool) -> "tuple[SentenceTransformer, CrossEncoder | None]":
    """The embedder and, with `rerank`, the reranker; in float32 where there is no GPU."""
    # Imported only here: it takes seconds, and a wrong argument should be named at once.
    import torch
    from sentence_transformers import CrossEncoder, SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    keywords = {} if torch.cuda.is_available() else {"model_kwargs": {"dtype": torch.float32}}
    embedder = SentenceTransformer(str(models / "embedder"), **keywords)
    return embedder, CrossEncoder(str(models / "reranker"), **keywords) if rerank else None


def pixel_budget(model: "SentenceTransformer") -> Pixels:
    """The pixel budget that the model's own processor applies; ANY_SIZE where it names none."""
    processor: Any = getattr(getattr(model[0], "processor", None), "image_processor", None)
    try:
        size, multiple = processor.size, processor.patch_size * processor.merge_size
        # Processors that merge patches keep areas, in pixels, under the names of edges.
        return Pixels(min=size["shortest_edge"], max=size["longest_edge"], multiple=multiple)
    except (AttributeError, TypeError, KeyError, ValueError):
        return ANY_SIZE


def vectors_of_run(
    model: "SentenceTransformer", pages: Pages, path: Path
) -> tuple[np.ndarray, list[int]] | None:
    """The last run's vectors in `path`; None where the file is missing or of another model.

    Whether `model` made them is tested on the first, the middle and the last page.

    Returns:
        float32 [n, dimension], unit length, and the row in `pages` of each.
    """
    if not path.is_file():
        return None
    vectors = np.load(path, mmap_mode="r")
    count = len(pages.labels)
    dimension = int(model.get_embedding_dimension() or vectors.shape[1])
    if len(vectors) != count or dimension > vectors.shape[1]:
        return None
    vectors = cut(np.asarray(vectors), dimension)
    sample = sorted({0, count // 2, count - 1})
    cosines = (encode(model, [pages.input(row) for row in sample]) * vectors[sample]).sum(axis=1)
    return (vectors, list(range(count))) if cosines.min() > 0.999 else None


def indexed_vectors(
    model: "SentenceTransformer", model_folder: Path, pages: Pages, root: Path
) -> tuple[np.ndarray, list[int]]:
    """Vectors of all readable pages, kept on disk.

    They are encoded again only when the model's files or the pages change.

    Returns:
        float32 [n, dimension], unit length, and the row in `pages` of each.

    Raises:
        InputError: no page can be read.
    """
    model_state = file_states(sorted(path for path in model_folder.rglob("*") if path.is_file()))
    key = hashlib.blake2b(repr((model_state, pages.state)).encode(), digest_size=10).hexdigest()
    folder = root / outputs.WORK / "index" / key
    if not folder.is_dir():
        vectors, rows = _encode_all(model, pages)
        with outputs.output(folder, root) as scratch:
            scratch.mkdir()
            np.save(scratch / "vectors.npy", vectors)
            (scratch / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    rows = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    return np.load(folder / "vectors.npy"), rows


def _encode_all(model: "SentenceTransformer", pages: Pages) -> tuple[np.ndarray, list[int]]:
    """Vectors and row numbers of the pages that can be read; a warning names each other page."""
    parts, rows = [], []
    with tqdm(total=len(pages.labels), desc="indexing", unit="page", disable=None) as progress:
        for start in range(0, len(pages.labels), CHUNK):
            chunk = range(start, min(start + CHUNK, len(pages.labels)))
            inputs = []
            for row in chunk:
                try:
                    page = pages.input(row)
                    if page == "":
                        raise pixels.BadImageError("it has no text, which is all the model reads")
                    inputs.append(page)
                    rows.append(row)
                except pixels.BadImageError as error:
                    log.warning("%s is passed over: %s", pages.labels[row], error)
            if inputs:
                parts.append(encode(model, inputs))
            progress.update(len(chunk))
    if not parts:
        raise InputError("no page could be read: each is named above with its reason")
    return np.concatenate(parts), rows


def encode(model: "SentenceTransformer", pages: Sequence[PageInput]) -> np.ndarray:
    """Vectors of pages at the model's truncate_dim, float32 [n, dimension], unit length."""
    vectors = model.encode_document(
        list(pages), batch_size=8, normalize_embeddings=True, show_progress_bar=False
    )
    return np.asarray(vectors, np.float32)
