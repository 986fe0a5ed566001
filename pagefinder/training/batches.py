"""What training batches hold: rows of ids, their texts and pages, and which rows share a batch."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sentence_transformers.base.sampler import NoDuplicatesBatchSampler

from pagefinder.data.corpus import Corpus
from pagefinder.errors import InputError

log = logging.getLogger(__name__)


def embedder_rows(
    corpus: Corpus, negatives: pd.DataFrame, seed: int, excluded: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row per train query and positive: query_id, image_id, negative_0_id, negative_1_id...

    All rows have as many negatives as the query with the most. A query that has fewer gets random
    pages of the train split besides, as in-batch negatives are random pages anyway.

    Args:
        corpus: Queries, pages and qrels.
        negatives: Mined pairs of query_id and page_id.
        seed: Seed of the random pages.
        excluded: Pairs of row numbers, query and page, as `rules.exclusions` returns them. No
            random page is one of them, or a positive.

    Raises:
        InputError: the train split has too few pages.
    """
    positives = corpus.positives("train")
    mined = negatives.groupby("query_id", sort=False)["page_id"].agg(list).to_dict()
    negatives_per_row = max(map(len, mined.values()), default=0)
    excluded_pages: Mapping[Any, list[str]] = {}
    if excluded is not None:
        page_ids = corpus.pages["page_id"].to_numpy()[excluded["page"]]
        query_ids = corpus.queries["query_id"].to_numpy()[excluded["query"]]
        excluded_pages = pd.Series(page_ids).groupby(query_ids).agg(list).to_dict()
    forbidden = {
        query_id: {*page_ids, *excluded_pages.get(query_id, ())}
        for query_id, page_ids in positives.items()
    }
    completed = _with_random_pages(corpus, mined, forbidden, negatives_per_row, seed)
    rows = [
        [query_id, page_id, *completed[query_id]]
        for query_id, page_ids in positives.items()
        for page_id in page_ids
    ]
    return pd.DataFrame(rows, columns=row_columns(negatives_per_row))


def row_columns(negatives_per_row: int) -> list[str]:
    """Columns of the embedder's training rows."""
    return ["query_id", "image_id", *(f"negative_{i}_id" for i in range(negatives_per_row))]


def _with_random_pages(
    corpus: Corpus,
    mined: Mapping[Any, list[str]],
    forbidden: Mapping[str, set[str]],
    negatives_per_row: int,
    seed: int,
) -> dict[str, list[str]]:
    """Page ids of `negatives_per_row` negatives by query: mined ones, then random train pages.

    A random page is none of the query's pages in `forbidden`, whose keys are all queries.
    """
    train_pages = corpus.pages.loc[corpus.pages["split"] == "train", "page_id"].to_numpy()
    distinct = set(train_pages)
    random = np.random.default_rng(seed)
    completed: dict[str, list[str]] = {}
    for query_id, forbidden_pages in forbidden.items():
        page_ids = completed[query_id] = list(mined.get(query_id, []))
        used = distinct & {*page_ids, *forbidden_pages}
        while len(page_ids) < negatives_per_row and len(used) < len(distinct):
            page_id = str(random.choice(train_pages))
            if page_id not in used:
                used.add(page_id)
                page_ids.append(page_id)
        if len(page_ids) < negatives_per_row:
            raise InputError(
                f"{len(distinct)} train pages are too few for {negatives_per_row} negatives per "
                "query: lower mine.negatives or mine.same_document_pages"
            )
    missing = [negatives_per_row - len(mined.get(query_id, ())) for query_id in completed]
    log.info(
        "%d of %d queries had fewer than %d mined negatives: they got %d pages drawn at random",
        sum(map(bool, missing)),
        len(completed),
        negatives_per_row,
        sum(missing),
    )
    return completed


