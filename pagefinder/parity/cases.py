"""Golden cases: what a released model makes of a few pages and questions, in a folder beside it.

`golden/cases.json` holds the settings of the model, and for each question and page the prompt as
the model read it, its number of tokens and its vector or score. Pages are PNG files beside it.
Vectors are of float32 arithmetic, rounded to five digits.
"""

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pagefinder.data.corpus import PageInput
from pagefinder.errors import InputError

GOLDEN, CASES = "golden", "cases.json"
DIGITS = 5


@dataclass(frozen=True)
class Case:
    """A question, a page or, for a reranker, a pair of both.

    Attributes:
        name: Such as "query 1", "page 2", "query 1, page 2".
        kind: query, page or pair.
        query: Text of the question; "" for a page.
        text: Text of the page, where the model reads it.
        image: Name of the page's PNG file beside cases.json, where the model sees it.
        rendered: What the model read, decoded from its tokens; a run of equal tokens is shortened.
        tokens: Their number.
        vector: The embedding, or the logit alone.
        base: The same of the model before tuning; empty where it was not at hand.
    """

    name: str
    kind: str
    query: str
    text: str | None
    image: str | None
    rendered: str
    tokens: int
    vector: list[float]
    base: list[float]


@dataclass(frozen=True)
class Golden:
    """The cases of a model.

    Attributes:
        settings: How the model is to be served; see `running.settings_of`.
        tolerance: How far a cosine may be from 1, or a reranker's logit from the golden one:
            several times as far as arithmetic in bfloat16 moves it.
        cases: In the order of the file.
        folder: Of the files.
    """

    settings: dict[str, Any]
    tolerance: float
    cases: list[Case]
    folder: Path

    @property
    def reranks(self) -> bool:
        """Whether the model is a reranker."""
        return bool(self.settings["kind"] == "reranker")

    def of(self, kind: str) -> list[Case]:
        """The cases of a kind."""
        return [case for case in self.cases if case.kind == kind]

    def vectors(self) -> np.ndarray:
        """The golden vectors, float64 [cases, dimension]."""
        return np.array([case.vector for case in self.cases])

    def page(self, case: Case) -> PageInput:
        """The page of a case as the model takes it."""
        if case.image is None:
            return case.text or ""
        image = Image.open(self.folder / case.image)
        image.load()
        return image if case.text is None else {"image": image, "text": case.text}


def write_golden(golden: Golden, images: dict[str, Image.Image]) -> None:
    """Write the folder of the golden cases; `images` by the name of their file."""
    golden.folder.mkdir(parents=True)
    for name, image in images.items():
        buffer = io.BytesIO()
        image.save(buffer, "PNG", optimize=True)
        (golden.folder / name).write_bytes(buffer.getvalue())
    cases = [_rounded(asdict(case)) for case in golden.cases]
    lines = ",\n  ".join(json.dumps(case) for case in cases)
    settings = json.dumps(golden.settings, indent=2).replace("\n", "\n ")
    text = f'{{\n "settings": {settings},\n "tolerance": {golden.tolerance},\n "cases": [\n  '
    (golden.folder / CASES).write_text(f"{text}{lines}\n ]\n}}\n", encoding="utf-8")


def read_golden(model: Path) -> Golden:
    """The golden cases beside a released model.

    Raises:
        InputError: there are none, or they are damaged.
    """
    path = model / GOLDEN / CASES
    if not path.is_file():
        raise InputError(f"{path} is not there: run `make repro`, or name another --release")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        cases = [Case(**case) for case in content["cases"]]
        return Golden(content["settings"], float(content["tolerance"]), cases, path.parent)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}): run `dvc repro -f -s export`") from error


def _rounded(case: dict[str, Any]) -> dict[str, Any]:
    """The case with its vectors rounded; never minus zero, whose bytes differ from zero's."""
    vectors = {
        key: [round(float(number), DIGITS) + 0.0 for number in case[key]]
        for key in ("vector", "base")
    }
    return case | vectors
