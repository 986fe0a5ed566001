"""Assemble the corpus: prepare the pages, check and split them, write every table."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image
from tqdm import tqdm

from pagefinder.data import corpus
from pagefinder.data.corpus import Corpus
from pagefinder.data.files import write_table
from pagefinder.errors import InputError
from pagefinder.params import Params, Prepare
from pagefinder.preparing import near_duplicates, ocr, pages, summary
from pagefinder.preparing.account import QUARANTINED, account
from pagefinder.preparing.leaks import Split
from pagefinder.preparing.queries import CheckedQueries, check_queries
from pagefinder.preparing.splits import split_corpus
from pagefinder.preparing.written import counting, joined, keep_in_eval, with_ids, write_details
from pagefinder.runtime import pool
from pagefinder.sources import storing
from pagefinder.sources.traits import source_traits

QUARANTINE_SCHEMA = pa.schema([(name, pa.string()) for name in ("origin", "item", "reason")])
# Of all prepared pages, what fits into memory.
_DESCRIPTION = [name for name in pages.PREPARED_SCHEMA.names if name not in ("png", "text")]
_COPIED = [n for n in corpus.PAGE_SCHEMA.names if n in pages.PREPARED_SCHEMA.names]


def prepare(
    source: Path,
    target: Path,
    scratch: Path,
    texts: Path,
    params: Params,
    written: pd.DataFrame,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Write the corpus folder `target` from data/source.

    Args:
        source: data/source as `writing.write` left it.
        target: The corpus folder to write.
        scratch: Folder for prepared pages, a file for each record batch of data/source. A later run
            with the same folder reuses the files that are there.
        texts: Folder for the texts that OCR reads, reused likewise.
        params: Params of the run.
        written: Questions that a model wrote, as `read_written` reads them.

    Returns:
        The quarantine (rows of QUARANTINE_SCHEMA), and the metrics of the corpus.

    Raises:
        InputError: a split is left without queries, or more pages and queries are unusable than
            `prepare.max_quarantined` allows.
    """
    queries = pd.read_parquet(source / storing.QUERIES)
    # A run that must end for want of queries does not read for hours first.
    if params.prepare.ocr == "auto" and len(queries) + len(written):
        isolate = source_traits(params.data.source).may_crash
        ocr.read_scans(source, texts, isolate=isolate)
    files = _prepare_pages(source, scratch, texts, params)
    rows = _descriptions(files)
    usable, unusable = rows[rows["problem"].isna()], rows[rows["problem"].notna()]
    qrels = pd.read_parquet(source / storing.QRELS)
    written = with_ids(written, rows, queries, qrels)
    queries, qrels = joined(queries, qrels, written)
    page_ids = dict(zip(usable["key"], usable["page_id"], strict=True))
    checked = check_queries(page_ids, set(unusable["key"]), queries, qrels)
    entries = {"item": unusable["key"].str[:80], "reason": unusable["problem"]}
    broken = unusable[["origin"]].assign(**entries)
    quarantine = pd.concat([broken, checked.quarantine], ignore_index=True)
    items = len(rows) + len(queries)
    _check_quarantine(quarantine, items, params.prepare.max_quarantined)
    name = params.data.source
    if checked.queries.empty:
        raise InputError(
            f"source {name} gave {len(usable)} usable pages but no queries:"
            " see docs/data.md for what a source needs, or have a model write questions"
            " (queries.writer, docs/questions.md)"
        )
    eval_share = getattr(params.data, name).eval_share
    shares = (eval_share, params.prepare.dev_share)
    split = split_corpus(usable, counting(checked.queries), checked.qrels, *shares, params.seed)
    split = keep_in_eval(split, params.queries.eval)
    _check_splits(split, name)
    _write_corpus(split, files, target)
    write_details(written, split, page_ids, target)
    metrics = summary.corpus_metrics(split, quarantine, items)
    metrics["account"] = account(_fates(rows, checked, split))
    metrics["near_duplicates"] = _write_near_duplicates(split.pages, target, params.prepare)
    return quarantine, metrics


def _prepare_pages(source: Path, scratch: Path, texts: Path, params: Params) -> list[Path]:
    """Prepare all pages; returns the file of each record batch of data/source, in source order."""
    scratch.mkdir(parents=True, exist_ok=True)
    tasks = [
        pages.Unit(
            shard,
            number,
            scratch / f"{shard.stem}-{number:04d}.arrow",
            texts if params.prepare.ocr == "auto" else None,
            params.pixels,
            params.data.pdf.dpi,
        )
        for shard, number in storing.units(source)
    ]
    isolate = source_traits(params.data.source).may_crash
    results = pool.run(pages.prepare_unit, tasks, pages.crashed_unit, isolate=isolate)
    return list(tqdm(results, total=len(tasks), desc=f"{storing.BATCH_PAGES} pages", disable=None))


def _descriptions(files: list[Path]) -> pd.DataFrame:
    """Prepared pages of all files, without image and text; `row` counts over all files from 0."""
    tables = [pages.PREPARED_SCHEMA.empty_table().select(_DESCRIPTION)]
    tables += pages.read_prepared(files, _DESCRIPTION)
    rows: pd.DataFrame = pa.concat_tables(tables).to_pandas()
    return rows.assign(row=np.arange(len(rows)))


