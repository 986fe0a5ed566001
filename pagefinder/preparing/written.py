"""Join the questions that a model wrote to those of the source, and keep them apart in eval."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from pagefinder.data import corpus
from pagefinder.data.files import write_table
from pagefinder.errors import InputError
from pagefinder.preparing.account import EVAL_ORIGIN, KEPT
from pagefinder.preparing.leaks import RANK, Split
from pagefinder.preparing.queries import query_id

ORIGIN = "written"


def with_ids(
    written: pd.DataFrame, pages: pd.DataFrame, queries: pd.DataFrame, qrels: pd.DataFrame
) -> pd.DataFrame:
    """The written questions with the columns split, query_id and where.

    A written question is of the split that its page has in the source, by itself or by the other
    queries that it answers; else (None) its split is drawn with its page's.

    Args:
        written: Rows of `writing.written.WRITTEN_SCHEMA` that the filters kept.
        pages: key, origin and split of all pages of the source.
        queries: As `storing.QUERY_SCHEMA`.
        qrels: As `storing.QREL_SCHEMA`.
    """
    page_splits = _page_splits(pages, queries, qrels)
    origins = dict(zip(pages["key"], pages["origin"], strict=True))
    splits = [page_splits.get(page) for page in written["page"]]
    texts = [" ".join(text.split()) for text in written["text"]]
    return written.assign(
        split=pd.Series(splits, written.index, dtype=object),
        query_id=[query_id(text, split) for text, split in zip(texts, splits, strict=True)],
        where=[f"written from {origins.get(page, page)}" for page in written["page"]],
    )


def joined(
    queries: pd.DataFrame, qrels: pd.DataFrame, written: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Queries and qrels of the source, and behind them the written ones, as `with_ids` gives them.

    Each written question is answered by its page alone.
    """
    if written.empty:
        return queries, qrels
    numbers = range(len(queries), len(queries) + len(written))
    columns = {name: written[name].to_numpy() for name in ("text", "split", "where")}
    questions = pd.DataFrame({"query": numbers, **columns, "origin": ORIGIN, "problem": None})
    answers = pd.DataFrame({"query": numbers, "page": written["page"].to_numpy(), "relevance": 1})
    texts = {"split": object, "problem": object}
    both = [queries.astype(texts), questions.astype(texts)]
    return pd.concat(both, ignore_index=True), pd.concat([qrels, answers], ignore_index=True)


def counting(queries: pd.DataFrame) -> pd.DataFrame:
    """The queries with the column counts: whether a query counts when splits are drawn.

    Written ones count only where the source has no others. So the splits, and eval with them, are
    the same with a writer as without one, and the two can be compared.
    """
    others = queries["origin"] != ORIGIN
    return queries.assign(counts=others | (not others.any()))


def _page_splits(pages: pd.DataFrame, queries: pd.DataFrame, qrels: pd.DataFrame) -> dict[str, str]:
    """The source's split of each page that has one: its own, else the highest of its queries'."""
    own = pages.loc[pages["split"].notna(), ["key", "split"]]
    judged = qrels[qrels["relevance"] > 0].merge(queries[["query", "split"]], on="query")
    judged = judged[judged["split"].isin(list(RANK))]
    judged = judged.sort_values("split", key=lambda splits: splits.map(RANK), kind="stable")
    by_query = dict(zip(judged["page"], judged["split"], strict=True))
    return by_query | dict(zip(own["key"], own["split"], strict=True))


def keep_in_eval(split: Split, origins: str) -> Split:
    """The corpus with eval questions of these origins alone: outline, written or both.

    Outline are all that no model wrote. The pages of the others stay, as distractors.

    Raises:
        InputError: that leaves no question in eval.
    """
    queries = split.queries
    is_written = queries["origin"] == ORIGIN
    wrong = is_written if origins == "outline" else ~is_written
    in_eval = queries["split"] == "eval"
    dropped = in_eval & wrong
    if origins == "both" or not dropped.any():
        return split
    if dropped.sum() == in_eval.sum():
        other = "written" if origins == "outline" else "outline"
        raise InputError(
            f"queries.eval is {origins}, but all {in_eval.sum()} questions of eval are {other}: "
            f"set queries.eval to {other} or both"
        )
    query_ids = set(queries.loc[dropped, "query_id"])
    fates = dict(split.fates)
    # The rows with the fate kept are those of the tables, in their order.
    for name, rows in (("queries", queries), ("judgements", split.qrels)):
        fate = fates[name].copy()
        kept = fate.index[fate == KEPT]
        fate[kept[rows["query_id"].isin(query_ids).to_numpy()]] = EVAL_ORIGIN
        fates[name] = fate
    return replace(
        split,
        queries=queries[~dropped].reset_index(drop=True),
        qrels=split.qrels[~split.qrels["query_id"].isin(query_ids)].reset_index(drop=True),
        fates=fates,
    )


def write_details(
    written: pd.DataFrame, split: Split, page_ids: dict[str, str], target: Path
) -> None:
    """Write what is known of the corpus's written questions beside text; nothing without any.

    Args:
        written: As `with_ids` gives it.
        split: The corpus as it is written.
        page_ids: page_id of each usable page, by its key in the source.
        target: The corpus folder.
    """
    if written.empty:
        return
    queries, in_corpus = split.queries, set(split.pages["page_id"])
    query_ids = set(queries.loc[queries["origin"] == ORIGIN, "query_id"])
    rows = written[written["query_id"].isin(query_ids)].drop_duplicates("query_id")
    possible = [[page_ids.get(key) for key in keys] for keys in rows["possible_pages"]]
    ids = [[page_id for page_id in row if page_id in in_corpus] for row in possible]
    rows = rows.assign(possible_page_ids=pd.Series(ids, rows.index, dtype=object))
    write_table(rows, corpus.WRITTEN_SCHEMA, target / corpus.WRITTEN)
