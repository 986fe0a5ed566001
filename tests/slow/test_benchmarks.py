"""The benchmarks run, small: what they print is no claim of speed here."""

import pytest
from tiny import tiny_params, write_root

pytestmark = pytest.mark.slow


def test_the_gpu_benchmark_runs_on_a_cpu():
    from benchmarks import gpu

    table = gpu.measure("tiny", "cpu", minutes=10).set_index("what")
    trained = table[table.index.str.startswith("train, ")]
    assert len(trained) == 6
    assert (trained["rows/s"] > 0).all(), trained
    assert (table.loc[table.index.str.startswith("encode"), "pages/s"] > 0).all()
    assert float(table.loc["gradients, cached against plain, fp32", "note"]) < 1e-4


def test_variants_are_left_out_when_time_is_up():
    from benchmarks import gpu

    assert gpu.measure("tiny", "cpu", minutes=0)["note"].eq("left out: out of time").sum() == 6


def test_the_training_benchmark_runs(tmp_path):
    from benchmarks import training

    root = write_root(tmp_path)
    figures = training.measure(root, tiny_params())
    assert min(figures[name] for name in ("ours", "reference", "ratio", "bf16 over fp32")) > 0
    assert 0 <= figures["ours ndcg@10"] <= 1
    assert 0 <= figures["reference ndcg@10"] <= 1
    assert 0 <= figures["loading"] < 1
