"""Assemble the corpus: make the stored pages, then write every table with its split and summary."""

import io
import logging
from collections import Counter
from dataclasses import dataclass
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
from pagefinder.params import Params
from pagefinder.preparing import near_duplicates, pages
from pagefinder.preparing.queries import Judged, judge
from pagefinder.preparing.splits import Split, split_corpus
from pagefinder.runtime import pool
from pagefinder.sources import storing
from pagefinder.sources.kinds import source_kind

log = logging.getLogger(__name__)

QUARANTINE_SCHEMA = pa.schema([(name, pa.string()) for name in ("origin", "item", "reason")])
_META = [name for name in pages.WORK_SCHEMA.names if name not in ("png", "text")]


@dataclass(frozen=True)
class Prepared:
    """What `prepare` found out, apart from the tables it wrote."""

    quarantine: pd.DataFrame
    metrics: dict[str, Any]


def prepare(source: Path, target: Path, scratch: Path, params: Params) -> Prepared:
    """Write the corpus folder `target` from data/source.

    Args:
        source: data/source as `writing.write` left it.
        target: The corpus folder to write.
        scratch: Folder for finished units; a later run with the same scratch goes on from them.
        params: Of the run.

    Raises:
        InputError: nothing is left to train or measure on, or too much is unusable.
    """
    results = _make_pages(source, scratch, params)
    found = pd.concat(
        [pages.WORK_SCHEMA.empty_table().select(_META).to_pandas()]
        + [table.to_pandas() for table in pages.tables(results, _META)],
        ignore_index=True,
    )
    found["row"] = np.arange(len(found))
    bad, good = found[found["problem"].notna()], found[found["problem"].isna()]
    queries = pd.read_parquet(source / storing.QUERIES)
    judged = judge(
        dict(zip(good["key"], good["page_id"], strict=True)),
        set(bad["key"]),
        queries,
        pd.read_parquet(source / storing.QRELS),
    )
    broken = pd.DataFrame(
        {"origin": bad["origin"], "item": bad["key"].str[:80], "reason": bad["problem"]}
    )
    quarantine = pd.concat([broken, judged.quarantine], ignore_index=True)
    items = len(found) + len(queries)
    _check_share(quarantine, items, params.prepare.max_quarantined)
    if judged.queries.empty:
        raise InputError(_nothing(params, len(good), "queries"))
    split = split_corpus(
        good,
        judged.queries,
        judged.qrels,
        _eval_share(params),
        params.prepare.dev_share,
        params.seed,
    )
    _check_splits(split, params)
    target.mkdir(parents=True)
    _write_pages(results, split.pages, target / corpus.PAGES)
    write_table(split.queries, corpus.QUERY_SCHEMA, target / corpus.QUERIES)
    write_table(split.qrels, corpus.QREL_SCHEMA, target / corpus.QRELS)
    duplicates = _write_near_duplicates(split.pages, target, params)
    metrics = _summary(split, judged, quarantine, items)
    metrics["merged"] = {"pages": len(good) - good["page_id"].nunique(), "queries": judged.merged}
    return Prepared(quarantine, {**metrics, "near_duplicates": duplicates})


def _make_pages(source: Path, scratch: Path, params: Params) -> list[Path]:
    """Result files of all units, in source order."""
    scratch.mkdir(parents=True, exist_ok=True)
    tasks = [
        pages.Unit(
            shard,
            number,
            scratch / f"{shard.stem}-{number:04d}.arrow",
            params.pixels,
            params.data.pdf.dpi,
        )
        for shard, number in storing.units(source)
    ]
    isolate = source_kind(params.data.source).may_crash
    results = pool.run(pages.work, tasks, pages.crashed, isolate=isolate)
    bar = tqdm(results, total=len(tasks), desc=f"{storing.BATCH_PAGES} pages", disable=None)
    return list(bar)


def _check_share(quarantine: pd.DataFrame, items: int, allowed: float) -> None:
    if not items or len(quarantine) <= allowed * items:
        return
    first = "; ".join(
        f"{row.origin} ({row.reason})" for row in quarantine.head(10).itertuples(index=False)
    )
    raise InputError(
        f"{len(quarantine)} of {items} pages and queries are unusable, more than the share"
        f" prepare.max_quarantined ({allowed}) allows: mend them or raise it; the first: {first}"
    )


def _nothing(params: Params, found: int, what: str) -> str:
    return (
        f"source {params.data.source} gave {found} usable pages but no {what}:"
        " see docs/data.md for what a source needs"
    )


def _check_splits(split: Split, params: Params) -> None:
    counts = split.queries["split"].value_counts()
    for name in corpus.SPLITS:
        if not counts.get(name, 0):
            had = ", ".join(f"{counts.get(other, 0)} {other}" for other in corpus.SPLITS)
            raise InputError(
                f"no queries are left for {name} (there are {had}): give source"
                f" {params.data.source} more documents or queries, or change eval_share or"
                " prepare.dev_share"
            )


def _eval_share(params: Params) -> float:
    """Of what a source gives without a split of its own."""
    return float(getattr(params.data, params.data.source).eval_share)


