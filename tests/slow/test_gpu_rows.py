"""benchmarks.gpu runs, small: what it prints is no claim of speed here."""

import re

import pytest

from benchmarks import gpu

pytestmark = pytest.mark.slow


# What torch.compile warns of inside itself.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_the_gpu_benchmark_runs_on_a_cpu():
    table = gpu.measure("tiny", "cpu", minutes=10).set_index("what")
    failed = table["note"].str.startswith("failed", na=False)
    assert not failed.any(), table.loc[failed, "note"].tolist()
    trained = table[table.index.str.startswith("train, ")]
    assert trained["rows/s"].notna().sum() == 5  # SDPA is what was chosen anyway
    assert (table.loc[table.index.str.startswith("encode"), "pages/s"] > 0).all()
    assert table.index[1].startswith("gradients, float32")


def test_gradients_are_those_of_the_plain_loss():
    notes = gpu.measure("tiny", "cpu", minutes=10, only="gradients")["note"]
    found = [
        re.match(r"relative error (\S+), lowest cosine (\S+) ", note).groups() for note in notes[1:]
    ]
    (exact, exact_cosine), (half, half_cosine) = [tuple(map(float, pair)) for pair in found]
    assert exact < 1e-4
    assert exact_cosine > 0.9999
    assert 1e-3 < half < 0.1
    assert half_cosine > 0.99


def test_variants_are_left_out_when_time_is_up():
    table = gpu.measure("tiny", "cpu", minutes=0)
    assert table["note"].eq("left out: out of time").sum() == len(table) - 1


def test_a_prediction_is_near_the_time_it_took():
    """Loosely: other work runs beside it."""
    gpu.measure("tiny", "cpu", minutes=10, only="predicted")  # imports and first kernels
    note = gpu.measure("tiny", "cpu", minutes=10, only="predicted")["note"].iloc[1]
    predicted, took = map(float, re.match(r"predicted (\S+) s, took (\S+) s", note).groups())
    assert 0.5 < predicted / took < 2, note
