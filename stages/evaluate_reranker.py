"""Rerank the first stage's pages and score the result at every depth."""

from pathlib import Path

import pandas as pd

from pagefinder.data.corpus import Corpus
from pagefinder.data.files import write_json
from pagefinder.evaluation import reranker
from pagefinder.layout import CANDIDATES, CORPUS, METRICS, PER_QUERY, PLOTS, RERANKER, RUNS
from pagefinder.models.device import choose_device
from pagefinder.models.opening import open_reranker
from pagefinder.models.scoring import shared_scorers
from pagefinder.models.visual_tokens import check_budget, on_own_grid
from pagefinder.params import Params
from pagefinder.retrieval.runs import write_runs
from pagefinder.runtime import outputs
from stages import run


def main(params: Params, root: Path = Path()) -> None:
    """Write metrics/reranker.json, runs, a per-query table and the depth curve.

    Without a reranker they are empty.
    """
    result = _evaluated(params, root) if params.reranker.model else reranker.NOT_MEASURED
    write_json(result.metrics, root / METRICS / "reranker.json", root)
    with outputs.output(root / PLOTS / "depth.csv", root) as path:
        result.curve.to_csv(path, index=False)
    with outputs.output(root / PER_QUERY / "reranker.parquet", root) as path:
        result.per_query.to_parquet(path, index=False)
    write_runs(result.runs, root / RUNS / "reranker", root)


def _evaluated(params: Params, root: Path) -> reranker.Result:
    """Score base and tuned reranker."""
    device_settings = choose_device(params.compute, scoring=True)
    corpus = Corpus(root / CORPUS, params.reranker.page_content)
    candidates = pd.read_parquet(root / CANDIDATES)
    tuned = open_reranker(params.reranker, params.pixels, device_settings, root, root / RERANKER)
    check_budget(tuned, corpus.page_inputs([0])[0], on_own_grid(tuned, params.pixels))
    base = open_reranker(params.reranker, params.pixels, device_settings, root)
    score_base, score_tuned = shared_scorers(
        (base, tuned),
        corpus,
        candidates.loc[candidates["split"] == "eval", "page_id"].unique().tolist(),
        device_settings,
        params.compute.encode_batch,
        params.reranker.vision_cache_gib * 2**30,
    )
    return reranker.evaluate(
        candidates,
        corpus,
        score_base,
        score_tuned,
        params.reranker,
        resamples=params.evaluate.bootstrap,
        seed=params.seed,
    )


if __name__ == "__main__":
    run(main)