def with_content(rows: pd.DataFrame, corpus: Corpus) -> Dataset:
    """Rows of ids as a dataset whose questions and pages are read when a row is read.

    Column NAME_id becomes NAME; a page is what `corpus.page_inputs` makes of it.
    """

    def content(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = {}
        for column, values in batch.items():
            if column == "query_id":
                columns["query"] = [corpus.query_text[query_id] for query_id in values]
            elif column.endswith("_id"):
                page_rows = [corpus.page_row[page_id] for page_id in values]
                columns[column.removesuffix("_id")] = list(corpus.page_inputs(page_rows))
            else:
                columns[column] = values
        return columns

    dataset = Dataset.from_pandas(rows, preserve_index=False)
    dataset.set_transform(content)
    return dataset


def fitting_batch(corpus: Corpus, rows: pd.DataFrame, batch: int) -> int:
    """The batch size, halved where rows without a page in common are too few for two batches.

    A handful of documents has few pages with questions. The batch is halved until they are enough
    for two batches, but not below 2: drawn in random order, rows without a page in common are fewer
    than in the best order.

    Args:
        corpus: Qrels and near-duplicates.
        rows: As `embedder_rows` returns them.
        batch: The size that params name.
    """
    used = set[str]()
    apart = 0
    for names in map(set, _names_in_conflict(corpus, rows).to_numpy().tolist()):
        if used.isdisjoint(names):
            used |= names
            apart += 1
    size = batch
    while size > 2 and 2 * size > apart:
        size = max(2, size // 2)
    if size < batch:
        log.warning(
            "batch %d instead of embedder.batch %d: only %d rows have no page in common",
            size,
            batch,
            apart,
        )
    return size


def no_duplicates(
    corpus: Corpus,
    dataset: Dataset,
    **keywords: Any,  # noqa: ANN401
) -> NoDuplicatesBatchSampler:
    """A sampler of batches in which no query or page occurs twice.

    No row of a batch holds a page that answers the query of another. Sentence Transformers' sampler
    compares the names of `_names_in_conflict` instead of pixels.
    """
    names = _names_in_conflict(corpus, dataset.with_format(None).to_pandas())
    return NoDuplicatesBatchSampler(Dataset.from_pandas(names, preserve_index=False), **keywords)


def _names_in_conflict(corpus: Corpus, rows: pd.DataFrame) -> pd.DataFrame:
    """Names of each row's query and pages: two rows with a name in common must not share a batch.

    Near-duplicates share one name, the id of the first of them. Where a query has several
    positives, all rows that hold one of them also have the query's id as a name.

    Args:
        corpus: Qrels and near-duplicates.
        rows: As `embedder_rows` returns them.

    Returns:
        A row of names per row, in columns whose names do not matter.
    """
    first_duplicate = _first_duplicate(corpus)
    queries_of_page: dict[str, list[str]] = {}
    for query_id, page_ids in corpus.positives("train").items():
        names = {first_duplicate.get(page_id, page_id) for page_id in page_ids}
        for name in sorted(names) if len(page_ids) > 1 else ():
            queries_of_page.setdefault(name, []).append(query_id)
    table: pd.DataFrame = rows.drop(columns="query_id").apply(
        lambda page_ids: page_ids.map(lambda page_id: first_duplicate.get(page_id, page_id))
    )
    answered = [
        sorted({query_id for name in names for query_id in queries_of_page.get(name, ())})
        for names in table.to_numpy()
    ]
    table["query_id"] = rows["query_id"]
    for number in range(max(map(len, answered), default=0)):
        # A row whose pages answer fewer queries repeats its own query.
        table[f"answers_{number}"] = [
            query_ids[number] if number < len(query_ids) else query_id
            for query_ids, query_id in zip(answered, rows["query_id"], strict=True)
        ]
    return table


def _first_duplicate(corpus: Corpus) -> dict[str, str]:
    """For each page id with near-duplicates: the id of the first page of its group.

    A group holds all pages that are connected by near-duplicate pairs.
    """
    pairs = corpus.near_duplicates
    one, other = (pairs[column].map(corpus.page_row).to_numpy(int) for column in pairs)
    count = len(corpus.pages)
    graph = coo_array((np.ones(len(pairs), bool), (one, other)), shape=(count, count))
    groups = connected_components(graph, directed=False)[1]
    page_ids = corpus.pages["page_id"].to_numpy()
    _, first_rows = np.unique(groups, return_index=True)
    return {str(page_ids[row]): str(page_ids[first_rows[groups[row]]]) for row in np.unique(one)}
