"""Pages to look at: where the models win and lose, and the negatives they learned from."""

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from PIL import Image

from pagefinder.data.corpus import Corpus
from pagefinder.reporting.inputs import Inputs
from pagefinder.reporting.words import change

SHOWN = 15  # queries per kind of gain or loss
BEST = 5  # pages of each system shown for a query
SYSTEMS = ("base", "tuned", "reranked")
# What to say of a kind that no query is of.
ABSENT = {
    "tuning gains": "Tuning moved no right page up.",
    "tuning loses": "Tuning moved no right page down.",
    "reranking gains": "Reranking moved no right page up.",
    "reranking loses": "Reranking moved no right page down.",
}
# Longest side in pixels and JPEG quality, tried in turn until the thumbnails fit.
SIZES = ((320, 70), (256, 60), (200, 55), (160, 50), (128, 45), (96, 40))
BUDGET = 2_800_000  # bytes of all thumbnails; base64 makes it a third more


@dataclass(frozen=True)
class Shown:
    """A page in a row: `mark` is right, wrong or a role; `note` stands below it."""

    page_id: str
    mark: str
    note: str


@dataclass(frozen=True)
class Case:
    """A query with rows of pages: (label, pages)."""

    kind: str
    text: str
    detail: str
    rows: list[tuple[str, list[Shown]]]


@dataclass(frozen=True)
class Thumbnail:
    """A page as a data URI, with its size in pixels and what it is for those who cannot see it."""

    uri: str
    width: int
    height: int
    label: str


def cases(inputs: Inputs) -> list[Case]:
    """The queries whose ranking changed most: by tuning, then by reranking."""
    queries = inputs.queries
    if queries.empty:
        return []
    depth = inputs.params.reranker.compared_depth
    first, second = inputs.ranked("reranker/embedder"), inputs.ranked("reranker/tuned")
    runs = {
        "base": inputs.ranked("embedder/base"),
        "tuned": inputs.ranked("embedder/tuned"),
        "reranked": at_depth(first, second, depth),
    }
    pairs = [("base", "tuned", "tuning gains", "tuning loses")]
    if "reranked.rank" in queries:
        pairs.append(("tuned", "reranked", "reranking gains", "reranking loses"))
    right = inputs.corpus.positives("eval")
    result = []
    for before, after, gains, losses in pairs:
        rows = changes(queries, before, after)
        for kind, part in (
            (gains, rows[rows["difference"] > 0].head(SHOWN)),
            (losses, rows[rows["difference"] < 0].iloc[::-1].head(SHOWN)),
        ):
            result += [
                _case(kind, str(query), queries.loc[query], right[str(query)], runs)
                for query in part.index
            ]
    return result


def absent(inputs: Inputs, cases: list[Case]) -> list[str]:
    """What is not among the cases because no query is of that kind, in sentences."""
    kinds = list(ABSENT)[: 4 if "reranked.rank" in inputs.queries else 2]
    return [ABSENT[kind] for kind in kinds if kind not in {case.kind for case in cases}]


def at_depth(
    first: Mapping[str, list[str]], second: Mapping[str, list[str]], depth: int
) -> dict[str, list[str]]:
    """What reranking only the first stage's `depth` first pages gives, from a deeper reranking."""
    result = {}
    for query, pages in second.items():
        known = first.get(query, pages)
        inside = set(known[:depth])
        result[query] = [page for page in pages if page in inside] + known[depth:]
    return result


def changes(queries: pd.DataFrame, before: str, after: str) -> pd.DataFrame:
    """Queries by gain in NDCG@10 and, where that ties, by ranks won; the greatest gain first."""
    ranks = {name: queries[f"{name}.rank"].replace(0, 10**6) for name in (before, after)}
    table = pd.DataFrame(
        {
            "difference": (queries[f"{after}.ndcg@10"] - queries[f"{before}.ndcg@10"]).round(9),
            "won": ranks[before] - ranks[after],
            "query": queries.index.astype(str),
        },
        index=queries.index,
    )
    return table.sort_values(["difference", "won", "query"], ascending=[False, False, True])


