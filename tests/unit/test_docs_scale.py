"""The tables of docs/scale.md that a formula gives, and the constants of its estimates."""

import gc
import json
import re
import tracemalloc
from pathlib import Path

import lancedb
import pyarrow as pa
import pytest

from pagefinder.indexing.files import Chunk, File, Listing
from pagefinder.indexing.planning import make_plan

TEXT = (Path(__file__).parents[2] / "docs/scale.md").read_text(encoding="utf-8")
BITS = {"float32": 32, "float16": 16, "int8": 8, "binary": 1}
UNITS = {"MB": 1e6, "GB": 1e9, "TB": 1e12}
PAGES = 10_000_000  # of the table of bytes


def table(name):
    """Rows of the table between two markers: first cell -> {column: cell}."""
    block = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", TEXT, re.DOTALL)[1]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]
    head, _, *body = rows
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in body}


def number(text):
    return float(text.replace(",", ""))


def test_bytes_of_vectors():
    rows = table("storage")
    assert len(rows) >= 6
    for dimension, cells in rows.items():
        assert list(cells) == list(BITS)
        for precision, cell in cells.items():
            value, unit = cell.split()
            expected = PAGES * number(dimension) * BITS[precision] / 8
            assert f"{float(value) * UNITS[unit]:.3g}" == f"{expected:.3g}", (dimension, precision)


def test_hours_of_gpus():
    tiles = number(re.search(r"/ \(([\d.]+) x GPUs\)", TEXT)[1])
    for pages, cells in table("gpus").items():
        for gpus, cell in cells.items():
            hours = number(pages) / (tiles * number(gpus.split()[0])) / 3600
            assert f"{number(cell.split()[0]):.3g}" == f"{hours:.3g}", (pages, gpus)


@pytest.mark.parametrize(
    ("pages", "words"),
    [
        (64, r"some (\d+) bytes a page of PDFs with 64 pages"),
        (1, r"(\d+) bytes for each file of one"),
    ],
)
def test_bytes_of_the_chunks_that_an_update_remembers(pages, words):
    folder, files = Path("/data/scans"), 2000

    def chunks(listed):
        for number, file in enumerate(listed):
            rows, file_hash = range(pages), f"{number:064x}"
            yield [
                Chunk(folder, file, file_hash, tuple(rows[start : start + 16]), pages)
                for start in range(0, pages, 16)
            ]

    gc.collect()
    tracemalloc.start()
    listing = Listing(
        [File(f"a folder/report {n:09}.pdf", 10**5 + n, 10**18 + n) for n in range(files)]
    )
    plan = make_plan(chunks, listing, {}, again=False)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] / (files * pages)
    tracemalloc.stop()
    assert len(plan.chunks) == files * -(-pages // 16)
    assert number(re.search(words, TEXT)[1]) == pytest.approx(held, rel=0.2)


def test_bytes_of_a_manifest(tmp_path):
    lancedb.connect(tmp_path).create_table("pages", pa.table({"a": [1]}))
    (file,) = (tmp_path / "pages.lance/data").iterdir()
    fragment = {"rows": 1000, "deleted": 0, "files": {file.name: 10**7}}  # as tools.manifest's
    ten, twenty = (len(json.dumps({"fragments": [fragment] * n}, indent=1)) for n in (10, 20))
    told = number(re.search(r"The manifest takes some (\d+) bytes a fragment", TEXT)[1])
    assert told == pytest.approx((twenty - ten) / 10, rel=0.1)
