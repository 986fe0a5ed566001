"""Encode every page and query once with the fine-tuned embedder."""

from pathlib import Path

from pagefinder import encoding, models, work
from pagefinder.corpus import Corpus
from pagefinder.params import Params
from stages import CORPUS, EMBEDDER, TUNED_VECTORS, run

CODE = [Path("requirements.lock")] + [
    Path(f"pagefinder/{name}.py") for name in "corpus encoding heads models pixels vision".split()
]


def main(params: Params, root: Path = Path()) -> None:
    """Write data/embeddings/tuned/{pages,queries}.npy."""
    hardware = models.settle(params.compute, scoring=True)
    model = models.open_embedder(params.base, params.pixels, hardware, root, root / EMBEDDER)
    knobs = (params.pixels, params.compute, params.base)
    inputs = [CORPUS, EMBEDDER, *CODE]
    encoding.write_vectors(
        model,
        Corpus(root / CORPUS),
        params.pixels,
        hardware,
        params.compute.encode_batch,
        work.checkpoints("encode_tuned", knobs, [root / path for path in inputs], root),
        root / TUNED_VECTORS,
        root,
    )


if __name__ == "__main__":
    run(main, distributed=True)
