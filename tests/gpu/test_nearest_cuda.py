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
    expected = nearest(queries, pages, 60)
    for found, wanted in zip(nearest(queries, pages, 60, device="cuda"), expected, strict=True):
        assert np.array_equal(found, wanted)
