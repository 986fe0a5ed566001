"""Fine-tune the reranker on pairs of train queries and candidate pages."""

from pathlib import Path

import pandas as pd

from pagefinder.data.corpus import Corpus
from pagefinder.layout import CANDIDATES, CORPUS, EMBEDDER, PLOTS, RERANKER
from pagefinder.models.device import choose_device
from pagefinder.models.opening import open_reranker
from pagefinder.models.saving import save_model
from pagefinder.params import Params
from pagefinder.runtime import outputs, processes, scratch
from pagefinder.training import embedder
from stages import resume_folder, run


def main(params: Params, root: Path = Path()) -> None:
    """Write models/reranker and metrics/plots/reranker_training.csv."""
    device_settings = choose_device(params.compute)
    model = open_reranker(params.reranker, params.pixels, device_settings, root)
    corpus = Corpus(root / CORPUS)
    candidates = pd.read_parquet(root / CANDIDATES)
    knobs = (params.seed, params.pixels, params.compute, params.reranker)
    inputs = [CORPUS, CANDIDATES, EMBEDDER, Path(params.checkpoints)]
    checkpoints = resume_folder("train_reranker", knobs, inputs, root)
    curves = pd.DataFrame(columns=embedder.CURVE_COLUMNS)
    if params.reranker.epochs:
        curves = embedder.train_reranker(
            model,
            corpus,
            candidates,
            params.reranker,
            params.compute,
            device_settings,
            params.seed,
            checkpoints,
        )
    if not processes.is_first():
        return
    with outputs.output(root / PLOTS / "reranker_training.csv", root) as path:
        curves.to_csv(path, index=False)
    with outputs.output(root / RERANKER, root) as folder:
        save_model(model, folder)
    scratch.discard(checkpoints)


if __name__ == "__main__":
    run(main, distributed=True)
