"""Encode every page and query once with one model: `python -m stages.encode base|tuned|NAME`.

NAME is a model of `compare`.
"""

import logging
import sys
from pathlib import Path

from pagefinder.data.corpus import Corpus
from pagefinder.errors import InputError
from pagefinder.layout import BASE_VECTORS, COMPARE_VECTORS, CORPUS, EMBEDDER, TUNED_VECTORS
from pagefinder.models import encoding
from pagefinder.models.device import choose_device
from pagefinder.models.opening import open_embedder
from pagefinder.models.visual_tokens import on_own_grid, visual_tokens
from pagefinder.params import Base, Params
from stages import resume_folder, run

log = logging.getLogger(__name__)


def main(params: Params, root: Path = Path(), name: str = "base") -> None:
    """Write pages.npy and queries.npy of the model `name`.

    Raises:
        InputError: no such model, it does not open, or it takes no pixel budget.
    """
    base, pixels, section = params.base, params.pixels, "base"
    saved, target = (EMBEDDER, TUNED_VECTORS) if name == "tuned" else (None, BASE_VECTORS)
    if name not in ("base", "tuned"):
        if name not in params.compare:
            known = ", ".join(params.compare) or "nothing"
            raise InputError(f"{name!r} is not among compare: {known}")
        other, section = params.compare[name], f"compare_models.{name}"
        target, base = COMPARE_VECTORS / name, Base(**other.model_dump(exclude={"max_pixels"}))
        pixels = pixels.model_copy(update={"max": other.max_pixels or pixels.max})
        if pixels.max > params.pixels.max:
            log.warning(
                "%s: stored pages have %d pixels at most: raise pixels.max", name, params.pixels.max
            )
    settings = choose_device(params.compute, scoring=True)
    weights = root / saved if saved else None
    model = open_embedder(base, pixels, settings, root, weights, section)
    corpus = Corpus(root / CORPUS)
    if section != "base":  # pages are stored on the base model's grid
        pixels = on_own_grid(model, pixels)
    if pixels != params.pixels and visual_tokens(model, corpus.image(0)) is None:
        raise InputError(
            f"{section}.max_pixels is {pixels.max}, but its processor resizes every page to one "
            "size of its own: leave it out"
        )
    inputs = [CORPUS, saved or Path(base.model)]
    chunks = resume_folder(stage_of(name), (pixels, params.compute, base), inputs, root)
    batch = params.compute.encode_batch
    encoding.write_vectors(model, corpus, pixels, settings, batch, chunks, root / target, root)


def stage_of(name: str) -> str:
    """What dvc.yaml calls the stage that encodes with the model `name`."""
    return f"encode_{name}" if name in ("base", "tuned") else "encode_compare"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {__doc__.partition('`')[2].partition('`')[0]}")
    run(
        lambda params, root: main(params, root, sys.argv[1]),
        stage=stage_of(sys.argv[1]),
        distributed=True,
    )
