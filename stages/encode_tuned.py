"""Encode every page and query once with the fine-tuned embedder."""

from pathlib import Path

from pagefinder.params import Params
from stages import EMBEDDER, TUNED_VECTORS, run
from stages.encode import encode


def main(params: Params, root: Path = Path()) -> None:
    """Write data/embeddings/tuned/{pages,queries}.npy."""
    base, pixels = params.base, params.pixels
    encode("encode_tuned", base, pixels, TUNED_VECTORS, params, root, saved=EMBEDDER)


if __name__ == "__main__":
    run(main, distributed=True)
