"""Fine-tune the embedder on train queries, their pages and mined negatives."""

from pathlib import Path

import pandas as pd

from pagefinder import excluding, launching, models, training, work
from pagefinder.corpus import Corpus
from pagefinder.params import Params
from stages import CORPUS, EMBEDDER, NEGATIVES, PLOTS, resume_folder, run


def main(params: Params, root: Path = Path()) -> None:
    """Write models/embedder and metrics/plots/embedder_training.csv."""
    hardware = models.settle(params.compute)
    model = models.open_embedder(params.base, params.pixels, hardware, root)
    corpus = Corpus(root / CORPUS)
    negatives = pd.read_parquet(root / NEGATIVES)
    rules = excluding.settle_rules(params.mine, params.data.source)
    known = excluding.qrel_rows(corpus, "train")
    excluded = excluding.exclusions(corpus, rules, known[known["relevance"] > 0])
    beside = (rules.near_duplicates, rules.same_document_pages)
    knobs = (params.seed, params.loss, params.pixels, params.compute, params.base, params.embedder)
    inputs = [CORPUS, NEGATIVES, Path(params.checkpoints)]
    checkpoints = resume_folder("train_embedder", (*knobs, *beside), inputs, root)
    curves = pd.DataFrame(columns=training.CURVE_COLUMNS)
    if params.embedder.epochs:
        curves = training.train_embedder(
            model,
            corpus,
            negatives,
            params.embedder,
            params.loss,
            params.compute,
            hardware,
            params.seed,
            checkpoints,
            excluded,
        )
    if not launching.is_first():
        return
    with work.output(root / PLOTS / "embedder_training.csv", root) as path:
        curves.to_csv(path, index=False)
    with work.output(root / EMBEDDER, root) as folder:
        models.save(model, folder)
    work.discard(checkpoints)


if __name__ == "__main__":
    run(main, distributed=True)
