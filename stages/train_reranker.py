"""Fine-tune the reranker on pairs of train queries and candidate pages."""

from pathlib import Path

import pandas as pd

from pagefinder import launching, models, training, work
from pagefinder.corpus import Corpus
from pagefinder.params import Params
from stages import CANDIDATES, CORPUS, EMBEDDER, PLOTS, RERANKER, resume_folder, run


def main(params: Params, root: Path = Path()) -> None:
    """Write models/reranker and metrics/plots/reranker_training.csv."""
    hardware = models.settle(params.compute)
    model = models.open_reranker(params.reranker, params.pixels, hardware, root)
    corpus = Corpus(root / CORPUS)
    candidates = pd.read_parquet(root / CANDIDATES)
    knobs = (params.seed, params.pixels, params.compute, params.reranker)
    inputs = [CORPUS, CANDIDATES, EMBEDDER, Path(params.checkpoints)]
    checkpoints = resume_folder("train_reranker", knobs, inputs, root)
    curves = pd.DataFrame(columns=training.CURVE_COLUMNS)
    if params.reranker.epochs:
        curves = training.train_reranker(
            model,
            corpus,
            candidates,
            params.reranker,
            params.compute,
            hardware,
            params.seed,
            checkpoints,
        )
    if not launching.is_first():
        return
    with work.output(root / PLOTS / "reranker_training.csv", root) as path:
        curves.to_csv(path, index=False)
    with work.output(root / RERANKER, root) as folder:
        models.save(model, folder)
    work.discard(checkpoints)


if __name__ == "__main__":
    run(main, distributed=True)
