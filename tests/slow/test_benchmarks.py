"""The benchmarks run, small: what they print is no claim of speed here."""

import json

import pandas as pd
import pytest
import yaml
from tiny import tiny_params, write_root

from pagefinder import params_file
from pagefinder.models.device import choose_device
from pagefinder.models.opening import open_reranker
from pagefinder.models.saving import save_model
from stages import train_embedder

pytestmark = pytest.mark.slow


def test_the_training_benchmark_runs(tmp_path):
    from benchmarks import training

    root = write_root(tmp_path)
    figures = dict(training.measure(root, tiny_params(), rounds=2, references=["bf16"]))
    for seed in (13, 14):
        for side in ("ours", "bf16"):
            assert figures[f"{side}, s, seed {seed}"] > 0
            assert 0 <= figures[f"{side}, ndcg@10, seed {seed}"] <= 1
    assert min(figures[name] for name in ("ours over bf16, time", "bf16 over fp32")) > 0
    assert -1 <= figures["ours over bf16, ndcg@10"] <= 1
    assert 0 <= figures["share of a step that waits, bf16"] < 1


@pytest.mark.parametrize("side", ["train_embedder", "expert"])
def test_a_training_of_the_yardsticks_runs(tmp_path, side):
    from benchmarks import yardsticks

    root = write_root(tmp_path)
    found = yardsticks.child(side, root)
    assert found[side][0].seconds > 0
    assert found[side][0].processor > 0
    assert not (root / "models/embedder").exists()  # it works in a folder of its own


def test_the_report_of_a_yardstick_has_medians_and_the_ratios_of_rounds():
    from benchmarks.costs import Cost
    from benchmarks.yardsticks import report

    ours = [Cost(2.0, 3.0), Cost(9.0, 3.0), Cost(4.0, 6.0)]
    other = [Cost(4.0, 6.0), Cost(9.0, 2.0), Cost(5.0, 8.0)]
    rows = report("expert", {"train_embedder": ours, "expert": other}).splitlines()
    assert rows[0].split()[1:5] == ["train_embedder", "4.0", "s", "3.0"]
    assert rows[1].split()[1:5] == ["expert", "5.0", "s", "6.0"]
    assert "0.800 (0.500 to 1.000), of processors 0.750 (0.500 to 1.500), aim 1.05" in rows[2]


def test_the_reranking_benchmark_runs(tmp_path):
    from benchmarks import reranking

    root = write_root(tmp_path)
    knobs = tiny_params()
    device_settings = choose_device(knobs.compute)
    model = open_reranker(knobs.reranker, knobs.pixels, device_settings, root)
    save_model(model, root / "models/reranker")
    rows = [
        (f"q{i}", f"p{page}", "eval", rank)
        for i in range(32, 36)
        for rank, page in enumerate(range(32, 40), 1)
    ]
    table = pd.DataFrame(rows, columns=["query_id", "page_id", "split", "rank"])
    table.to_parquet(root / "data/candidates.parquet")
    found = reranking.measure(root, knobs, queries=3, rounds=1)
    assert found["way"].tolist() == ["forward", "a query", "together"]
    assert (found["pages/s"] > 0).all()
    assert found["ratio"][0] == 1


def test_the_evaluation_benchmark_runs_where_models_are_compared(tmp_path):
    from benchmarks import evaluation

    root = write_root(tmp_path / "root", embedder={"epochs": 0})
    content = params_file.read(root / "params.yaml")
    train_embedder.main(params_file.parse(content), root)
    content |= {"compare": ["a"], "compare_models": {"a": {"model": "models/vlm"}}}
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    folder = tmp_path / "scratch"
    evaluation.lay_out(folder, [192, 24], root)
    for stage in (*evaluation.ENCODE, "evaluate_embedder"):
        assert evaluation.seconds(stage, folder) > 0
    dims = json.loads((folder / "metrics/dimensions.json").read_text())["dims"]
    assert list(dims) == ["192", "24"]


def test_the_mining_benchmark_runs():
    from benchmarks import mining

    found = mining.measure(queries=40, pages=300, width=32, rounds=2)
    assert found["plain_s"] >= 0
    assert found["ratio"] > 0
    assert {name: len(times) for name, times in found["rounds"].items()} == {
        "plain": 2,
        "mining": 2,
    }
    assert 0 <= found["extra_mib"] < 500


def test_the_growth_benchmark_runs_every_stage(tmp_path):
    from benchmarks import growth

    table = growth.measure(600, queries=150, scratch=tmp_path)
    assert table["stage"].tolist() == [*growth.STAGES]
    assert {"download", "train_embedder", "evaluate_reranker", "report"} <= set(table["stage"])
    assert (table["MiB"] >= 0).all()
    assert table["MiB"].max() > 10
    pd.testing.assert_frame_equal(growth.measure(600, 150, tmp_path), table)  # read, not run again
    growth.plot(pd.concat([table, table.assign(pages=1200)]), tmp_path / "growth.svg")
    assert "</svg>" in (tmp_path / "growth.svg").read_text()


def test_an_exponent_is_that_of_the_two_largest_numbers_of_pages():
    from benchmarks import growth

    rows = [["linear", 10, 9.0, 1], ["linear", 1000, 40.0, 200], ["linear", 100, 4.0, 2]]
    rows += [["flat", 100, 2.0, 300], ["flat", 1000, 2.0, 300]]
    rows += [["nothing", 100, 0.0, 0], ["nothing", 1000, 0.0, 0]]
    table = pd.DataFrame(rows, columns=["stage", "pages", "seconds", "MiB"])
    found = growth.exponents(table, "pages")
    assert found["seconds"].to_dict() == {"linear": 1.0, "flat": 0.0, "nothing": 0.0}
    assert found["MiB"].to_dict() == {"linear": 2.0, "flat": 0.0, "nothing": 0.0}
