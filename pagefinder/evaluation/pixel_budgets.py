"""Pixel budgets: encode pages again at smaller ones, and measure what the smaller cost saves."""

import logging
from pathlib import Path

import numpy as np

from pagefinder.data.pixels import budget_size
from pagefinder.params import Base, Compute, Pixels
from pagefinder.retrieval.metrics import CUT, mean_metrics
from pagefinder.retrieval.nearest import nearest
from pagefinder.retrieval.tasks import Task
from pagefinder.runtime import imports

log = logging.getLogger(__name__)

CHUNK = 512  # pages decoded at a time
COLUMNS = ["max_pixels", "tokens_per_page", "ndcg@10", "recall@10"]


def encode(
    task: Task, pixels: Pixels, base: Base, compute: Compute, embedder_folder: Path, root: Path
) -> np.ndarray:
    """Encode a task's pages at the budget `pixels` by a stored embedder, float32 [pages, d].

    Pages are stored at the pipeline's budget and resized once more from there, so the smaller ones
    are a little softer than pages that were resized once.
    """
    # Imported here: it takes seconds, and without extra budgets nothing is encoded.
    with imports.fast():
        from pagefinder.models import encoding
        from pagefinder.models.device import choose_device
        from pagefinder.models.opening import open_embedder
        from pagefinder.models.visual_tokens import check_budget

    device_settings = choose_device(compute, scoring=True)
    model = open_embedder(base, pixels, device_settings, root, embedder_folder)
    check_budget(model, task.corpus.page_inputs(task.page_rows[:1])[0], pixels)
    log.info("encoding %d eval pages at %d pixels", len(task.page_rows), pixels.max)
    parts = []
    for start in range(0, len(task.page_rows), CHUNK):
        page_rows = task.page_rows[start : start + CHUNK]
        batch = compute.encode_batch
        vectors = encoding.encode_pages(model, task.corpus, page_rows, device_settings, batch)
        parts.append(vectors)
    return np.concatenate(parts)


def measure(task: Task, pixels: Pixels, queries: np.ndarray, pages: np.ndarray) -> dict[str, float]:
    """The visual tokens per page and the scores at one pixel budget.

    Args:
        task: Queries, and pages to search.
        pixels: The budget; it counts the tokens.
        queries: float32 [queries, d], in the task's order.
        pages: float32 [pages, d], in the task's order.

    Returns:
        max_pixels, tokens_per_page (visual tokens, the mean), ndcg@10, recall@10.
    """
    scores, places = nearest(queries, pages, CUT, tie_break=task.tie_break[task.page_rows])
    means = mean_metrics(task.run(scores, task.page_rows[places]), task.qrels)
    sizes = task.corpus.pages.iloc[task.page_rows][["width", "height"]].itertuples(index=False)
    areas = [width * height for width, height in (budget_size(w, h, pixels) for w, h in sizes)]
    return {
        "max_pixels": pixels.max,
        "tokens_per_page": float(np.mean(areas)) / pixels.multiple**2,
        "ndcg@10": means["ndcg@10"],
        "recall@10": means["recall@10"],
    }
