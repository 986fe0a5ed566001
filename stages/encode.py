"""Encode all pages and queries with one model: `python -m stages.encode base|tuned|NAME`.

NAME is a model of `compare`.
"""

import sys
from pathlib import Path

from pagefinder.data.corpus import Corpus
from pagefinder.errors import InputError
from pagefinder.layout import BASE_VECTORS, COMPARE_VECTORS, CORPUS, EMBEDDER, TUNED_VECTORS
from pagefinder.models.device import choose_device
from pagefinder.models.encoding import encode_corpus, write_vectors
from pagefinder.models.opening import compared_embedder, open_embedder
from pagefinder.models.visual_tokens import check_budget, on_own_grid, visual_tokens
from pagefinder.params import Params
from stages import resume_folder, run

VECTORS = {"base": BASE_VECTORS, "tuned": TUNED_VECTORS}


def main(params: Params, root: Path = Path(), name: str = "base") -> None:
    """Write pages.npy, queries.npy and about.json of the model `name`.

    Raises:
        InputError: the model is missing, does not open, or takes no pixel budget.
    """
    base, pixels, section = params.base, params.pixels, "base"
    if name not in VECTORS:
        base, pixels = compared_embedder(params.compare, name, params.pixels)
        section = f"compare_models.{name}"
    saved = root / EMBEDDER if name == "tuned" else None
    device_settings = choose_device(params.compute, scoring=True)
    corpus = Corpus(root / CORPUS, base.page_content)
    corpus.check_text(section)
    model = open_embedder(base, pixels, device_settings, root, saved, section)
    page = corpus.page_inputs([0])[0]
    if name not in VECTORS:  # pages are stored on the base model's grid
        pixels = on_own_grid(model, pixels)
    if pixels != params.pixels and visual_tokens(model, page) is None:
        raise InputError(
            f"{section}.max_pixels is {pixels.max}, but its processor resizes every page to one "
            "size of its own: leave it out"
        )
    check_budget(model, page, pixels)
    inputs = [CORPUS, EMBEDDER if saved else Path(base.model)]
    chunks = resume_folder(stage_of(name), (pixels, params.compute, base), inputs, root)
    encode_corpus(model, corpus, device_settings, params.compute.encode_batch, chunks)
    write_vectors(model, corpus, chunks, root / VECTORS.get(name, COMPARE_VECTORS / name), root)


def stage_of(name: str) -> str:
    """The name in dvc.yaml of the stage that encodes with the model `name`."""
    return f"encode_{name}" if name in VECTORS else "encode_compare"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m stages.encode base|tuned|NAME")
    name = sys.argv[1]
    run(lambda params, root: main(params, root, name), stage=stage_of(name), distributed=True)
