"""Draw small business pages on a grid of character cells, with Pillow alone.

A page is a grid of cells, each 8 pixels wide and 16 high, so that a 16-pixel image patch holds
exactly two characters and a 32-pixel visual token eight. Such type a very small vision model can
learn to read. The font is the bitmap font that ships with Pillow, so the bytes of a page do not
depend on FreeType. Every function writes on a `Canvas` and returns the first free row below.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from PIL import Image, ImageDraw, ImageFont

CELL_WIDTH, CELL_HEIGHT = 8, 16
COLUMNS, ROWS = 32, 12
GLYPH_OFFSET = (1, 2)

Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)
INK: Colour = (24, 24, 32)
RULE: Colour = (176, 180, 188)


@dataclass
class Canvas:
    """A page being drawn.

    Attributes:
        image: The RGB picture, `columns * 8` by `rows * 16` pixels.
        glyphs: `rows` lists of `columns` characters: what stands in each cell, or a space.
        accent: Colour of title bands and charts.
    """

    image: Image.Image
    glyphs: list[list[str]]
    accent: Colour
    draw: ImageDraw.ImageDraw = field(repr=False)

    @property
    def rows(self) -> int:
        """Number of text rows."""
        return len(self.glyphs)

    @property
    def columns(self) -> int:
        """Number of text columns."""
        return len(self.glyphs[0])

    @property
    def text(self) -> str:
        """The page's text, row by row, blanks collapsed and empty rows left out."""
        rows = (" ".join("".join(row).split()) for row in self.glyphs)
        return "\n".join(row for row in rows if row)


def new_canvas(
    columns: int = COLUMNS, rows: int = ROWS, paper: Colour = WHITE, accent: Colour = (32, 64, 128)
) -> Canvas:
    """Return an empty page of `columns * 8` by `rows * 16` pixels."""
    image = Image.new("RGB", (columns * CELL_WIDTH, rows * CELL_HEIGHT), paper)
    glyphs = [[" "] * columns for _ in range(rows)]
    return Canvas(image, glyphs, accent, ImageDraw.Draw(image))


@cache
def glyph_mask(character: str) -> Image.Image:
    """Return the 8 by 16 pixel mask of one printable ASCII character."""
    mask = Image.new("1", (CELL_WIDTH, CELL_HEIGHT), 0)
    font = ImageFont.load_default_imagefont()
    ImageDraw.Draw(mask).text(GLYPH_OFFSET, character, fill=1, font=font)
    return mask


def spaced(text: str) -> str:
    """Put each word at an even distance from the first: one blank between words, or two.

    Begun in an even column, each pair of letters then fills one image patch, whatever stands before
    it, so that a small model need not learn every word at two positions.
    """
    line = ""
    for word in text.split():
        line += (" " * (2 - len(line) % 2) if line else "") + word
    return line


def write(canvas: Canvas, row: int, column: int, text: str, ink: Colour = INK) -> int:
    """Write `text`, `spaced`, from a cell to the right and return the row below.

    Raises:
        ValueError: The text does not fit, or holds a character that is not printable ASCII.
    """
    text = spaced(text)
    if not (0 <= row < canvas.rows and 0 <= column <= canvas.columns - len(text)):
        raise ValueError(
            f"{text!r} at row {row}, column {column} does not fit a page of "
            f"{canvas.rows} rows and {canvas.columns} columns"
        )
    for offset, character in enumerate(text):
        if not " " <= character <= "~":
            raise ValueError(f"{character!r} in {text!r} is not printable ASCII")
        canvas.glyphs[row][column + offset] = character
        if character != " ":
            corner = ((column + offset) * CELL_WIDTH, row * CELL_HEIGHT)
            canvas.image.paste(ink, corner, glyph_mask(character))
    return row + 1


def fill_cells(
    canvas: Canvas, row: int, column: int, height: int, width: int, colour: Colour
) -> None:
    """Colour a rectangle of whole cells (sizes in cells)."""
    left, top = column * CELL_WIDTH, row * CELL_HEIGHT
    right, bottom = left + width * CELL_WIDTH - 1, top + height * CELL_HEIGHT - 1
    canvas.draw.rectangle((left, top, right, bottom), fill=colour)


def wrap(text: str, width: int) -> list[str]:
    """Break `text` at blanks into lines of at most `width` characters once they are `spaced`.

    Raises:
        ValueError: A single word is longer than a line.
    """
    lines: list[str] = []
    for word in text.split():
        if len(word) > width:
            raise ValueError(f"the word {word!r} is longer than a line of {width} characters")
        if lines and len(spaced(f"{lines[-1]} {word}")) <= width:
            lines[-1] = spaced(f"{lines[-1]} {word}")
        else:
            lines.append(word)
    return lines


