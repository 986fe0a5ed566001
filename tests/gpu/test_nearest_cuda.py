"""Search on a GPU gives the rows and scores of the CPU, bit by bit."""

import numpy as np
import pytest
import torch

from pagefinder.retrieval.nearest import nearest

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_same_pages_and_scores_as_on_the_cpu() -> None:
    rng = np.random.default_rng(0)
    pages = rng.standard_normal((5000, 256)).astype(np.float32)
    pages /= np.linalg.norm(pages, axis=1, keepdims=True)
    pages[100:200] = pages[7]
    queries = np.concatenate([pages[:50], -pages[50:60]])
    scores, rows = nearest(queries, pages, 60)
    cuda_scores, cuda_rows = nearest(queries, pages, 60, device="cuda")
    assert np.array_equal(cuda_scores, scores)
    assert np.array_equal(cuda_rows, rows)
