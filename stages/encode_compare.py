"""Encode the corpus with another model to compare with: `python -m stages.encode_compare NAME`."""

import logging
import sys
from pathlib import Path

from pagefinder.errors import InputError
from pagefinder.params import Base, Params
from stages import COMPARE_VECTORS, run
from stages.encode import encode

log = logging.getLogger(__name__)


def main(params: Params, root: Path = Path(), name: str = "") -> None:
    """Write data/compare/NAME/{pages,queries}.npy."""
    name = name or (sys.argv[1] if len(sys.argv) > 1 else "")
    if name not in params.compare:
        raise InputError(f"{name!r} is not among compare: {', '.join(params.compare) or 'nothing'}")
    other = params.compare[name]
    stored = params.pixels.max
    pixels = params.pixels.model_copy(update={"max": other.max_pixels or stored})
    if pixels.max > stored:
        log.warning("%s: stored pages have %d pixels at most: raise pixels.max", name, stored)
    base = Base(**other.model_dump(exclude={"max_pixels"}))
    section, target = f"compare_models.{name}", COMPARE_VECTORS / name
    encode("encode_compare", base, pixels, target, params, root, section=section)


if __name__ == "__main__":
    run(main, distributed=True)
