"""Score base, tuned and compared models by dimension and precision, and fused with BM25."""

from pathlib import Path

import stages
from pagefinder import layout
from pagefinder.data.corpus import Corpus
from pagefinder.data.files import write_csv, write_json
from pagefinder.errors import InputError
from pagefinder.evaluation import answers, dimensions, embedder, fusion, recipe, recommending
from pagefinder.evaluation.embedder_runs import embedder_runs
from pagefinder.params import Params
from pagefinder.retrieval.metrics import metrics_per_query
from pagefinder.retrieval.runs import write_runs
from pagefinder.retrieval.tasks import task_of
from pagefinder.retrieval.vectors import open_vectors
from pagefinder.systems import BASE, TUNED


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
    tuned, dev = models[TUNED], task_of(corpus, "dev")
    dims = sorted({tuned.pages.shape[1], *params.embedder.dims}, reverse=True)
    choice = recommending.recommend(dev, tuned, dims, knobs, seed, device)
    grid = dimensions.score_grid(task, models, {BASE: dims, TUNED: dims}, knobs.rescore, device)
    dimension_metrics = dimensions.dimension_metrics(grid, choice)
    claimed = dimensions.claimed_dimensions(dimension_metrics)
    runs, dev_runs, weights = embedder_runs(task, dev, models, claimed, knobs, seed, device)
    scored = {name: metrics_per_query(run, task.qrels) for name, run in runs.items()}
    queries = embedder.query_table(task)
    claims = embedder.comparisons(scored, queries["document_id"].tolist(), knobs.bootstrap, seed)
    metrics = {
        "embedder": embedder.embedder_metrics(scored, list(params.compare), claims),
        "dimensions": dimension_metrics,
        "fusion": fusion.fusion_metrics(scored, weights, claims),
        "answers": answers.answer_metrics(runs, dev_runs, weights, task, dev),
        "recipe": recipe.recipe_metrics(runs, task),
    }

    write_runs(runs, root / layout.RUNS / "embedder", root, task.qrels)
    embedder.write_per_query(queries, scored, root / layout.PER_QUERY / "embedder.parquet", root)
    tables = {
        "comparisons": claims,
        "slices": embedder.slices(scored, queries, knobs.bootstrap, seed),
        "models": embedder.model_sizes(scored, folders),
    }
    for name, table in tables.items():
        write_csv(table, root / layout.PER_QUERY / f"embedder_{name}.csv", root)
    write_csv(grid, root / layout.PLOTS / "dimensions.csv", root)
    write_json(fusion.first_stage(weights), root / layout.FIRST_STAGE, root)
    for name, content in metrics.items():
        write_json(content, root / layout.METRICS / f"{name}.json", root)


if __name__ == "__main__":
    stages.run(main)
