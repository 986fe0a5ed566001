"""Search pages with the released models: `python -m pagefinder.search "query" --pages FOLDER`.

The vectors of a folder of images and PDFs are kept under .work/index, so that only the first search
waits for them; without --pages the corpus of the last run is searched.
"""

import argparse
import hashlib
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from pagefinder.data import pixels
from pagefinder.errors import InputError
from pagefinder.params import Pixels
from pagefinder.retrieval.precisions import cut
from pagefinder.runtime import outputs, running
from pagefinder.serving.pages import Pages, corpus_pages, folder_pages, listed, state_of

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, SentenceTransformer

log = logging.getLogger("pagefinder.serving.search")  # also where it runs as __main__

CHUNK = 64  # pages decoded at a time
SHORTLIST = 20  # pages reranked, where fewer are asked for
# For models whose processor names no budget: it resizes as it likes, we only keep memory flat.
ANY_SIZE = Pixels(min=1, max=1_000_000, multiple=1)


def budget_of(model: "SentenceTransformer") -> Pixels:
    """The pixel budget that the model's own processor applies."""
    processor: Any = getattr(getattr(model[0], "processor", None), "image_processor", None)
    try:
        size, multiple = processor.size, processor.patch_size * processor.merge_size
        return Pixels(min=size["shortest_edge"], max=size["longest_edge"], multiple=multiple)
    except (AttributeError, TypeError, KeyError, ValueError):
        return ANY_SIZE


def vectors_of(
    model: "SentenceTransformer", files: Path, pages: Pages, root: Path
) -> tuple[np.ndarray, list[int]]:
    """Vectors of all readable pages, encoded once per state of the model's files and the pages.

    Returns:
        float32 [n, dimension], unit length, and the row in `pages` of each.
    """
    model_state = state_of(sorted(path for path in files.rglob("*") if path.is_file()))
    key = hashlib.blake2b(repr((model_state, pages.state)).encode(), digest_size=10).hexdigest()
    folder = root / outputs.WORK / "index" / key
    if not folder.is_dir():
        vectors, rows = _encode(model, pages)
        with outputs.output(folder, root) as scratch:
            scratch.mkdir()
            np.save(scratch / "vectors.npy", vectors)
            (scratch / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    rows = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    return np.load(folder / "vectors.npy"), rows


def _encode(model: "SentenceTransformer", pages: Pages) -> tuple[np.ndarray, list[int]]:
    parts, rows = [], []
    with tqdm(total=len(pages.labels), desc="indexing", unit="page", disable=None) as progress:
        for start in range(0, len(pages.labels), CHUNK):
            chunk = range(start, min(start + CHUNK, len(pages.labels)))
            images = []
            for row in chunk:
                try:
                    images.append(pages.open(row))
                    rows.append(row)
                except pixels.BadImageError as error:
                    log.warning("%s is passed over: %s", pages.labels[row], error)
            if images:
                parts.append(encoded(model, images))
            progress.update(len(chunk))
    if not parts:
        raise InputError("no page could be read: each is named above with its reason")
    return np.concatenate(parts), rows


def encoded(model: "SentenceTransformer", images: Sequence[Image.Image]) -> np.ndarray:
    """Vectors of pages, float32 [n, dimension] of unit length, at the model's truncate_dim."""
    vectors = model.encode_document(
        list(images), batch_size=8, normalize_embeddings=True, show_progress_bar=False
    )
    return np.asarray(vectors, np.float32)


def stored_vectors(
    model: "SentenceTransformer", pages: Pages, path: Path
) -> tuple[np.ndarray, list[int]] | None:
    """The run's own vectors, where they are this model's: the pipeline has encoded its corpus.

    Whether they are is tried out on the first, the middle and the last page.
    """
    if not path.is_file():
        return None
    vectors = np.load(path, mmap_mode="r")
    count = len(pages.labels)
    dimension = int(model.get_embedding_dimension() or vectors.shape[1])
    if len(vectors) != count or dimension > vectors.shape[1]:
        return None
    short = cut(np.asarray(vectors), dimension)
    tried = sorted({0, count // 2, count - 1})
    agree = (encoded(model, [pages.open(row) for row in tried]) * short[tried]).sum(axis=1)
    return (short, list(range(count))) if agree.min() > 0.999 else None


def search(
    query: str, models: Path, folder: Path | None, top: int, *, rerank: bool, root: Path = Path()
) -> list[tuple[float, str]]:
    """The best pages for a query, best first, each with its score.

    Args:
        query: The question.
        models: Folder with `embedder` and `reranker`, as `export` writes it.
        folder: Images and PDFs to search; None: the corpus of the last run.
        top: Pages wanted.
        rerank: Order the first pages by the reranker, and give its scores.
        root: Of the project.

    Raises:
        InputError: models or pages are not there.
    """
    for name in ("embedder", "reranker") if rerank else ("embedder",):
        if not (models / name).is_dir():
            raise InputError(f"{models / name} is not there: run `make repro`, or name --models")
    # Before the models are opened, which takes seconds.
    files = listed(folder) if folder else []
    embedder, reranker = _open(models, rerank)
    if folder is None:
        pages = corpus_pages(root / "data/corpus")
        found = stored_vectors(embedder, pages, root / "data/embeddings/tuned/pages.npy")
    else:
        pages, found = folder_pages(folder, files, budget_of(embedder)), None
    vectors, rows = found or vectors_of(embedder, models / "embedder", pages, root)
    asked = embedder.encode_query(query, normalize_embeddings=True, show_progress_bar=False)
    scores = vectors @ np.asarray(asked, np.float32)
    wanted = max(top, SHORTLIST) if rerank else top
    best = np.argsort(-scores, kind="stable")[:wanted]
    if reranker is None:
        return [(float(scores[place]), pages.labels[rows[place]]) for place in best]
    ranked = reranker.rank(query, [pages.open(rows[place]) for place in best], top_k=top)
    return [(float(at["score"]), pages.labels[rows[best[at["corpus_id"]]]]) for at in ranked]


def _open(models: Path, rerank: bool) -> "tuple[SentenceTransformer, CrossEncoder | None]":
    """Both models, the second where it is wanted; in float32 where there is no GPU."""
    # Imported only here: it takes seconds, and a wrong argument should be named at once.
    import torch
    from sentence_transformers import CrossEncoder, SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    keywords = {} if torch.cuda.is_available() else {"model_kwargs": {"dtype": torch.float32}}
    embedder = SentenceTransformer(str(models / "embedder"), **keywords)
    return embedder, CrossEncoder(str(models / "reranker"), **keywords) if rerank else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, search, print."""
    parser = argparse.ArgumentParser(prog="python -m pagefinder.search", description=__doc__)
    parser.add_argument("query", help="the question")
    parser.add_argument("--pages", type=Path, help="folder of images and PDFs; default: last run's")
    parser.add_argument("--rerank", action="store_true", help="order the first pages once more")
    parser.add_argument("--top", type=int, default=10, help="pages to print (10)")
    parser.add_argument("--models", type=Path, default=Path("models/release"), help="their folder")
    given = parser.parse_args(arguments)
    running.configure_logging()
    try:
        if given.top < 1 or not given.query.strip():
            raise InputError("give a query that is not empty, and --top of at least 1")
        found = search(given.query, given.models, given.pages, given.top, rerank=given.rerank)
    except InputError as error:
        log.error("error: %s", error)
        return 1
    for rank, (score, label) in enumerate(found, 1):
        sys.stdout.write(f"{rank:3d}  {score:7.4f}  {label}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
