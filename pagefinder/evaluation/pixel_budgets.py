"""Pixel budgets: encode pages again at smaller ones, and measure what the smaller cost saves."""

import logging
from pathlib import Path

import numpy as np

from pagefinder.data.pixels import budget_size
from pagefinder.params import Params, Pixels
from pagefinder.retrieval.nearest import nearest
from pagefinder.retrieval.runs import mean_metrics
from pagefinder.retrieval.vector_search import Task

log = logging.getLogger(__name__)

CHUNK = 512  # pages decoded at a time
CUT = 10  # pages per question: the metrics look no deeper


def encode(params: Params, pixels: Pixels, test: Task, saved: Path, root: Path) -> np.ndarray:
    """Encode a task's pages at another budget with the model in `saved`, float32 [pages, d].

    Pages are stored at the pipeline's own budget and resized once more from there, so the smaller
    ones are a little softer than pages that were resized once.
    """
    # Imported here: it takes seconds, and without extra budgets nothing is encoded.
    from pagefinder.models import encoding
    from pagefinder.models.device import choose_device
    from pagefinder.models.opening import open_embedder
    from pagefinder.models.visual_tokens import check_budget

    device_settings = choose_device(params.compute, scoring=True)
    model = open_embedder(params.base, pixels, device_settings, root, saved)
    check_budget(model, test.corpus.image(int(test.page_rows[0])), pixels)
    batch = params.compute.encode_batch
    starts = range(0, len(test.page_rows), CHUNK)
    parts = [test.page_rows[start : start + CHUNK] for start in starts]
    log.info("encoding %d eval pages at %d pixels", len(test.page_rows), pixels.max)
    return np.concatenate(
        [encoding.encode_pages(model, test.corpus, part, device_settings, batch) for part in parts]
    )


def measure(test: Task, pixels: Pixels, queries: np.ndarray, pages: np.ndarray) -> dict[str, float]:
    """What a budget costs and scores.

    Args:
        test: What is searched.
        pixels: The budget.
        queries: float32 [questions, d], in the task's order.
        pages: float32 [pages, d], in the task's order.

    Returns:
        max_pixels, tokens_per_page (visual tokens, the mean), ndcg@10, recall@10.
    """
    scores, places = nearest(queries, pages, CUT, tie_break=test.tie_break[test.page_rows])
    means = mean_metrics(test.run(scores, test.page_rows[places]), test.qrels)
    sizes = test.corpus.pages.iloc[test.page_rows][["width", "height"]].itertuples(index=False)
    areas = [width * height for width, height in (budget_size(w, h, pixels) for w, h in sizes)]
    tokens = float(np.mean(areas)) / pixels.multiple**2
    figures = {"ndcg@10": means["ndcg@10"], "recall@10": means["recall@10"]}
    return {"max_pixels": pixels.max, "tokens_per_page": tokens} | figures
