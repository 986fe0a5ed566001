"""Turn pages into rows of an index with the embedder of a release, opened once."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
from PIL import Image

from pagefinder.data.corpus import PageInput, page_input
from pagefinder.errors import InputError
from pagefinder.indexing.reading import Page, Reading
from pagefinder.indexing.schema import page_schema
from pagefinder.params import Pixels
from pagefinder.release.folders import page_content
from pagefinder.release.fusion import FUSION, Fusion
from pagefinder.runtime import imports
from pagefinder.sources import storing

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Model = TypeVar("Model")

BATCH = 8
# For models whose processor names no budget and resizes by itself: it only bounds memory.
ANY_SIZE = Pixels(min=1, max=1_000_000, multiple=1)


class Encoder:
    """The embedder of a release: every engine makes rows with it, so their vectors are the same.

    Attributes:
        model: The embedder.
        model_hash: Of its files.
        page_content: What a page gives it.
        schema: Of its rows.
        reading: What the index needs of a page.
    """

    def __init__(self, models: Path, *, ocr: bool = True) -> None:
        """Open the embedder of a release.

        Args:
            models: Folder with `embedder` and fusion.json, as `export` writes it.
            ocr: Read the text of pages that come without one, where the release reads text.
        """
        self.model = open_embedder(models / "embedder")
        self.model_hash = model_hash(models / "embedder")
        self.page_content = page_content(models / "embedder")
        dimension = int(self.model.get_embedding_dimension() or 0)
        self.schema = page_schema(dimension, self.model_hash)
        self.reading = Reading(
            pixel_budget(self.model), self.page_content, ocr and reads_text(models)
        )

    def rows(self, pages: Sequence[Page]) -> pa.Table:
        """The rows of pages of one chunk, in their order.

        A page that cannot be encoded is a row with a problem and without a vector. A chunk must be
        given whole: the bits of a vector depend on the batch that it is computed in.
        """
        problems = [page.problem or self._problem(page) for page in pages]
        unknown = [
            page
            for page, problem in zip(pages, problems, strict=True)
            if problem is None and page.vector is None
        ]
        vectors = iter(encode(self.model, [self._input(page) for page in unknown]))
        rows = []
        for page, problem in zip(pages, problems, strict=True):
            vector = None
            if problem is None:
                vector = next(vectors) if page.vector is None else page.vector
                if not np.isfinite(vector).all():  # it would make every search fail
                    vector, problem = None, "the model gives it a vector that is not finite"
            rows.append(self._row(page, problem, vector))
        return pa.Table.from_pylist(rows, schema=self.schema)

    def _input(self, page: Page) -> PageInput:
        """A page as the model takes it."""

        def image(_: int) -> Image.Image:
            assert page.image is not None, page.page_id
            return page.image

        return page_input(self.page_content, image, lambda _: page.text, page.row)

    def _problem(self, page: Page) -> str | None:
        """Why a page that was read cannot be encoded."""
        if self.page_content == "text" and not page.text.strip():
            return "it has no text, which is all the model reads"
        return None

    def _row(self, page: Page, problem: str | None, vector: np.ndarray | None) -> dict[str, Any]:
        file = page.chunk.file
        return {
            "page_id": page.page_id,
            "document": page.document,
            "page_number": page.number,
            "path": file.path,
            "row": page.row,
            "rows": page.chunk.total,
            "file_hash": page.chunk.file_hash,
            "size": file.size,
            "modified": file.modified,
            "model_hash": self.model_hash,
            "text": page.text,
            "text_origin": page.text_origin,
            "thumbnail": page.thumbnail,
            "problem": problem,
            "vector": vector,
        }


def open_embedder(folder: Path) -> "SentenceTransformer":
    """The embedder in a release's folder; in float32 where there is no GPU."""
    # Imported only here: it takes seconds, and a wrong argument should be named at once.
    with imports.fast():
        from sentence_transformers import SentenceTransformer

    return open_model(SentenceTransformer, folder)


def open_model(kind: Callable[..., Model], folder: Path) -> Model:
    """A model of a release; in float32 where there is no GPU.

    Args:
        kind: SentenceTransformer or CrossEncoder.
        folder: Of the model.

    Raises:
        InputError: it does not open.
    """
    import torch
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    keywords = {} if torch.cuda.is_available() else {"model_kwargs": {"dtype": torch.float32}}
    try:
        return kind(str(folder), **keywords)
    except Exception as error:  # OSError, ValueError, KeyError, SafetensorError and others
        words = " ".join(str(error).split())[:200]
        raise InputError(
            f"the model in {folder} does not open ({words}): run `dvc repro -f -s export`, or name "
            "another release by --models"
        ) from error


def model_hash(folder: Path) -> str:
    """The hash of a model's files, 20 hex digits; of its cards, which change no vector, none."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".md":
            digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
            digest.update(f"{storing.file_digest(path)}\n".encode())
    return digest.hexdigest()[:20]


def reads_text(models: Path) -> bool:
    """Whether a release reads the text of pages: its embedder, its reranker or BM25."""
    contents = [page_content(models / name) for name in ("embedder", "reranker")]
    return any(content != "image" for content in contents) or Fusion.read(models / FUSION).bm25 > 0


def pixel_budget(model: "SentenceTransformer") -> Pixels:
    """The pixel budget that the model's own processor applies; ANY_SIZE where it names none."""
    processor: Any = getattr(getattr(model[0], "processor", None), "image_processor", None)
    try:
        size, multiple = processor.size, processor.patch_size * processor.merge_size
        # Processors that merge patches keep areas, in pixels, under the names of edges.
        return Pixels(min=size["shortest_edge"], max=size["longest_edge"], multiple=multiple)
    except (AttributeError, TypeError, KeyError, ValueError):
        return ANY_SIZE


def encode(model: "SentenceTransformer", pages: Sequence[PageInput]) -> np.ndarray:
    """Vectors of pages at the model's dimension, float32 [n, dimension], unit length."""
    if not pages:
        return np.empty((0, 0), np.float32)
    vectors = model.encode_document(
        list(pages), batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False
    )
    return np.asarray(vectors, np.float32)
