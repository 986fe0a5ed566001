"""The runs of all systems that evaluate_embedder scores."""

from collections.abc import Iterable, Mapping
from functools import partial

from pagefinder.evaluation.baselines import baseline_runs
from pagefinder.evaluation.fusion import Weights, fuse_with_bm25, weighing_task
from pagefinder.params import Evaluate
from pagefinder.retrieval.bm25 import bm25_run
from pagefinder.retrieval.runs import DEPTH, Run
from pagefinder.retrieval.tasks import Task, task_of
from pagefinder.retrieval.vector_search import search
from pagefinder.retrieval.vectors import Vectors
from pagefinder.retrieval.words import has_words
from pagefinder.systems import BASE, BM25, DISTRACTORS, TUNED, TUNED_AT


def embedder_runs(
    task: Task,
    dev: Task,
    models: Mapping[str, Vectors],
    dims: Iterable[int],
    knobs: Evaluate,
    seed: int,
    device: str,
) -> tuple[dict[str, Run], dict[str, Run], Weights]:
    """The runs by system: models, baselines, both fused; those on dev; the weights of fused ones.

    Args:
        task: Of eval.
        dev: Of dev, whose queries choose the weights, see `weighing_task`.
        models: Vectors by the model's name, base and tuned among them.
        dims: Dimensions to which the tuned model is cut as well.
        knobs: Say which baselines run, and whether a second search is among all pages.
        seed: Of the random run.
        device: Of the searches.

    Returns:
        DEPTH pages for each query on eval; on dev, of what can be fused and of BM25; the weights
        of `fuse_with_bm25`.
    """
    deep_search = partial(search, k=DEPTH, device=device)
    searches = {name: partial(deep_search, vectors=vectors) for name, vectors in models.items()}
    cuts = {f"{TUNED_AT}{d}": partial(searches[TUNED], dimension=d) for d in dims}
    runs = {name: run_search(task) for name, run_search in (searches | cuts).items()}
    runs |= baseline_runs(task, knobs.text_baseline, knobs.text_embedder, seed, device)
    fusible = {name: searches[name] for name in (BASE, TUNED)} | cuts
    dev_runs = {name: run_search(dev) for name, run_search in fusible.items() if dev.query_ids}
    weighing, weighing_runs = weighing_task(dev), dict[str, Run]()
    if dev_runs and BM25 in runs and has_words(dev.page_texts()):
        dev_runs[BM25] = bm25_run(dev)
        weighing_runs = {name: run_search(weighing) for name, run_search in fusible.items()}
        weighing_runs[BM25] = bm25_run(weighing)
    fused, weights = fuse_with_bm25(runs, weighing_runs, weighing)
    runs |= fused
    if knobs.distractors == "all":
        all_pages = task_of(task.corpus, "eval", distractors=True)
        runs |= {name + DISTRACTORS: searches[name](all_pages) for name in (BASE, TUNED)}
    return runs, dev_runs, weights
