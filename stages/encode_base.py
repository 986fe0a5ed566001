"""Encode every page and query once with the base embedder."""

from pathlib import Path

from pagefinder import encoding, models, work
from pagefinder.corpus import Corpus
from pagefinder.params import Params
from stages import BASE_VECTORS, CORPUS, run


def main(params: Params, root: Path = Path()) -> None:
    """Write data/embeddings/base/{pages,queries}.npy."""
    hardware = models.settle(params.compute)
    model = models.open_embedder(params.base, params.pixels, hardware, root)
    with work.output(root / BASE_VECTORS, root) as folder:
        encoding.encode_corpus(
            model,
            Corpus(root / CORPUS),
            params.pixels,
            hardware,
            params.compute.encode_batch,
            folder,
        )


if __name__ == "__main__":
    run(main)
