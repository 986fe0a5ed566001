"""The tables that every stage after `prepare` reads: pages, queries, qrels and near-duplicates.

pages.arrow is an uncompressed Arrow stream: `datasets.Dataset.from_file` and `pyarrow` map it into
memory without a copy, so memory stays flat however many pages there are, and any page is one seek
away. The small tables are Parquet.
"""

import io
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from pagefinder.data.files import write_table
from pagefinder.errors import InputError
from pagefinder.params import PageContent

log = logging.getLogger(__name__)

# A page as a model takes it: its image, its text, or both as one input {"image": ..., "text": ...}.
PageInput = Image.Image | str | dict[str, Any]

PAGES, QUERIES, QRELS = "pages.arrow", "queries.parquet", "qrels.parquet"
NEAR_DUPLICATES = "near_duplicates.parquet"
WRITTEN = "written.parquet"  # there only where a model wrote questions
SECTION = " § "  # between a document and its section, in the name of what is resampled
SPLITS = ("train", "dev", "eval")
WRITTEN_PAGES = 128  # written at a time: few enough to keep memory flat

PAGE_SCHEMA = pa.schema(
    [
        pa.field("page_id", pa.string(), nullable=False),
        pa.field("document_id", pa.string()),
        pa.field("page_number", pa.int32()),  # counted from 1, as a reader does
        pa.field("section", pa.string()),  # run of pages of the document, unique in it
        pa.field("split", pa.string(), nullable=False),
        pa.field("kind", pa.string()),
        pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("pixel_hash", pa.string()),  # perceptual hash of the stored pixels, 16 hex digits
        pa.field("text", pa.string()),
        pa.field("text_origin", pa.string()),  # source | ocr: read from the page's image
    ]
)
QUERY_SCHEMA = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("origin", pa.string()),
    ]
)
QREL_SCHEMA = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("page_id", pa.string(), nullable=False),
        # 0: a negative that the source itself gives
        pa.field("relevance", pa.int32(), nullable=False),
    ]
)
# What is known of questions that a model wrote, beside their text.
WRITTEN_SCHEMA = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("answer", pa.string(), nullable=False),
        # Pages that may answer it too: no negatives.
        pa.field("possible_page_ids", pa.list_(pa.string()), nullable=False),
    ]
)
# Pages that hardly differ: neither may be mined as a negative of the other's queries.
NEAR_DUPLICATE_SCHEMA = pa.schema(
    [
        pa.field("page_id", pa.string(), nullable=False),
        pa.field("other_id", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Corpus:
    """A corpus folder, opened lazily; picklable, so loader processes open it for themselves.

    Attributes:
        folder: The tables' folder.
        page_content: What of a page a model gets: image, text or image_text, see `page_inputs`.
    """

    folder: Path
    page_content: PageContent = "image"

    @cached_property
    def table(self) -> pa.Table:
        """All columns of pages.arrow, memory-mapped."""
        with pa.memory_map(str(self.folder / PAGES)) as source:
            return pa.ipc.open_stream(source).read_all()

    @cached_property
    def pages(self) -> pd.DataFrame:
        """Pages without their pixels, in table order; the index is the row number."""
        frame: pd.DataFrame = self.table.drop_columns(["image"]).to_pandas()
        return frame

    @cached_property
    def queries(self) -> pd.DataFrame:
        """Queries in table order."""
        return pd.read_parquet(self.folder / QUERIES)

    @cached_property
    def qrels(self) -> pd.DataFrame:
        """Judgements: query_id, page_id, relevance."""
        return pd.read_parquet(self.folder / QRELS)

    @cached_property
    def near_duplicates(self) -> pd.DataFrame:
        """Pairs page_id, other_id of pages that hardly differ; each pair stands in both orders."""
        return pd.read_parquet(self.folder / NEAR_DUPLICATES)

    @cached_property
    def written(self) -> pd.DataFrame:
        """What is known of written questions (WRITTEN_SCHEMA); no rows where no model wrote any."""
        path = self.folder / WRITTEN
        table = pq.read_table(path) if path.exists() else WRITTEN_SCHEMA.empty_table()
        rows: pd.DataFrame = table.to_pandas()
        return rows

    @cached_property
    def page_row(self) -> dict[str, int]:
        """page_id -> row number of the page in `pages`."""
        return {page_id: row for row, page_id in enumerate(self.pages["page_id"])}

    @cached_property
    def query_row(self) -> dict[str, int]:
        """query_id -> row number of the query in `queries`."""
        return {query_id: row for row, query_id in enumerate(self.queries["query_id"])}

    @cached_property
    def query_text(self) -> dict[str, str]:
        """query_id -> text of the query."""
        return dict(zip(self.queries["query_id"], self.queries["text"], strict=True))

    def page_rows(self, split: str) -> np.ndarray:
        """Row numbers of the pages of a split."""
        return np.flatnonzero((self.pages["split"] == split).to_numpy())

    def query_rows(self, split: str) -> np.ndarray:
        """Row numbers of the queries of a split."""
        return np.flatnonzero((self.queries["split"] == split).to_numpy())

    def positives(self, split: str) -> dict[str, dict[str, int]]:
        """query_id -> {page_id: relevance > 0} for the queries of a split, in table order."""
        query_ids = self.queries.loc[self.queries["split"] == split, ["query_id"]]
        rows = query_ids.merge(self.qrels[self.qrels["relevance"] > 0], on="query_id")
        positives: dict[str, dict[str, int]] = {}
        for query_id, page_id, relevance in rows.itertuples(index=False):
            positives.setdefault(query_id, {})[page_id] = int(relevance)
        return positives

    def image(self, row: int) -> Image.Image:
        """The page of a row as an RGB image, as `prepare` stored it: scaled to the pixel budget.

        Raises:
            InputError: the stored image cannot be read; it was damaged after `prepare`.
        """
        try:
            image = Image.open(io.BytesIO(self.image_bytes(row)))
            image.load()
        except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError and more
            raise self.damaged([self.pages["page_id"][int(row)]]) from error
        return image.convert("RGB") if image.mode != "RGB" else image

    def damaged(self, page_ids: Sequence[str]) -> InputError:
        """The error to raise where the stored image of one of `page_ids` cannot be read."""
        return InputError(
            f"page {' or '.join(page_ids)} of {self.folder} no longer decodes: remove that folder "
            "and run `dvc repro` again"
        )

    def image_bytes(self, row: int) -> bytes:
        """The PNG file of the page of a row."""
        data: bytes = self.table["image"][int(row)]["bytes"].as_py()
        return data

    def images(self, rows: Sequence[int] | np.ndarray) -> list[Image.Image]:
        """The pages of several rows as RGB images, like `image`."""
        return [self.image(int(row)) for row in rows]

    def page_inputs(self, rows: Sequence[int] | np.ndarray) -> list[PageInput]:
        """The pages of several rows as inputs of a model, by `page_content`.

        They are images like those of `image`, texts, or dictionaries of both. A page without text
        has the text "".

        Raises:
            InputError: a stored image cannot be read.
        """
        return [page_input(self.page_content, self.image, self.text, int(row)) for row in rows]

    def text(self, row: int) -> str:
        """The text of the page of a row, "" where it has none."""
        text: str | None = self.table["text"][int(row)].as_py()
        return text or ""

    def check_text(self, section: str) -> None:
        """Log how many pages have no text, where `page_content` needs it.

        Args:
            section: The section of params.yaml that names the model, for the error.

        Raises:
            InputError: no page has any.
        """
        if self.page_content == "image":
            return
        lengths = pc.utf8_length(self.table["text"])
        with_text = int(pc.sum(pc.greater(lengths, 0)).as_py() or 0)
        if not with_text:
            raise InputError(
                f"{section}.page_content is {self.page_content}, but no page has text: set "
                f"prepare.ocr to auto, which reads it from the images, or {section}.page_content "
                "to image"
            )
        log.info("%d of %d pages have text", with_text, len(self.table))

    def blank_image(self, row: int) -> Image.Image:
        """A black image of the size of a row's page, whose pixels are not decoded."""
        return Image.new("RGB", Image.open(io.BytesIO(self.image_bytes(row))).size)

    def __getstate__(self) -> dict[str, object]:
        return {"folder": self.folder, "page_content": self.page_content}


def page_input(
    page_content: PageContent,
    image: Callable[[int], Image.Image],
    text: Callable[[int], str],
    row: int,
) -> PageInput:
    """The page of a row as a model takes it; `image` and `text` are read as far as they are needed.

    This is the one place that knows what `page_content` means.
    """
    if page_content == "image":
        return image(row)
    words = _no_path(text(row))
    return words if page_content == "text" else {"image": image(row), "text": words}


def _no_path(text: str) -> str:
    """A page's text, with a leading blank where a model could take it for an address or a path.

    Sentence Transformers opens a string that is the address or the path of a picture.
    """
    is_address = text.startswith(("http://", "https://", "data:"))
    return f" {text}" if is_address or (text and "\n" not in text) else text


def write_corpus(
    folder: Path,
    pages: Iterable[Mapping[str, object]],
    queries: Iterable[Mapping[str, object]],
    qrels: Iterable[tuple[str, str, int]],
    near_duplicates: Iterable[tuple[str, str]] = (),
) -> Corpus:
    """Write a corpus from rows and return it; columns that a page's row lacks become null.

    Args:
        folder: To write the tables to.
        pages: Rows of PAGE_SCHEMA.
        queries: Rows of QUERY_SCHEMA.
        qrels: Rows (query_id, page_id, relevance).
        near_duplicates: Pairs of page ids, each in one order; both orders are written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_stream(str(folder / PAGES), PAGE_SCHEMA) as writer:
        rows = (dict.fromkeys(PAGE_SCHEMA.names) | dict(page) for page in pages)
        while batch := list(itertools.islice(rows, WRITTEN_PAGES)):
            writer.write_table(pa.Table.from_pylist(batch, schema=PAGE_SCHEMA))
    write_table([dict(query) for query in queries], QUERY_SCHEMA, folder / QUERIES)
    both = [pair for one, other in near_duplicates for pair in ((one, other), (other, one))]
    tables = ((qrels, QREL_SCHEMA, QRELS), (both, NEAR_DUPLICATE_SCHEMA, NEAR_DUPLICATES))
    for pairs, schema, name in tables:
        records = [dict(zip(schema.names, pair, strict=True)) for pair in pairs]
        write_table(records, schema, folder / name)
    return Corpus(folder)
