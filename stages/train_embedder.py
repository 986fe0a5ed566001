"""Fine-tune the embedder on train queries, their pages and mined negatives."""

from pathlib import Path

import pandas as pd

from pagefinder.data.corpus import Corpus
from pagefinder.layout import CORPUS, EMBEDDER, NEGATIVES, PLOTS
from pagefinder.mining import rules as rules_
from pagefinder.models.device import choose_device
from pagefinder.models.opening import open_embedder
from pagefinder.models.saving import save_model
from pagefinder.params import Params
from pagefinder.runtime import outputs, processes, scratch
from pagefinder.training import embedder
from stages import resume_folder, run


def main(params: Params, root: Path = Path()) -> None:
    """Write models/embedder and metrics/plots/embedder_training.csv."""
    device_settings = choose_device(params.compute)
    model = open_embedder(params.base, params.pixels, device_settings, root)
    corpus = Corpus(root / CORPUS)
    negatives = pd.read_parquet(root / NEGATIVES)
    rules = rules_.resolve_rules(params.mine, params.data.source)
    known = rules_.qrel_rows(corpus, "train")
    excluded = rules_.exclusions(corpus, rules, known[known["relevance"] > 0])
    beside = (rules.near_duplicates, rules.same_document_pages)
    knobs = (params.seed, params.loss, params.pixels, params.compute, params.base, params.embedder)
    inputs = [CORPUS, NEGATIVES, Path(params.checkpoints)]
    checkpoints = resume_folder("train_embedder", (*knobs, *beside), inputs, root)
    curves = pd.DataFrame(columns=embedder.CURVE_COLUMNS)
    if params.embedder.epochs:
        curves = embedder.train_embedder(
            model,
            corpus,
            negatives,
            params.embedder,
            params.loss,
            params.compute,
            device_settings,
            params.seed,
            checkpoints,
            excluded,
        )
    if not processes.is_first():
        return
    with outputs.output(root / PLOTS / "embedder_training.csv", root) as path:
        curves.to_csv(path, index=False)
    with outputs.output(root / EMBEDDER, root) as folder:
        save_model(model, folder)
    scratch.discard(checkpoints)


if __name__ == "__main__":
    run(main, distributed=True)
