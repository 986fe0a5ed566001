"""Fine-tune the reranker on pairs of train queries and candidate pages."""

from pathlib import Path

import pandas as pd

from pagefinder.data.corpus import Corpus
from pagefinder.layout import CANDIDATES, CORPUS, EMBEDDER, RERANKER
from pagefinder.models.commits import opened_commit
from pagefinder.models.device import choose_device
from pagefinder.models.opening import open_reranker
from pagefinder.models.precision import faster_precision
from pagefinder.params import Params
from pagefinder.training.arguments import TrainingRun
from pagefinder.training.reranker import train_reranker
from pagefinder.training.results import write_nothing, write_results
from stages import resume_folder, run


def main(params: Params, root: Path = Path()) -> None:
    """Write models/reranker and metrics/plots/reranker_training.csv; empty without a reranker."""
    if not params.reranker.model:
        write_nothing(RERANKER, root)
        return
    corpus = Corpus(root / CORPUS, params.reranker.page_content)
    corpus.check_text("reranker")
    device_settings = choose_device(params.compute)
    model = open_reranker(params.reranker, params.pixels, device_settings, root)
    device_settings = faster_precision(model, corpus, device_settings, params.compute)
    knobs = (
        params.seed,
        params.pixels,
        params.compute,
        params.reranker,
        device_settings.autocast,
    )
    inputs = [CORPUS, CANDIDATES, EMBEDDER, Path(params.checkpoints)]
    checkpoints = resume_folder("train_reranker", knobs, inputs, root)
    training = TrainingRun(corpus, params.compute, device_settings, params.seed, checkpoints)
    candidates = pd.read_parquet(root / CANDIDATES)
    curves = train_reranker(model, candidates, params.reranker, training)
    named = params.reranker
    commit = opened_commit(named.model, named.revision, "reranker", root)
    write_results(model, curves, RERANKER, checkpoints, root, commit)


if __name__ == "__main__":
    run(main, distributed=True)