def _case(
    kind: str,
    query: str,
    row: pd.Series,
    right: Mapping[str, int],
    runs: Mapping[str, Mapping[str, list[str]]],
) -> Case:
    ranks = []
    rows = [("right", [Shown(page, "right", "") for page in list(right)[:2]])]
    for system in SYSTEMS:
        pages = runs[system].get(query, [])[:BEST]
        if not pages:
            continue
        rank = int(row[f"{system}.rank"])
        ranks.append(f"{system} {rank or 'none'}")
        rows.append(
            (
                system,
                [
                    Shown(page, "right" if page in right else "wrong", str(place))
                    for place, page in enumerate(pages, 1)
                ],
            )
        )
    difference = row["tuned.ndcg@10"] - row["base.ndcg@10"]
    detail = f"Rank of the right page: {', '.join(ranks)}. Tuning: {change(difference)} NDCG@10"
    if "reranked.ndcg@10" in row:
        detail += f", reranking: {change(row['reranked.ndcg@10'] - row['tuned.ndcg@10'])}"
    return Case(kind, str(row["text"]), detail + ".", rows)


def contact_sheet(inputs: Inputs) -> list[Case]:
    """The audit's sampled train queries with their positives, kept and dropped pages."""
    sheet = inputs.sheet
    if sheet.empty:
        return []
    texts = dict(zip(inputs.corpus.queries["query_id"], inputs.corpus.queries["text"], strict=True))
    result = []
    for query, part in sheet.groupby("query_id", sort=False):
        rows = []
        for role in ("positive", "kept", "dropped"):
            pages = [
                Shown(
                    str(row["page_id"]),
                    role,
                    _note(row, role),
                )
                for row in part[part["role"] == role].to_dict("records")
            ]
            if pages:
                rows.append((role, pages))
        result.append(Case("sheet", str(texts[query]), "", rows))
    return result


def _note(row: Mapping[Any, Any], role: str) -> str:
    """Score of a page in the sheet, and the rule that dropped it."""
    said = f"{row['score']:.3f}"
    return f"{said} {str(row['rule']).replace('_', ' ')}" if role == "dropped" else said


def page_ids(every: Iterable[Case]) -> list[str]:
    """All pages that are shown, each once, in the order in which they appear."""
    return list(
        dict.fromkeys(shown.page_id for case in every for _, pages in case.rows for shown in pages)
    )


def thumbnails(corpus: Corpus, wanted: list[str]) -> dict[str, Thumbnail]:
    """Every wanted page that the corpus has, as large as BUDGET allows.

    The size is settled on a sample of pages, so that each page is decoded at most twice.
    """
    rows = {page: corpus.page_row[page] for page in wanted if page in corpus.page_row}
    if not rows:
        return {}
    sample = list(rows.values())[:: max(1, len(rows) // 20)]
    images = corpus.images(sample)
    for side, quality in SIZES:
        mean = sum(len(_encode(image, side, quality)[0]) for image in images) / len(images)
        if mean * len(rows) <= BUDGET:
            break
    return {page: _thumbnail(corpus, row, side, quality) for page, row in rows.items()}


def _thumbnail(corpus: Corpus, row: int, side: int, quality: int) -> Thumbnail:
    image = corpus.image(row)
    data, kind = _encode(image, side, quality)
    about = corpus.pages.iloc[row]
    document = about["document_id"] if isinstance(about["document_id"], str) else "page"
    number = f", page {int(about['page_number'])}" if pd.notna(about["page_number"]) else ""
    uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return Thumbnail(uri, image.width, image.height, f"{document}{number} ({about['page_id']})")


def _encode(image: Image.Image, side: int, quality: int) -> tuple[bytes, str]:
    """A small JPEG, or a PNG of 32 colours where that is smaller: drawn pages have few."""
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    photo, drawn = io.BytesIO(), io.BytesIO()
    small.save(photo, "JPEG", quality=quality, optimize=True)
    palette = small.quantize(32, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    palette.save(drawn, "PNG", optimize=True)
    if drawn.tell() <= photo.tell():
        return drawn.getvalue(), "png"
    return photo.getvalue(), "jpeg"
