"""Pages to look at: where the models win and lose, and the negatives they learned from."""

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd
from PIL import Image

from pagefinder.data.corpus import Corpus
from pagefinder.reporting.format import change
from pagefinder.reporting.inputs import Inputs, Run
from pagefinder.systems import BASE, RERANKED, TUNED

QUERIES = 15  # shown per kind of gain or loss
PAGES = 5  # of each system, shown for a query
# The systems before and after each step of the pipeline.
CHANGES = {"tuning": (BASE, TUNED), "reranking": (TUNED, RERANKED)}
# Longest side in pixels and JPEG quality, tried in turn until the thumbnails fit.
SIZES = ((320, 70), (256, 60), (200, 55), (160, 50), (128, 45), (96, 40))
BUDGET = 2_800_000  # bytes of all thumbnails; base64 makes it a third more


@dataclass(frozen=True)
class ShownPage:
    """A page in a row of the gallery, with a note below it.

    `mark` is right or wrong in a ranking, and positive, kept or dropped in the audit's sheet.
    """

    page_id: str
    mark: str
    note: str


@dataclass(frozen=True)
class Case:
    """A query with its text, a sentence of detail, labelled rows of pages, and further lines.

    `kind` is sheet, written, or a step with gains or loses, e.g. "tuning gains".
    """

    kind: str
    text: str
    detail: str
    rows: list[tuple[str, list[ShownPage]]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Thumbnail:
    """A page as a data URI, with its full size in pixels and a text that stands for the image."""

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
    first_stage = inputs.runs["reranker/first_stage"] or inputs.runs["reranker/embedder"]
    reranked = at_depth(first_stage, inputs.runs["reranker/tuned"], depth)
    runs = {
        BASE: inputs.runs["embedder/base"],
        TUNED: inputs.runs["embedder/tuned"],
        RERANKED: reranked,
    }
    positives = inputs.corpus.positives("eval")
    result = []
    for step, (before, after) in CHANGES.items():
        if f"{after}.rank" not in queries:
            continue
        rows = changes(queries, before, after)
        won = rows[rows["difference"] > 0].head(QUERIES)
        lost = rows[rows["difference"] < 0].iloc[::-1].head(QUERIES)
        for kind, part in ((f"{step} gains", won), (f"{step} loses", lost)):
            result += [
                _case(kind, queries.loc[query_id], positives[str(query_id)], runs)
                for query_id in part.index
            ]
    return result


def absent(inputs: Inputs, cases: list[Case]) -> list[str]:
    """A sentence for each kind of case that is missing because no query is of that kind."""
    kinds = {case.kind for case in cases}
    return [
        f"{step.capitalize()} moved no right page {direction}."
        for step, (_, after) in CHANGES.items()
        if f"{after}.rank" in inputs.queries
        for verb, direction in (("gains", "up"), ("loses", "down"))
        if f"{step} {verb}" not in kinds
    ]


def at_depth(first_stage: Run, reranked: Run, depth: int) -> Run:
    """The run that reranks only the first `depth` pages of the first stage.

    Args:
        first_stage: Pages in the order of the first stage.
        reranked: A run that reranks at least `depth` pages.
        depth: Pages to rerank; the pages behind them follow in their order.
    """
    result = {}
    for query_id, pages in reranked.items():
        before = first_stage.get(query_id, pages)
        inside = set(before[:depth])
        result[query_id] = [page for page in pages if page in inside] + before[depth:]
    return result


def changes(queries: pd.DataFrame, before: str, after: str) -> pd.DataFrame:
    """Queries with the greatest gain in NDCG@10 first; ties by the ranks that their page rose.

    Args:
        queries: SYSTEM.ndcg@10 and SYSTEM.rank (0: not found), by query_id.
        before: A system.
        after: The system that it is compared with.

    Returns:
        difference, won (ranks) and query, by query_id.
    """
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
    kind: str, query: pd.Series, positives: Mapping[str, int], runs: Mapping[str, Run]
) -> Case:
    """The case of a query: its first two right pages, then the first pages of each run.

    Its detail names the right page's rank in each run, and the gains in NDCG@10.
    """
    ranks = []
    rows = [("right", [ShownPage(page_id, "right", "") for page_id in list(positives)[:2]])]
    for system, run in runs.items():
        page_ids = run.get(str(query.name), [])[:PAGES]
        if not page_ids:
            continue
        ranks.append(f"{system} {int(query[f'{system}.rank']) or 'none'}")
        marks = ["right" if page_id in positives else "wrong" for page_id in page_ids]
        places = map(str, range(1, len(page_ids) + 1))
        rows.append((system, list(map(ShownPage, page_ids, marks, places))))
    won = query["tuned.ndcg@10"] - query["base.ndcg@10"]
    detail = f"Rank of the right page: {', '.join(ranks)}. Tuning: {change(won)} NDCG@10"
    if "reranked.ndcg@10" in query:
        detail += f", reranking: {change(query['reranked.ndcg@10'] - query['tuned.ndcg@10'])}"
    return Case(kind, str(query["text"]), f"{detail}.", rows)