def _write_pages(results: list[Path], kept: pd.DataFrame, path: Path) -> None:
    """Stream the kept pages into one Arrow stream."""
    split_of = dict(zip(kept["row"], kept["split"], strict=True))
    start = 0
    with pa.ipc.new_stream(str(path), corpus.PAGE_SCHEMA) as writer:
        for table in pages.tables(results, pages.WORK_SCHEMA.names):
            rows = [
                (row, split_of[start + row])
                for row in range(table.num_rows)
                if start + row in split_of
            ]
            start += table.num_rows
            if rows:
                writer.write_batch(_page_batch(table, rows))


def _page_batch(table: pa.Table, rows: list[tuple[int, str]]) -> pa.RecordBatch:
    chosen = table.take([row for row, _ in rows]).combine_chunks()
    columns = {name: chosen[name] for name in corpus.PAGE_SCHEMA.names if name in _COPIED}
    columns["split"] = pa.array([split for _, split in rows])
    columns["image"] = pa.StructArray.from_arrays(
        [chosen["png"].combine_chunks(), pa.nulls(len(rows), pa.string())], names=["bytes", "path"]
    )
    arrays = []
    for field in corpus.PAGE_SCHEMA:
        column = columns[field.name]
        column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        arrays.append(column.cast(field.type))
    return pa.RecordBatch.from_arrays(arrays, schema=corpus.PAGE_SCHEMA)


_COPIED = frozenset(corpus.PAGE_SCHEMA.names) & frozenset(pages.WORK_SCHEMA.names) - {"split"}


def _write_near_duplicates(kept: pd.DataFrame, target: Path, params: Params) -> dict[str, int]:
    """Write the table of near-duplicates, and return their counts."""
    table = Corpus(target)

    def grey(row: int) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(table.image_bytes(row))).convert("L"))

    thumbs = np.frombuffer(b"".join(kept["thumb"]), np.float32).reshape(len(kept), -1)
    settings = params.prepare
    pairs, cut = near_duplicates.find(
        kept, thumbs, grey, settings.near_duplicate_distance, settings.near_duplicate_pixels
    )
    both = np.concatenate([pairs, pairs[:, ::-1]])
    both = both[np.lexsort((both[:, 1], both[:, 0]))]
    ids = kept["page_id"].to_numpy()
    write_table(
        pd.DataFrame({"page_id": ids[both[:, 0]], "other_id": ids[both[:, 1]]}),
        corpus.NEAR_DUPLICATE_SCHEMA,
        target / corpus.NEAR_DUPLICATES,
    )
    splits = kept["split"].to_numpy()
    return {
        "pairs": len(pairs),
        "pages": len(np.unique(pairs)),
        "across_splits": int((splits[pairs[:, 0]] != splits[pairs[:, 1]]).sum()),
        "comparisons_cut": cut,
    }


def _summary(
    split: Split, judged: Judged, quarantine: pd.DataFrame, items: int
) -> dict[str, object]:
    """Counts for metrics/corpus.json."""
    kept, queries = split.pages, split.queries
    grades = split.qrels["relevance"]
    reasons = Counter(reason.split(":")[0].replace(" ", "_") for reason in quarantine["reason"])
    origins: dict[str, dict[str, int]] = {}
    for origin, group in queries.groupby("origin"):
        origins[str(origin)] = _by_split(group["split"])
    documents = kept.dropna(subset="document_id").groupby("split")["document_id"].nunique()
    return {
        "pages": _by_split(kept["split"]) | {"with_text": int((kept["text_hash"] != "").sum())},
        "queries": _by_split(queries["split"]),
        "documents": {name: int(documents.get(name, 0)) for name in corpus.SPLITS},
        "origins": origins,
        "kinds": {str(k): int(n) for k, n in sorted(Counter(kept["kind"].dropna()).items())},
        "qrels": {"positive": int((grades > 0).sum()), "negative": int((grades == 0).sum())},
        "leaks_dropped": split.dropped,
        "split_by_parts_of_documents": int(split.by_part),
        "quarantined": {
            "items": len(quarantine),
            "share": len(quarantine) / items if items else 0.0,
            "reasons": dict(sorted(reasons.items())),
        },
    }


def sentence(metrics: dict[str, Any]) -> str:
    """The summary as a person reads it, on one line."""
    pages, queries, bad = metrics["pages"], metrics["queries"], metrics["quarantined"]
    reasons = ", ".join(f"{count} {name}" for name, count in bad["reasons"].items())
    return (
        f"{sum(pages[name] for name in corpus.SPLITS)} pages, queries:"
        f" {', '.join(f'{queries[name]} {name}' for name in corpus.SPLITS)};"
        f" merged {metrics['merged']['pages']} identical pages, dropped"
        f" {metrics['leaks_dropped']['pages']} that stood in two splits, found"
        f" {metrics['near_duplicates']['pairs']} near-duplicate pairs;"
        f" quarantined {bad['items']}{f' ({reasons})' if reasons else ''}"
    )


def _by_split(column: pd.Series) -> dict[str, int]:
    counts = column.value_counts()
    return {name: int(counts.get(name, 0)) for name in corpus.SPLITS}
