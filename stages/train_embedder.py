"""Fine-tune the embedder on train queries, their pages and mined negatives."""

from pathlib import Path

import pandas as pd

from pagefinder.data.corpus import Corpus
from pagefinder.layout import CORPUS, EMBEDDER, NEGATIVES
from pagefinder.mining.pairs import qrel_rows
from pagefinder.mining.rules import exclusions, resolve_rules
from pagefinder.models.commits import opened_commit
from pagefinder.models.device import choose_device
from pagefinder.models.opening import open_embedder
from pagefinder.models.precision import faster_precision
from pagefinder.params import Params
from pagefinder.training.arguments import TrainingRun
from pagefinder.training.embedder import train_embedder
from pagefinder.training.results import write_results
from stages import resume_folder, run


def main(params: Params, root: Path = Path()) -> None:
    """Write models/embedder and metrics/plots/embedder_training.csv."""
    device_settings = choose_device(params.compute)
    model = open_embedder(params.base, params.pixels, device_settings, root)
    corpus = Corpus(root / CORPUS, params.base.page_content)
    device_settings = faster_precision(model, corpus, device_settings, params.compute)
    negatives = pd.read_parquet(root / NEGATIVES)
    rules = resolve_rules(params.mine, params.data.source)
    qrels = qrel_rows(corpus, "train")
    excluded = exclusions(corpus, rules, qrels[qrels["relevance"] > 0])
    drawing = (rules.near_duplicates, rules.same_document_pages, device_settings.autocast)
    knobs = (params.seed, params.loss, params.pixels, params.compute, params.base, params.embedder)
    inputs = [CORPUS, NEGATIVES, Path(params.checkpoints)]
    checkpoints = resume_folder("train_embedder", (*knobs, *drawing), inputs, root)
    training = TrainingRun(corpus, params.compute, device_settings, params.seed, checkpoints)
    curves = train_embedder(model, negatives, params.embedder, params.loss, training, excluded)
    named = params.base
    commit = opened_commit(named.model, named.revision, "base", root)
    write_results(model, curves, EMBEDDER, checkpoints, root, commit)


if __name__ == "__main__":
    run(main, distributed=True)
