"""The table of an index: a row for each page of each file, readable or not."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

TABLE = "pages"
FORMAT = "1"  # of what is below; an index of another format is built anew
FORMAT_KEY, MODEL_KEY = b"pagefinder.format", b"pagefinder.model"

# text_origin: where a page's text comes from. A page without text is `unread` until OCR, which may
# be switched off or not installed, has read it.
SOURCE, OCR, UNREAD, NONE = "source", "ocr", "unread", "none"


def page_schema(dimension: int, model_hash: str) -> pa.Schema:
    """The Arrow schema of the table `pages`, for vectors of one model.

    Args:
        dimension: Of the vectors, as the release gives them.
        model_hash: Of the release's embedder, see `encoder.model_hash`.
    """
    fields = [
        pa.field("page_id", pa.string(), nullable=False),  # equal for copies of one file
        pa.field("document", pa.string()),  # the file's path; of a corpus its document_id
        pa.field("page_number", pa.int32()),  # counted from 1, as a reader does
        pa.field("path", pa.string(), nullable=False),  # of the file, relative to the folder
        pa.field("row", pa.int32(), nullable=False),  # place of the page in its file, from 0
        pa.field("rows", pa.int32(), nullable=False),  # that the file has when it is whole
        # The file as it was when it was read: SHA-256, bytes, time of change in ns.
        pa.field("file_hash", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("modified", pa.int64(), nullable=False),
        pa.field("model_hash", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),  # "" where there is none
        pa.field("text_origin", pa.string(), nullable=False),  # source | ocr | unread | none
        pa.field("thumbnail", pa.binary()),  # JPEG
        pa.field("problem", pa.string()),  # why this page has no vector
        pa.field("vector", pa.list_(pa.float32(), dimension)),  # of unit length
    ]
    return pa.schema(fields, {FORMAT_KEY: FORMAT, MODEL_KEY: model_hash})


def label(page: Mapping[str, Any]) -> str:
    """What a page, a row of the table, is called: its file, and its place in it if it has several.

    A page of a corpus is called by its document and its id.
    """
    path, number = page["path"], page["page_number"]
    if page["document"] == path:
        several = page["rows"] > 1 or path.lower().endswith(".pdf")
        return f"{path}, page {number}" if several else str(path)
    if page["document"] is None:
        return str(page["page_id"])
    place = "" if number is None else f", page {number}"
    return f"{page['document']}{place} ({page['page_id']})"
