"""Every test of results runs on the CPU too, so that it is known to work before it meets a GPU."""

import pytest
import torch

NEEDS_CUDA = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture(
    scope="module",
    params=[pytest.param("cpu", marks=pytest.mark.slow), pytest.param("cuda", marks=NEEDS_CUDA)],
)
def device(request):
    """The device that a test computes on."""
    return request.param


@pytest.fixture(scope="module")
def compute(device):
    """Knobs of `compute` as the profile of the device has them, but small."""
    if device == "cpu":
        return {"device": "cpu", "precision": "bf16", "scoring": "fp32", "workers": 1}
    attention = {"attention": "auto"}
    return {"device": "cuda", "precision": "bf16", "scoring": "auto", "workers": 2} | attention