def title(canvas: Canvas, row: int, text: str, band: bool = True) -> int:
    """Write a title, wrapped, on a band tinted by the accent or else in the accent itself."""
    for line in wrap(text, canvas.columns):
        if band:
            # Dark on light like all other text: a small model then reads one polarity only.
            red, green, blue = ((value + 3 * 255) // 4 for value in canvas.accent)
            fill_cells(canvas, row, 0, 1, canvas.columns, (red, green, blue))
        row = write(canvas, row, 0, line, INK if band else canvas.accent)
    return row


def paragraph(canvas: Canvas, row: int, text: str) -> int:
    """Write running text, wrapped at the right edge."""
    for line in wrap(text, canvas.columns):
        row = write(canvas, row, 0, line)
    return row


def rule(canvas: Canvas, row: int, colour: Colour = RULE) -> None:
    """Draw a thin line across the page along the top edge of a row."""
    top = row * CELL_HEIGHT
    canvas.draw.line((0, top, canvas.image.width - 1, top), fill=colour)


def table(
    canvas: Canvas,
    row: int,
    lines: Sequence[Sequence[str]],
    stops: Sequence[int],
    header: bool = True,
    spacing: int = 1,
) -> int:
    """Write a table; `stops` gives the first column of each of its columns."""
    for number, line in enumerate(lines):
        if header and number == 0:
            fill_cells(canvas, row, 0, 1, canvas.columns, (224, 230, 240))
        else:
            rule(canvas, row)
        for stop, cell in zip(stops, line, strict=True):
            write(canvas, row, stop, cell, canvas.accent if header and number == 0 else INK)
        row += spacing
    return row


def horizontal_bars(
    canvas: Canvas,
    row: int,
    labels: Sequence[str],
    values: Sequence[float],
    figures: Sequence[str],
    label_width: int = 12,
) -> int:
    """Draw one bar a row: its label on the left, its figure right after its end."""
    room = canvas.columns - label_width - max(len(spaced(figure)) for figure in figures) - 2
    largest = max(values)
    for label, value, figure in zip(labels, values, figures, strict=True):
        write(canvas, row, 0, label)
        left, top = label_width * CELL_WIDTH, row * CELL_HEIGHT + 3
        length = max(2, round(room * CELL_WIDTH * value / largest))
        canvas.draw.rectangle((left, top, left + length, top + 9), fill=canvas.accent)
        column = label_width + length // CELL_WIDTH + 1
        write(canvas, row, column + column % 2, figure)
        row += 1
    return row


def vertical_bars(
    canvas: Canvas,
    row: int,
    labels: Sequence[str],
    values: Sequence[float],
    figures: Sequence[str],
    rows: int = 8,
) -> int:
    """Draw columns with their figures on top and their labels below, `rows` rows in all."""
    width, base = canvas.columns // len(labels), row + rows - 1
    for number, (label, value, figure) in enumerate(zip(labels, values, figures, strict=True)):
        column = number * width
        height = max(2, round((rows - 2) * CELL_HEIGHT * value / max(values)))
        left, bottom = column * CELL_WIDTH + 4, base * CELL_HEIGHT - 1
        right = left + (width - 1) * CELL_WIDTH - 8
        canvas.draw.rectangle((left, bottom - height, right, bottom), fill=canvas.accent)
        top = (bottom - height) // CELL_HEIGHT - (1 if (bottom - height) % CELL_HEIGHT < 14 else 0)
        write(canvas, max(row, top), column, figure)
        write(canvas, base, column, label)
    rule(canvas, base)
    return row + rows


def line_chart(
    canvas: Canvas,
    row: int,
    labels: Sequence[str],
    values: Sequence[float],
    figures: Sequence[str],
    rows: int = 8,
) -> int:
    """Draw a line through one point a label, each point with its figure above."""
    width, base, low = canvas.columns // len(labels), row + rows - 1, min(values) * 0.8
    points, tops = [], []
    for number, value in enumerate(values):
        share = (value - low) / (max(values) - low or 1.0)
        y = base * CELL_HEIGHT - 6 - round(share * (rows - 2.5) * CELL_HEIGHT)
        points.append((number * width * CELL_WIDTH + 16, y))
        tops.append(max(row, (y - 4) // CELL_HEIGHT - 1))
    canvas.draw.line(points, fill=canvas.accent, width=2)
    rule(canvas, base)
    for number, (label, figure) in enumerate(zip(labels, figures, strict=True)):
        x, y = points[number]
        # Blank paper behind each figure keeps the line from crossing it out.
        fill_cells(canvas, tops[number], number * width, 1, len(figure), WHITE)
        canvas.draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=canvas.accent)
        write(canvas, tops[number], number * width, figure)
        write(canvas, base, number * width, label)
    return row + rows
