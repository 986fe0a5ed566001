"""What a tuned embedder has to beat: BM25 and a text embedder on the pages' text, and chance."""

import logging

import numpy as np

from pagefinder.models.packaged import packaged_folder
from pagefinder.retrieval.bm25 import bm25_run
from pagefinder.retrieval.nearest import nearest
from pagefinder.retrieval.runs import DEPTH, Run
from pagefinder.retrieval.tasks import Task
from pagefinder.retrieval.words import has_words
from pagefinder.systems import BM25, MINILM, RANDOM

log = logging.getLogger(__name__)


def baseline_runs(task: Task, bm25: bool, minilm: bool, seed: int, device: str) -> dict[str, Run]:
    """The runs of the baselines by name: random, and where pages have text, bm25 and minilm.

    Args:
        task: Queries, and pages to search.
        bm25: Whether to run BM25.
        minilm: Whether to run the text embedder.
        seed: Of the random run.
        device: Of the text embedder.
    """
    runs = {RANDOM: random_run(task, seed)}
    if not (bm25 or minilm):
        return runs
    if not has_words(task.page_texts()):
        log.info("no page of this split has text: no text baseline")
        return runs
    if bm25:
        runs[BM25] = bm25_run(task)
    if minilm:
        runs[MINILM] = minilm_run(task, device)
    return runs


def random_run(task: Task, seed: int) -> Run:
    """The run of random pages for each query: its score is that of chance."""
    rng = np.random.default_rng(seed)
    k = min(DEPTH, len(task.page_rows))
    page_rows = np.array([rng.choice(task.page_rows, k, replace=False) for _ in task.query_ids])
    scores = np.broadcast_to(np.arange(k, 0, -1, dtype=np.float32), page_rows.shape)
    return task.run(scores, page_rows)


def minilm_run(task: Task, device: str) -> Run:
    """The run of the text embedder all-MiniLM-L6-v2 over each page's first 256 tokens of text.

    Its weights come with a Python package, so this works without a network.

    Raises:
        InputError: the package is not installed, or holds other weights.
    """
    folder = packaged_folder("evaluate.text_embedder")
    # Imported only here: it takes seconds, and only this baseline needs it.
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device=None if device == "auto" else device)
    encode = {"normalize_embeddings": True, "show_progress_bar": False}
    queries = np.asarray(model.encode(task.query_texts, **encode), np.float32)
    pages = np.asarray(model.encode(list(task.page_texts()), **encode), np.float32)
    ties = task.tie_break[task.page_rows]
    scores, places = nearest(queries, pages, DEPTH, tie_break=ties, device=device)
    return task.run(scores, task.page_rows[places])
