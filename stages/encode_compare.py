"""Encode the corpus with another model to compare with: `python -m stages.encode_compare NAME`."""

import logging
import sys
from pathlib import Path

from pagefinder import encoding, models, work
from pagefinder.corpus import Corpus
from pagefinder.errors import InputError
from pagefinder.params import Base, Params
from stages import COMPARE_VECTORS, CORPUS, run

log = logging.getLogger(__name__)

CODE = [Path("requirements.lock")] + [
    Path(f"pagefinder/{name}.py") for name in "corpus encoding heads models pixels vision".split()
]


def main(params: Params, root: Path = Path(), name: str = "") -> None:
    """Write data/compare/NAME/{pages,queries}.npy."""
    name = name or (sys.argv[1] if len(sys.argv) > 1 else "")
    if name not in params.compare:
        raise InputError(f"{name!r} is not among compare: {', '.join(params.compare) or 'nothing'}")
    other = params.compare[name]
    hardware = models.settle(params.compute, scoring=True)
    pixels = params.pixels.model_copy(update={"max": other.max_pixels or params.pixels.max})
    if pixels.max > params.pixels.max:
        stored = params.pixels.max
        log.warning("%s: stored pages have %d pixels at most: raise pixels.max", name, stored)
    base = Base(**other.model_dump(exclude={"max_pixels"}))
    model = models.open_embedder(base, pixels, hardware, root)
    corpus = Corpus(root / CORPUS)
    if other.max_pixels and models.visual_tokens(model, corpus.image(0)) is None:
        raise InputError(
            f"compare_models.{name}.max_pixels is {other.max_pixels}, but its processor resizes "
            "every page to one size of its own: leave it out"
        )
    inputs = [CORPUS, Path(params.checkpoints), *CODE]
    encoding.write_vectors(
        model,
        corpus,
        pixels,
        hardware,
        params.compute.encode_batch,
        work.checkpoints(
            f"encode_compare-{name}",
            (pixels, params.compute, base),
            [root / path for path in inputs],
            root,
        ),
        root / COMPARE_VECTORS / name,
        root,
    )


if __name__ == "__main__":
    run(main, distributed=True)