def _fates(rows: pd.DataFrame, checked: CheckedQueries, split: Split) -> dict[str, pd.Series]:
    """The fate of each row of data/source, by the keys of `account.FATES`.

    `rows` are all prepared pages. What the check left open, the split decided.
    """
    query_fates = split.fates["queries"].set_axis(checked.queries["query_id"])
    pairs = ["query_id", "page_id"]
    of_pair = checked.qrels[pairs].assign(decided=split.fates["judgements"].to_numpy())
    queries, qrels = checked.query_fates, checked.qrel_fates.merge(of_pair, on=pairs, how="left")
    return {
        "pages": split.fates["pages"].reindex(rows.index).fillna(QUARANTINED),
        "queries": queries["fate"].fillna(queries["query_id"].map(query_fates)),
        "judgements": qrels["fate"].fillna(qrels["decided"]),
    }


def _check_quarantine(quarantine: pd.DataFrame, items: int, allowed: float) -> None:
    """Raise InputError if more than a share `allowed` of `items` pages and queries is unusable."""
    if len(quarantine) <= allowed * items:
        return
    first = "; ".join(
        f"{row.origin} ({row.reason})" for row in quarantine.head(10).itertuples(index=False)
    )
    raise InputError(
        f"{len(quarantine)} of {items} pages and queries are unusable, more than the share"
        f" prepare.max_quarantined ({allowed}) allows: mend them or raise it; the first: {first}"
    )


def _check_splits(split: Split, source: str) -> None:
    """Raise InputError if train, dev or eval has no queries; `source` is named in it."""
    counts = split.queries["split"].value_counts()
    for name in corpus.SPLITS:
        if name not in counts:
            numbers = ", ".join(f"{counts.get(other, 0)} {other}" for other in corpus.SPLITS)
            raise InputError(
                f"no queries are left for {name} (there are {numbers}): give source {source} more"
                " documents or queries, or change eval_share or prepare.dev_share"
            )


def _write_corpus(split: Split, files: list[Path], target: Path) -> None:
    """Write pages, queries and qrels to `target`; pages are copied from `files` batch by batch.

    The rows of `split.pages` are numbered over all files, and ascend.
    """
    target.mkdir(parents=True)
    write_table(split.queries, corpus.QUERY_SCHEMA, target / corpus.QUERIES)
    write_table(split.qrels, corpus.QREL_SCHEMA, target / corpus.QRELS)
    split_and_section = split.pages.set_index("row")[["split", "section"]]
    start = 0
    with pa.ipc.new_stream(str(target / corpus.PAGES), corpus.PAGE_SCHEMA) as writer:
        for table in pages.read_prepared(files, pages.PREPARED_SCHEMA.names):
            first, after = split_and_section.index.searchsorted([start, start + table.num_rows])
            inside = split_and_section.iloc[first:after]
            if len(inside):
                chosen = table.take((inside.index - start).to_list())
                writer.write_batch(_page_batch(chosen, inside))
            start += table.num_rows


def _page_batch(prepared: pa.Table, decided: pd.DataFrame) -> pa.RecordBatch:
    """Rows of the corpus from prepared pages and what was `decided`: columns split and section."""
    chosen = prepared.combine_chunks().to_batches()[0]
    columns = {name: chosen[name] for name in _COPIED}
    columns |= {name: pa.array(decided[name], pa.string()) for name in decided}
    columns["image"] = pa.StructArray.from_arrays(
        [chosen["png"], pa.nulls(len(decided), pa.string())], names=["bytes", "path"]
    )
    arrays = [columns[field.name].cast(field.type) for field in corpus.PAGE_SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=corpus.PAGE_SCHEMA)


def _write_near_duplicates(rows: pd.DataFrame, target: Path, settings: Prepare) -> dict[str, int]:
    """Find near-duplicates of the pages of `target`; write their table, return counts of them.

    `rows` describes the pages in the order of the corpus.
    """
    table = Corpus(target)

    def grey(row: int) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(table.image_bytes(row))).convert("L"))

    thumbs = np.frombuffer(b"".join(rows["thumb"]), np.float32).reshape(len(rows), -1)
    pairs, cut = near_duplicates.find(
        rows, thumbs, grey, settings.near_duplicate_distance, settings.near_duplicate_pixels
    )
    both = np.concatenate([pairs, pairs[:, ::-1]])
    both = both[np.lexsort((both[:, 1], both[:, 0]))]
    page_ids, splits = rows["page_id"].to_numpy(), rows["split"].to_numpy()
    write_table(
        pd.DataFrame({"page_id": page_ids[both[:, 0]], "other_id": page_ids[both[:, 1]]}),
        corpus.NEAR_DUPLICATE_SCHEMA,
        target / corpus.NEAR_DUPLICATES,
    )
    return {
        "pairs": len(pairs),
        "pages": len(np.unique(pairs)),
        "across_splits": int((splits[pairs[:, 0]] != splits[pairs[:, 1]]).sum()),
        "comparisons_cut": cut,
    }
