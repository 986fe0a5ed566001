"""The tables of docs/scale.md that a formula gives are what it gives."""

import re
from pathlib import Path

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