def contact_sheet(inputs: Inputs) -> list[Case]:
    """A case for each train query that the audit sampled: its positive, kept and dropped pages."""
    sheet = inputs.audit_sheet
    if sheet.empty:
        return []
    texts = inputs.corpus.queries.set_index("query_id")["text"]
    result = []
    for query_id, part in sheet.groupby("query_id", sort=False):
        rows = []
        for role in ("positive", "kept", "dropped"):
            pages = []
            for row in part[part["role"] == role].to_dict("records"):
                rule = f" {str(row['rule']).replace('_', ' ')}" if role == "dropped" else ""
                pages.append(ShownPage(str(row["page_id"]), role, f"{row['score']:.3f}{rule}"))
            if pages:
                rows.append((role, pages))
        result.append(Case("sheet", str(texts[query_id]), "", rows))
    return result


def page_ids(cases: Iterable[Case]) -> list[str]:
    """The ids of all pages in the cases, each once, in the order in which they appear."""
    return list(
        dict.fromkeys(page.page_id for case in cases for _, pages in case.rows for page in pages)
    )


def thumbnails(corpus: Corpus, page_ids: list[str]) -> dict[str, Thumbnail]:
    """Thumbnails by page id, as large as BUDGET allows; ids that the corpus lacks are left out.

    The size is chosen on a sample of pages, so that each page is decoded at most twice.
    """
    rows = {page_id: corpus.page_row[page_id] for page_id in page_ids if page_id in corpus.page_row}
    if not rows:
        return {}
    sample = list(rows.values())[:: max(1, len(rows) // 20)]
    images = corpus.images(sample)
    for side, quality in SIZES:
        mean = sum(len(_encode(image, side, quality)[0]) for image in images) / len(images)
        if mean * len(rows) <= BUDGET:
            break
    return {page_id: _thumbnail(corpus, row, side, quality) for page_id, row in rows.items()}


def _thumbnail(corpus: Corpus, row: int, side: int, quality: int) -> Thumbnail:
    image = corpus.image(row)
    data, kind = _encode(image, side, quality)
    page = corpus.pages.iloc[row]
    document = page["document_id"] if isinstance(page["document_id"], str) else "page"
    number = f", page {int(page['page_number'])}" if pd.notna(page["page_number"]) else ""
    uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return Thumbnail(uri, image.width, image.height, f"{document}{number} ({page['page_id']})")


def _encode(image: Image.Image, side: int, quality: int) -> tuple[bytes, str]:
    """An image scaled to `side` pixels as bytes, and their format, "jpeg" or "png".

    A PNG of 32 colours is taken where it is smaller: drawn pages have few colours.
    """
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    photo, drawing = io.BytesIO(), io.BytesIO()
    small.save(photo, "JPEG", quality=quality, optimize=True)
    palette = small.quantize(32, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    palette.save(drawing, "PNG", optimize=True)
    if drawing.tell() <= photo.tell():
        return drawing.getvalue(), "png"
    return photo.getvalue(), "jpeg"
