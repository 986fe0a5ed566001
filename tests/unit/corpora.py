"""Small corpora for tests, written as `prepare` writes them."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from pagefinder.data import corpus
from pagefinder.data.corpus import Corpus
from pagefinder.data.files import write_table


def write_corpus(
    folder: Path,
    pages: Sequence[dict],
    queries: Sequence[dict],
    qrels: Sequence[tuple[str, str, int]],
    near_duplicates: Sequence[tuple[str, str]] = (),
) -> Corpus:
    """Write the tables; of a page only `page_id` and `split` are needed, of a query only its id."""
    folder.mkdir(parents=True)
    rows = [{name: None for name in corpus.PAGE_SCHEMA.names} | dict(page) for page in pages]
    table = pa.Table.from_pylist(rows, schema=corpus.PAGE_SCHEMA)
    with pa.OSFile(str(folder / corpus.PAGES), "wb") as sink:
        with pa.ipc.new_stream(sink, corpus.PAGE_SCHEMA) as writer:
            writer.write_table(table)
    filled = [{"text": "?", "split": "train", "origin": "test"} | dict(query) for query in queries]
    write_table(filled, corpus.QUERY_SCHEMA, folder / corpus.QUERIES)
    judged = [dict(zip(corpus.QREL_SCHEMA.names, row, strict=True)) for row in qrels]
    write_table(judged, corpus.QREL_SCHEMA, folder / corpus.QRELS)
    both = [pair for one, other in near_duplicates for pair in ((one, other), (other, one))]
    twins = [dict(zip(corpus.NEAR_DUPLICATE_SCHEMA.names, row, strict=True)) for row in both]
    write_table(twins, corpus.NEAR_DUPLICATE_SCHEMA, folder / corpus.NEAR_DUPLICATES)
    return Corpus(folder)
