"""Runs, the pages that a system ranks for each query, and qrels, by which a run is scored.

Every system (base, tuned, BM25, the reranker) answers with a run, so all of them are scored and
written by the same code, and anyone's trec_eval reproduces our figures from the files.

Ties are broken as trec_eval breaks them, whatever order a file has: higher score first, then the
page id that sorts last. Scores are float32, because trec_eval keeps no more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pagefinder.data.corpus import SECTION, Corpus
from pagefinder.errors import InputError
from pagefinder.runtime import outputs

Qrels = Mapping[str, Mapping[str, int]]

DEPTH = 100  # pages per query in a written run
# Fewer documents than this cannot carry an interval: a resample repeats most of them.
FEWEST_DOCUMENTS = 5


@dataclass(frozen=True)
class Run:
    """The answers of one system.

    Attributes:
        query_ids: [queries]
        page_ids: [queries][up to DEPTH] each query's pages; the order does not count, scores do.
        scores: [queries][as many] the score of each page; higher is better.
    """

    query_ids: Sequence[str]
    page_ids: Sequence[Sequence[str]] | np.ndarray
    scores: Sequence[Sequence[float]] | np.ndarray

    def as_dict(self) -> dict[str, dict[str, float]]:
        """query_id -> {page_id: score}, best first."""
        return {
            query_id: dict(_sorted(pages, scores))
            for query_id, pages, scores in zip(
                self.query_ids, self.page_ids, self.scores, strict=True
            )
        }


def _sorted(pages: Sequence[str], scores: Sequence[float]) -> list[tuple[str, float]]:
    """(page, score) pairs in trec_eval's order."""
    rounded = np.asarray(scores, np.float32)
    if not np.isfinite(rounded).all():
        raise ValueError("a score is not a finite number: the model that gave it is broken")
    pairs = sorted(zip(rounded.tolist(), pages, strict=True), reverse=True)
    return [(page, score) for score, page in pairs]


def qrels_of(corpus: Corpus, split: str) -> dict[str, dict[str, int]]:
    """Qrels of the queries of a split that have a relevant page, zeros included."""
    qrels: dict[str, dict[str, int]] = {query_id: {} for query_id in corpus.positives(split)}
    rows = corpus.qrels[corpus.qrels["query_id"].isin(qrels)]
    for query_id, page_id, relevance in rows.itertuples(index=False):
        qrels[query_id][page_id] = int(relevance)
    return qrels


def write_runs(
    runs: Mapping[str, Run], folder: Path, root: Path, qrels: Qrels | None = None
) -> None:
    """Write each run as NAME.trec and the qrels as qrels.trec: a whole folder, or none."""
    with outputs.output(folder, root) as scratch:
        scratch.mkdir(parents=True)
        for name, run in runs.items():
            write_run(run, scratch / f"{name}.trec", name)
        if qrels is not None:
            write_qrels(qrels, scratch / "qrels.trec")


def write_run(run: Run, path: Path, name: str) -> None:
    """Write a TREC run file: `query_id Q0 page_id rank score name`, best first.

    Nine digits bring a float32 back exactly, so a reader sees our ties and no others.

    Raises:
        InputError: an id holds white space, which the format cannot carry.
    """
    lines = [
        f"{_word(query_id)} Q0 {_word(page_id)} {rank} {score:.9g} {name}\n"
        for query_id, pages in run.as_dict().items()
        for rank, (page_id, score) in enumerate(pages.items(), 1)
    ]
    path.write_text("".join(lines), encoding="utf-8")


def write_qrels(qrels: Qrels, path: Path) -> None:
    """Write a TREC qrels file: `query_id 0 page_id relevance`.

    Raises:
        InputError: an id holds white space, which the format cannot carry.
    """
    lines = [
        f"{_word(query_id)} 0 {_word(page_id)} {relevance}\n"
        for query_id, pages in qrels.items()
        for page_id, relevance in pages.items()
    ]
    path.write_text("".join(lines), encoding="utf-8")


def _word(name: str) -> str:
    """The id `name`, checked to hold no white space."""
    if not name or len(name.split()) != 1 or name != name.strip():
        raise InputError(f"id {name!r} holds white space: TREC files need ids of one word")
    return name


def first_relevant(qrels: Qrels) -> list[str]:
    """Each query's first page with a relevance above 0: its document counts as the query's."""
    return [
        next(page for page, relevance in pages.items() if relevance > 0) for pages in qrels.values()
    ]


def documents_of(corpus: Corpus, qrels: Qrels) -> list[str]:
    """The document of each query's first relevant page; a page without one stands for itself.

    Queries about one page are no more independent than those about one document. Where the queries
    are about fewer than FEWEST_DOCUMENTS documents and their sections are as many, it is
    "DOCUMENT § SECTION" instead: sections are then resampled.
    """
    pages = corpus.pages.set_index("page_id", drop=False)
    documents = pages["document_id"].fillna(pages["page_id"])
    first_pages = first_relevant(qrels)
    of_queries = [documents.get(page, page) for page in first_pages]
    if len(set(of_queries)) >= FEWEST_DOCUMENTS or "section" not in pages:
        return of_queries
    sections = documents.where(pages["section"].isna(), documents + SECTION + pages["section"])
    of_queries_by_section = [sections.get(page, page) for page in first_pages]
    enough = len(set(of_queries_by_section)) >= FEWEST_DOCUMENTS
    return of_queries_by_section if enough else of_queries
