"""Score base, tuned and compared models at every Matryoshka dimension and precision."""

from functools import partial
from pathlib import Path

import stages
from pagefinder.data.corpus import Corpus
from pagefinder.data.files import write_csv, write_json
from pagefinder.errors import InputError
from pagefinder.evaluation import dimensions, embedder
from pagefinder.evaluation.baselines import baseline_runs
from pagefinder.layout import (
    BASE_VECTORS,
    COMPARE_VECTORS,
    CORPUS,
    METRICS,
    PER_QUERY,
    PLOTS,
    RUNS,
    TUNED_VECTORS,
)
from pagefinder.params import Params
from pagefinder.retrieval.nearest import open_vectors
from pagefinder.retrieval.runs import DEPTH, metrics_per_query
from pagefinder.retrieval.vector_search import search, task
from pagefinder.systems import BASE, DISTRACTORS, TUNED, TUNED_AT


def main(params: Params, root: Path = Path()) -> None:
    """Search the stored vectors; write runs, per-query tables, metrics and plot data."""
    knobs, seed, device = params.evaluate, params.seed, params.compute.device
    corpus = Corpus(root / CORPUS)
    test = task(corpus, "eval")
    if not test.query_ids:
        raise InputError("the corpus has no eval query with an answer: give its source some")
    folders = {BASE: root / BASE_VECTORS, TUNED: root / TUNED_VECTORS}
    folders |= {name: root / COMPARE_VECTORS / name for name in params.compare}
    models = {name: open_vectors(path, corpus) for name, path in folders.items()}
    own = {name: models[name] for name in (BASE, TUNED)}
    width = own[TUNED].pages.shape[1]
    dims = sorted({width, *params.embedder.dims}, reverse=True)
    find = partial(search, k=DEPTH, device=device)

    choice = dimensions.recommended(task(corpus, "dev"), own[TUNED], dims, knobs.tolerance, device)
    table = dimensions.grid(test, models, dict.fromkeys(own, dims), knobs.rescore, device)
    runs = {name: find(test, model) for name, model in models.items()}
    figures = dimensions.dimension_metrics(table, choice)
    runs |= {
        f"{TUNED_AT}{d}": find(test, own[TUNED], dimension=d) for d in dimensions.named(figures)
    }
    wanted = {"text": knobs.text_baseline, "embedder": knobs.text_embedder}
    runs |= baseline_runs(test, **wanted, seed=seed, device=device)
    if knobs.distractors == "all":
        every = task(corpus, "eval", distractors=True)
        runs |= {name + DISTRACTORS: find(every, model) for name, model in own.items()}
    scored = {name: metrics_per_query(run, test.qrels) for name, run in runs.items()}

    about = embedder.about_queries(test)
    draws = {"resamples": knobs.bootstrap, "seed": seed}
    claims = embedder.comparisons(scored, about["document_id"].tolist(), **draws)
    slices = embedder.slices(about, scored, **draws)
    embedder.write_runs(runs, test.qrels, root / RUNS / "embedder", root)
    tables = root / PER_QUERY
    embedder.write_per_query(about, scored, tables / "embedder.parquet", root)
    write_csv(claims, tables / "embedder_comparisons.csv", root)
    write_csv(slices, tables / "embedder_slices.csv", root)
    sizes = embedder.model_sizes(folders, scored)
    write_csv(sizes, tables / "embedder_models.csv", root)
    write_csv(table, root / PLOTS / "dimensions.csv", root)
    metrics = root / METRICS
    content = embedder.embedder_metrics(scored, list(params.compare), claims)
    write_json(content, metrics / "embedder.json", root)
    write_json(figures, metrics / "dimensions.json", root)


if __name__ == "__main__":
    stages.run(main)
