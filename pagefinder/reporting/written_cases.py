"""Written questions to look at, each with its page, its answer and the verdict of every filter."""

import base64
import io
from typing import Any

import pandas as pd
from PIL import Image

from pagefinder.reporting.gallery import Case, ShownPage, Thumbnail

KIND = "written"


def sheet(rows: pd.DataFrame) -> tuple[list[Case], dict[str, Thumbnail]]:
    """A case for each question of data/written/sheet.parquet, and the pictures of their pages."""
    cases, pictures = [], {}
    for record in rows.to_dict("records"):
        # What is missing is None or NaN, as the column's type has it.
        row = {str(n): None if isinstance(v, float) else v for n, v in record.items()}
        name = f"written {row['page']}"
        if row["picture"] is not None:
            pictures[name] = _thumbnail(row["picture"], str(row["page"]))
        pages = [("page", [ShownPage(name, _mark(row["dropped_by"]), "")])]
        cases.append(Case(KIND, str(row["text"]), _fate(row["dropped_by"]), pages, _notes(row)))
    return cases, pictures


def _mark(dropped_by: str | None) -> str:
    """How the page is framed."""
    return "kept" if dropped_by is None else "dropped"


def _fate(dropped_by: str | None) -> str:
    """What became of a question."""
    return "Kept." if dropped_by is None else f"Dropped by {dropped_by.replace('_', ' ')}."


def _notes(row: dict[str, Any]) -> tuple[str, ...]:
    """The lines below a question: kind and language, answer, its proof, verdicts."""
    verdicts = dict(row["verdicts"])
    said = "; ".join(f"{name.replace('_', ' ')}: {verdict}" for name, verdict in verdicts.items())
    evidence = f" Proof: {row['evidence']}" if row["evidence"] else ""
    kind = str(row["kind"]).replace("_", " ")
    return (
        f"Kind: {kind}. Language: {row['language']}.",
        f"Answer: {row['answer']}.{evidence}",
        f"Filters: {said or 'none looked at it'}.",
    )


def _thumbnail(picture: bytes, page: str) -> Thumbnail:
    """The picture of a page as the gallery shows it."""
    width, height = Image.open(io.BytesIO(picture)).size
    uri = f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
    return Thumbnail(uri, width, height, page)
