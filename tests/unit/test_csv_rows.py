"""CSV files as people have them: stray quotes, honest cells of several lines, other encodings."""

import csv
import gzip
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sources import page, with_params

from pagefinder.errors import InputError
from pagefinder.sources import csv_rows, table, writing


def rows_of(folder, lines, image="image"):
    """Usable rows, and line -> reason of the broken ones."""
    (folder / "1.png").write_bytes(b"")
    (folder / "t.csv").write_bytes("\n".join(lines).encode())
    rows = list(csv_rows.read(folder / "t.csv", image))
    usable = [tuple(row.values()) for _, row in rows if isinstance(row, dict)]
    return usable, {number: row for number, row in rows if isinstance(row, str)}


def test_a_stray_quote_costs_its_own_line_alone(tmp_path):
    lines = ["query,image", *(f"question {n},1.png" for n in range(5000))]
    lines[1002] = f'"{lines[1002]}'
    usable, broken = rows_of(tmp_path, lines)
    assert len(usable) == 4999
    assert usable[1000:1002] == [("question 1000", "1.png"), ("question 1002", "1.png")]
    assert list(broken) == [1003]
    assert broken[1003].startswith(
        "broken row: a quote that it opens is not closed before line 1004"
    )


@pytest.mark.parametrize(
    ("lines", "broken"),
    [
        (['"5 inch,1.png', "b,1.png", 'c",1.png', "d,1.png"], [2]),
        (['"5 inch,1.png', '"b, c",1.png', "d,1.png"], [2]),
        (['"5 inch,1.png', "b,http://x.org/1.png", "d,1.png"], [2]),
        (["a,1.png", "b,1.png", '"5 inch,1.png'], [4]),
        (['"a,1.png', '"b,1.png', "c,1.png", '"d,1.png', "e,1.png"], [2, 3, 5]),
        (['"a', 'b" c,2.png', "d,1.png"], [2]),
        (['a,"1.png', "b,1.png", "c,1.png"], [2]),
        (['"a,gone.png', "b,gone.png", "c,gone.png"], [2]),
        (["a,1.png", "b", "c,1.png,d"], [3, 4]),
        (["a,1.png", '"b', 'c",1.png,d'], [4]),
    ],
)
def test_every_other_line_is_still_a_row(tmp_path, lines, broken):
    usable, reasons = rows_of(tmp_path, ["query,image", *lines])
    assert list(reasons) == broken
    spanned = sum(reason.endswith("in lines 3 to 4") for reason in reasons.values())
    assert len(usable) == len(lines) - len(broken) - spanned


@pytest.mark.parametrize(
    "lines",
    [
        ['"Who signed', 'the lease?",1.png'],
        ['"Who, and when,', "signed it, see", 'page 1.png,2?",1.png'],
        ['"a ""quoted"" word', '""another"", one",1.png'],
        ['What is a 5" pipe?,1.png', '6" too,1.png'],
        ['5" pipe,1.png', '"of two', 'lines" ,1.png'],
        ['"ends in a line', '",1.png'],
        ['"What, exactly, is it?","1.png"', "", 'b,"1.png"'],
        ["a,1.png\r", '"b\r', 'c",1.png\r'],
    ],
)
def test_honest_cells_of_several_lines_stay_whole(tmp_path, lines):
    usable, broken = rows_of(tmp_path, ["query,image", *lines])
    assert not broken
    text = "\n".join(lines)
    assert usable == [tuple(row) for row in csv.reader(io.StringIO(text, newline="")) if row]


@given(st.lists(st.tuples(st.text(), st.text()), max_size=8))
@settings(max_examples=60, deadline=None)
def test_what_a_writer_wrote_is_read(tmp_path_factory, cells):
    folder = tmp_path_factory.mktemp("csv")
    (folder / "1.png").write_bytes(b"")
    texts = [tuple(cell.encode("utf-8", "replace").decode() for cell in row) for row in cells]
    with (folder / "t.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["query", "image", "text"])
        writer.writerows([query, "1.png", text] for query, text in texts)
    rows = [row for _, row in csv_rows.read(folder / "t.csv", "image")]
    assert rows == [{"query": query, "image": "1.png", "text": text} for query, text in texts]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "query,image\nWär es?,1.png\n".encode("latin-1"), "not UTF-8 in line 2 .*W"),
        ("t.csv", "query,image,größe\nx,1.png,2\n".encode("latin-1"), "not UTF-8 in line 1"),
        ("t.csv", "query,image\nx,1.png\n".encode("utf-16"), "is UTF-16 text: save it as UTF-8"),
        ("t.csv", "query,image\nx,1.png\n".encode("utf-16-le"), "holds zero bytes"),
        ("t.csv", gzip.compress(b"query,image\nx,1.png\n"), "is compressed by gzip: unpack it"),
        ("t.jsonl", gzip.compress(b'{"query": "x", "image": "1.png"}'), "compressed by gzip"),
        ("t.jsonl", '{"query": "x", "image": "1.png"}'.encode("utf-16"), "is UTF-16 text"),
        ("t.csv", b"PK\x03\x04query,image", "is a ZIP or Excel file: export it as UTF-8 CSV"),
        ("t.csv", b"PAR1 and so on", "is a Parquet file: name it .parquet"),
        ("t.csv", b'"query,image\nx,1.png\n', "has a broken header: a quote that it opens"),
        ("t.csv", b"query,image,image\nx,1.png,2.png\n", "has 2 columns named 'image': rename"),
        ("t.csv", b"negative,query,image,negative\n", "has 2 columns named 'negative'"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_its_mend(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        source = table.open_source(with_params("table", input="."), tmp_path)
        writing.write(source, tmp_path / "source")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_doubled_columns_that_nobody_reads_are_no_trouble(tmp_path):
    (tmp_path / "1.png").write_bytes(page(1))
    (tmp_path / "t.csv").write_text("query,image,,\nx,1.png,,\n")
    source = table.open_source(with_params("table", input="."), tmp_path)
    assert [item.problem for row in source.parts["train"](0) for item in row] == [None, None]
