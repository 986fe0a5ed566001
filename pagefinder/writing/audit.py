"""A sheet of written questions with their pages and verdicts, for a person to judge."""

import io

import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image

from pagefinder.writing.client import Pictures
from pagefinder.writing.written import WRITTEN_SCHEMA

SHEET = "sheet.parquet"
QUESTIONS = 30
# Of a picture in the sheet: print of a page of A4 is just read at this size.
SIDE, QUALITY = 800, 50
SHEET_SCHEMA = WRITTEN_SCHEMA.append(pa.field("picture", pa.binary()))  # JPEG; null: unreadable


def sheet(rows: pd.DataFrame, pictures: Pictures, seed: int) -> pd.DataFrame:
    """QUESTIONS of the written questions drawn by seed, dropped ones among them, in their order.

    Args:
        rows: All written questions, as WRITTEN_SCHEMA.
        pictures: Of their pages.
        seed: Of the draw.

    Returns:
        Rows of SHEET_SCHEMA.
    """
    drawn = np.sort(np.random.default_rng(seed).permutation(len(rows))[:QUESTIONS])
    chosen = rows.iloc[drawn].reset_index(drop=True)
    pictures.make(set(chosen["page"]))
    small = {page: _small(pictures.png(page)) for page in chosen["page"].unique()}
    column = pd.Series([small[page] for page in chosen["page"]], chosen.index, dtype=object)
    return chosen.assign(picture=column)


def _small(png: bytes | None) -> bytes | None:
    """The picture of a page as a JPEG file of at most SIDE pixels a side."""
    if png is None:
        return None
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()
