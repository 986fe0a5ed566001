"""What the golden cases are about: a few drawn pages and questions, the same for every model."""

import math

from PIL import Image

from pagefinder.data.corpus import PageInput, page_input
from pagefinder.params import PageContent, Pixels
from pagefinder.sources.generated import drawing

# The last question is long, so that a server that cuts texts shorter gives another vector.
QUESTIONS = (
    "How did revenue develop?",
    "Which plant used 40 percent less energy in 2021?",
    "Where does the report explain why the number of visits to the stores fell in the second year, "
    "which of the four regions lost the most, what the management board did about it, how much the "
    "new contracts with suppliers cost, when repairs of the old plant will end, and whether the "
    "profit of the energy business made up for all of that before the end of the last quarter?",
)
SENTENCES = (
    "Revenue rose by 12 percent to 340 million.",
    "The solar plant used 40 percent less energy in 2021.",
    "Visits to the stores fell in the second year.",
    "New contracts with suppliers cost 7 million more.",
    "The margin of the bank was 3 points above plan.",
    "Repairs of the old plant end in March.",
)
# Of each page: the share of the pixel budget that its area is, width over height, and by how many
# pixels its sides miss the grid. The second is above the budget, so a server has to shrink it.
SHAPES = ((0.6, 1.3, 0), (2.5, 0.75, 0), (0.3, 1.6, 11))
LARGEST = 1_500_000  # pixels of a page: the files stay small
LONG = 2.5  # times a model's window, in words: the length of the long text


def drawn_images(pixels: Pixels) -> list[Image.Image]:
    """A page inside the pixel budget, one above it, and one whose sides are not on the grid."""
    images = []
    for number, (share, ratio, off) in enumerate(SHAPES):
        area = min(share * pixels.max, LARGEST)
        width, height = math.sqrt(area * ratio), math.sqrt(area / ratio)
        columns = max(14, round(width / drawing.CELL_WIDTH))
        rows = max(4, round(height / drawing.CELL_HEIGHT))
        canvas = drawing.new_canvas(columns=columns, rows=rows)
        row = 0
        for sentence in (SENTENCES * rows)[number:]:
            for line in drawing.wrap(sentence, columns):
                if row < rows:
                    row = drawing.write(canvas, row, 0, line)
        images.append(
            canvas.image.crop((0, 0, canvas.image.width - off, canvas.image.height - off))
        )
    return images


def page_texts(window: int) -> list[str]:
    """Two short texts and one that is longer than a model's window of so many tokens."""
    words = " ".join(SENTENCES * (1 + int(LONG * min(window, 1024) / 40))).split()
    return [
        SENTENCES[0],
        " ".join(SENTENCES[1:4]),
        " ".join(words[: int(LONG * min(window, 1024))]),
    ]


def golden_pages(
    content: PageContent, pixels: Pixels, window: int
) -> tuple[list[PageInput], list[Image.Image | None]]:
    """The pages as a model takes them that gets `content` of pages, and the image of each."""
    images = drawn_images(pixels) if content != "text" else []
    texts = page_texts(window if content == "text" else 64)
    count = max(len(images), len(texts))
    inputs = [
        page_input(content, images.__getitem__, texts.__getitem__, row) for row in range(count)
    ]
    return inputs, [images[row] if images else None for row in range(count)]
