"""Encode every page and query once with the base embedder."""

from pathlib import Path

from pagefinder import encoding, models, work
from pagefinder.corpus import Corpus
from pagefinder.params import Params
from stages import BASE_VECTORS, CORPUS, run

CODE = [Path("requirements.lock")] + [
    Path(f"pagefinder/{name}.py") for name in "corpus encoding heads models pixels vision".split()
]


def main(params: Params, root: Path = Path()) -> None:
    """Write data/embeddings/base/{pages,queries}.npy."""
    hardware = models.settle(params.compute, scoring=True)
    model = models.open_embedder(params.base, params.pixels, hardware, root)
    knobs = (params.pixels, params.compute, params.base)
    inputs = [CORPUS, Path(params.checkpoints), *CODE]
    encoding.write_vectors(
        model,
        Corpus(root / CORPUS),
        params.pixels,
        hardware,
        params.compute.encode_batch,
        work.checkpoints("encode_base", knobs, [root / path for path in inputs], root),
        root / BASE_VECTORS,
        root,
    )


if __name__ == "__main__":
    run(main, distributed=True)
