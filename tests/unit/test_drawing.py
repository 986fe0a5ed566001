"""Pages are drawn the same to the byte, and the glyph grid says what stands in each cell."""

import hashlib

import numpy as np
import pytest

from pagefinder.sources.generated import drawing

DIGEST = "d35e144c174772cf3c24f4ca4af452e6bfef3c545aefbad44b604f8e663e3a25"


def slide() -> drawing.Canvas:
    canvas = drawing.new_canvas(accent=(120, 40, 40))
    row = drawing.title(canvas, 0, "Halden Ferries 2022")
    row = drawing.table(canvas, row, [["Route", "A"], ["North", "12"]], (1, 12))
    row = drawing.horizontal_bars(canvas, row, ["Old", "New"], [3.0, 4.0], ["3", "4"], 6)
    drawing.line_chart(canvas, row, ["Q1", "Q2", "Q3"], [2.0, 9.0, 4.0], ["2", "9", "4"], 7)
    return canvas


def test_bytes_do_not_change() -> None:
    digests = {hashlib.sha256(slide().image.tobytes()).hexdigest() for _ in range(2)}
    assert digests == {DIGEST}


def test_text_is_read_row_by_row() -> None:
    assert slide().text.splitlines()[:5] == [
        "Halden Ferries 2022",
        "Route A",
        "North 12",
        "Old 3",
        "New 4",
    ]


def test_ink_stands_where_the_grid_says() -> None:
    canvas = drawing.new_canvas()
    drawing.write(canvas, 3, 5, "To be")
    pixels = np.asarray(canvas.image.convert("L"))
    inked = {
        (row, column)
        for row in range(drawing.ROWS)
        for column in range(drawing.COLUMNS)
        if pixels[16 * row : 16 * row + 16, 8 * column : 8 * column + 8].min() < 128
    }
    assert inked == {(3, 5), (3, 6), (3, 9), (3, 10)}
    assert canvas.glyphs[3][5:11] == list("To  be")


def test_words_begin_at_even_distances() -> None:
    assert drawing.spaced("a bc def g") == "a bc  def g"
    assert drawing.spaced(drawing.spaced("to be or not")) == drawing.spaced("to be or not")


def test_every_figure_of_a_chart_is_readable() -> None:
    for draw in (drawing.line_chart, drawing.vertical_bars):
        canvas = drawing.new_canvas()
        draw(canvas, 2, ["Q1", "Q2", "Q3", "Q4"], [1.0, 50.0, 2.0, 999.0], ["1", "50", "2", "999"])
        assert {"1", "50", "2", "999", "Q1", "Q4"} <= set(canvas.text.split())


def test_words_are_wrapped_not_cut() -> None:
    assert drawing.wrap("one two three four", 9) == ["one two", "three", "four"]
    with pytest.raises(ValueError, match="longer than a line"):
        drawing.wrap("unbelievable", 5)


@pytest.mark.parametrize(("column", "text"), [(30, "too long"), (0, "\u00e9t\u00e9")])
def test_what_cannot_be_drawn_is_named(column: int, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        drawing.write(drawing.new_canvas(), 0, column, text)
