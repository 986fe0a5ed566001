"""Encode every page and query once with the base embedder."""

from pathlib import Path

from pagefinder.params import Params
from stages import BASE_VECTORS, run
from stages.encode import encode


def main(params: Params, root: Path = Path()) -> None:
    """Write data/embeddings/base/{pages,queries}.npy."""
    encode("encode_base", params.base, params.pixels, BASE_VECTORS, params, root)


if __name__ == "__main__":
    run(main, distributed=True)
