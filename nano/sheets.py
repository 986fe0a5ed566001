"""Pages as training draws them, and the patches that Qwen's image processor cuts them into."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pagefinder.sources.generated.drawing import COLUMNS, ROWS, Canvas

GRID = (ROWS // 2, COLUMNS // 4)  # visual tokens a page: each is two rows of four characters
VISUAL_TOKENS = GRID[0] * GRID[1]


@dataclass(frozen=True)
class Sheet:
    """A page and questions that it answers."""

    canvas: Canvas
    questions: tuple[str, ...] = ()

    @cached_property
    def line(self) -> str:
        """The page's rows in lower case, each framed by blanks, joined to one line."""
        return "".join(" " + "".join(row).lower() + " " for row in self.canvas.glyphs)

    @cached_property
    def words(self) -> list[str]:
        """The words of `line`."""
        return self.line.split()


def patches(sheets: Sequence[Sheet]) -> Tensor:
    """Cut pages into float patches of one frame: (pages * 192, 768), in Qwen's order.

    Qwen's processor makes the same values, each patch twice: once for either frame of a video.
    """
    pixels = torch.from_numpy(np.stack([np.asarray(sheet.canvas.image) for sheet in sheets]))
    scaled = pixels.float() / 127.5 - 1
    cut = scaled.reshape(len(sheets), GRID[0], 2, 16, GRID[1], 2, 16, 3)
    return cut.permute(0, 1, 4, 2, 5, 7, 3, 6).reshape(-1, 768)
