"""Score base, tuned and compared models at every Matryoshka dimension and precision."""

from functools import partial
from pathlib import Path

import stages
from pagefinder import layout
from pagefinder.data.corpus import Corpus
from pagefinder.data.files import write_csv, write_json
from pagefinder.errors import InputError
from pagefinder.evaluation import dimensions, embedder
from pagefinder.evaluation.baselines import baseline_runs
from pagefinder.params import Params
from pagefinder.retrieval.metrics import metrics_per_query
from pagefinder.retrieval.runs import DEPTH, write_runs
from pagefinder.retrieval.tasks import task_of
from pagefinder.retrieval.vector_search import search
from pagefinder.retrieval.vectors import open_vectors
from pagefinder.systems import BASE, DISTRACTORS, TUNED, TUNED_AT


def main(params: Params, root: Path = Path()) -> None:
    """Search the stored vectors; write runs, per-query tables, metrics and plot data."""
    knobs, seed, device = params.evaluate, params.seed, params.compute.device
    corpus = Corpus(root / layout.CORPUS)
    task = task_of(corpus, "eval")
    if not task.query_ids:
        raise InputError("the corpus has no eval query with an answer: give its source some")
    folders = {BASE: root / layout.BASE_VECTORS, TUNED: root / layout.TUNED_VECTORS}
    folders |= {name: root / layout.COMPARE_VECTORS / name for name in params.compare}
    models = {name: open_vectors(folder, corpus) for name, folder in folders.items()}
    tuned = models[TUNED]
    dims = sorted({tuned.pages.shape[1], *params.embedder.dims}, reverse=True)
    dev = task_of(corpus, "dev")
    choice = dimensions.recommended_dimension(dev, tuned, dims, knobs.tolerance, device)
    grid = dimensions.score_grid(task, models, {BASE: dims, TUNED: dims}, knobs.rescore, device)
    dimension_metrics = dimensions.dimension_metrics(grid, choice)
    deep_search = partial(search, k=DEPTH, device=device)
    runs = {name: deep_search(task, vectors) for name, vectors in models.items()}
    for dimension in dimensions.claimed_dimensions(dimension_metrics):
        runs[f"{TUNED_AT}{dimension}"] = deep_search(task, tuned, dimension=dimension)
    runs |= baseline_runs(task, knobs.text_baseline, knobs.text_embedder, seed, device)
    if knobs.distractors == "all":
        all_pages = task_of(corpus, "eval", distractors=True)
        for name in (BASE, TUNED):
            runs[name + DISTRACTORS] = deep_search(all_pages, models[name])
    scored = {name: metrics_per_query(run, task.qrels) for name, run in runs.items()}

    queries = embedder.query_table(task)
    claims = embedder.comparisons(scored, queries["document_id"].tolist(), knobs.bootstrap, seed)
    slices = embedder.slices(scored, queries, knobs.bootstrap, seed)
    sizes = embedder.model_sizes(scored, folders)
    metrics = embedder.embedder_metrics(scored, list(params.compare), claims)

    write_runs(runs, root / layout.RUNS / "embedder", root, task.qrels)
    embedder.write_per_query(queries, scored, root / layout.PER_QUERY / "embedder.parquet", root)
    for name, table in {"comparisons": claims, "slices": slices, "models": sizes}.items():
        write_csv(table, root / layout.PER_QUERY / f"embedder_{name}.csv", root)
    write_csv(grid, root / layout.PLOTS / "dimensions.csv", root)
    write_json(metrics, root / layout.METRICS / "embedder.json", root)
    write_json(dimension_metrics, root / layout.METRICS / "dimensions.json", root)


if __name__ == "__main__":
    stages.run(main)
