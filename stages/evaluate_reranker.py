"""Rerank the embedder's pages and score the result at every depth."""

from pathlib import Path

import pandas as pd

from pagefinder import models, reranking, work
from pagefinder.corpus import Corpus
from pagefinder.params import Params
from pagefinder.ranking import write_run
from stages import CANDIDATES, CORPUS, METRICS, PER_QUERY, PLOTS, RERANKER, RUNS, run


def main(params: Params, root: Path = Path()) -> None:
    """Write metrics/reranker.json, runs, a per-query table and the depth curve."""
    hardware = models.settle(params.compute, scoring=True)
    corpus = Corpus(root / CORPUS)
    candidates = pd.read_parquet(root / CANDIDATES)
    tuned = models.open_reranker(params.reranker, params.pixels, hardware, root, root / RERANKER)
    models.check_budget(tuned, corpus.image(0), models.on_own_grid(tuned, params.pixels))
    base = models.open_reranker(params.reranker, params.pixels, hardware, root)
    result = reranking.evaluate(
        base,
        tuned,
        corpus,
        candidates,
        params.reranker,
        hardware,
        params.compute.encode_batch,
        resamples=params.evaluate.bootstrap,
        seed=params.seed,
    )
    work.write_json(root / METRICS / "reranker.json", result.metrics, root)
    with work.output(root / PLOTS / "depth.csv", root) as path:
        result.curve.to_csv(path, index=False)
    with work.output(root / PER_QUERY / "reranker.parquet", root) as path:
        result.per_query.to_parquet(path, index=False)
    with work.output(root / RUNS / "reranker", root) as folder:
        folder.mkdir(parents=True)
        for name, answers in result.runs.items():
            write_run(answers, folder / f"{name}.trec", name)


if __name__ == "__main__":
    run(main)
