"""What the stages encode_* do, each with its own model."""

from pathlib import Path

from pagefinder import encoding, models
from pagefinder.corpus import Corpus
from pagefinder.errors import InputError
from pagefinder.params import Base, Params, Pixels
from stages import CORPUS, resume_folder


def encode(
    stage: str,
    base: Base,
    pixels: Pixels,
    target: Path,
    params: Params,
    root: Path,
    *,
    saved: Path | None = None,
    section: str = "base",
) -> None:
    """Encode every page and query once, going on from what an interrupted run left.

    Args:
        stage: As dvc.yaml calls it.
        base: The model.
        pixels: The budget that the model sees pages at.
        target: Folder to write pages.npy and queries.npy to.
        params: Of the run.
        root: Folder that all paths are relative to.
        saved: Folder of a fine-tuned model; `base` then gives no more than its prompts.
        section: Of params.yaml that `base` comes from.

    Raises:
        InputError: the model cannot be opened, or takes no pixel budget.
    """
    hardware = models.settle(params.compute, scoring=True)
    model = models.open_embedder(
        base, pixels, hardware, root, root / saved if saved else None, section
    )
    corpus = Corpus(root / CORPUS)
    if section != "base":  # the corpus is made for the base, and on its grid
        pixels = models.on_own_grid(model, pixels)
    if pixels != params.pixels and models.visual_tokens(model, corpus.image(0)) is None:
        raise InputError(
            f"{section}.max_pixels is {pixels.max}, but its processor resizes every page to one "
            "size of its own: leave it out"
        )
    inputs = [CORPUS, saved or Path(params.checkpoints)]
    chunks = resume_folder(stage, (pixels, params.compute, base), inputs, root)
    batch = params.compute.encode_batch
    encoding.write_vectors(model, corpus, pixels, hardware, batch, chunks, root / target, root)
