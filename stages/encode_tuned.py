"""Encode every page and query once with the fine-tuned embedder."""

from pathlib import Path

from pagefinder import encoding, models, work
from pagefinder.corpus import Corpus
from pagefinder.params import Params
from stages import CORPUS, EMBEDDER, TUNED_VECTORS, run


def main(params: Params, root: Path = Path()) -> None:
    """Write data/embeddings/tuned/{pages,queries}.npy."""
    hardware = models.settle(params.compute)
    model = models.open_embedder(params.base, params.pixels, hardware, root, root / EMBEDDER)
    with work.output(root / TUNED_VECTORS, root) as folder:
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
