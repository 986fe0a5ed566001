"""The recommended dimension and precision: by the upper end of a loss, even where scores shake."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import vector_corpus

from pagefinder import params_file
from pagefinder.data.corpus import Corpus
from pagefinder.evaluation.recommending import (
    UNCUT,
    dev_losses,
    document_losses,
    precision_losses,
    recommend,
    recommended_dimension,
    recommended_precision,
)
from pagefinder.params import Evaluate
from pagefinder.retrieval.metrics import mean_metrics
from pagefinder.retrieval.precisions import PRECISIONS
from pagefinder.retrieval.tasks import Task, task_of
from pagefinder.retrieval.vector_search import search
from pagefinder.retrieval.vectors import Vectors, open_vectors

ROOT = Path(__file__).parents[2]


def scores(losses: dict[int, float], spread: float, documents: int = 16) -> pd.DataFrame:
    """NDCG@10 of 12 queries a document, 0.8 at the first dimension of `losses`.

    A document's loss at the others lies up to `spread` around the given one, on average on it.
    """
    rng = np.random.default_rng(3)
    table = {}
    for number, (dimension, loss) in enumerate(losses.items()):
        off = rng.uniform(-spread, spread, documents) if number else np.zeros(documents)
        table[dimension] = 0.8 * (1 - loss - np.repeat(off - off.mean(), 12))
    return pd.DataFrame(table)


def names(documents: int = 16) -> list[str]:
    return [f"d{number}" for number in range(documents) for _ in range(12)]


def choice(table: pd.DataFrame, tolerance: float, documents: int = 16) -> int:
    losses = document_losses(table, names(documents), tolerance, 200, seed=1)
    return recommended_dimension(losses, tolerance)


def test_the_upper_end_decides_and_not_the_point() -> None:
    near, far = scores({192: 0, 48: 0.005}, 0.01), scores({192: 0, 48: 0.005}, 0.3)
    assert document_losses(near, names(), 0.05, 1, 1)["loss"][48] == pytest.approx(0.005)
    assert document_losses(far, names(), 0.05, 1, 1)["loss"][48] == pytest.approx(0.005)
    assert choice(near, 0.05) == 48
    assert choice(far, 0.05) == 192
    assert choice(far, 0.2) == 48


def test_a_dimension_below_one_that_fails_is_not_taken() -> None:
    table = scores({192: 0, 96: 0.2, 48: 0.0}, 0.01)
    assert choice(table, 0.05) == 192


def test_loss_and_bound_are_those_of_a_ratio_over_documents() -> None:
    """Against the jackknife over documents, which is another estimate of the same error."""
    table = scores({192: 0, 48: 0.03}, 0.1)
    losses = document_losses(table, names(), 0.05, 1, 1)
    sums = table.groupby(names()).sum()
    total = sums.sum()
    assert losses["loss"][48] == pytest.approx(1 - total[48] / total[192])
    left_out = 1 - (total[48] - sums[48]) / (total[192] - sums[192])
    error = np.sqrt(15 / 16 * ((left_out - left_out.mean()) ** 2).sum())
    t = 1.753  # the 95% quantile at 15 degrees of freedom, from a table
    assert losses["high"][48] == pytest.approx(losses["loss"][48] + t * error, rel=0.01)
    assert losses["high"][192] == 0


def test_the_interval_holds_the_loss_of_all_documents_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        off = np.repeat(rng.normal(0.02, 0.04, 16), 12)
        table = pd.DataFrame({192: np.full(192, 0.8), 48: 0.8 * (1 - off)})
        held += document_losses(table, names(), 0.05, 1, 1)["high"][48] >= 0.02
    assert 0.93 <= held / 400 <= 0.97


def test_the_share_is_that_of_resamples_one_by_one() -> None:
    table = scores({192: 0, 96: 0.02, 48: 0.03}, 0.08)
    losses = document_losses(table, names(), 0.05, 4000, seed=1)
    assert losses["share"].sum() == pytest.approx(1)
    rng = np.random.default_rng(5)
    chosen = []
    for _ in range(1000):
        rows = [12 * d + q for d in rng.integers(0, 16, 16) for q in range(12)]
        chosen.append(choice(table.iloc[rows], 0.05))
    for dimension, share in losses["share"].items():
        assert share == pytest.approx(chosen.count(dimension) / 1000, abs=0.05)
    assert 0.1 < losses["share"][48] < 0.9


def test_the_share_follows_the_seed() -> None:
    table = scores({192: 0, 96: 0.02, 48: 0.03}, 0.08)
    shares = [document_losses(table, names(), 0.05, 200, seed)["share"] for seed in (1, 1, 2)]
    assert shares[0].equals(shares[1])
    assert not shares[0].equals(shares[2])


def test_too_few_documents_or_answers_leave_the_full_dimension(caplog) -> None:
    table = scores({192: 0, 48: 0}, 0, documents=4)
    losses = document_losses(table, names(4), 0.05, 100, seed=1)
    assert losses["loss"][48] == pytest.approx(0)
    assert losses[["high", "share"]].isna().all(axis=None)
    assert recommended_dimension(losses, 0.05) == 192
    assert "too few documents" in caplog.text
    for nothing, documents in ((table * 0, names(4)), (table.iloc[:0], [])):
        losses = document_losses(nothing, documents, 0.05, 100, seed=1)
        assert losses.isna().all(axis=None)
        assert recommended_dimension(losses, 0.05) == 192


def test_a_resample_of_unanswered_documents_chooses_all_dimensions() -> None:
    table = scores({192: 0, 48: 0}, 0, documents=5)
    table.iloc[12:] = 0
    losses = document_losses(table, names(5), 0.05, 500, seed=1)
    assert losses["share"][192] == pytest.approx((4 / 5) ** 5, abs=0.08)


def test_scores_that_move_in_the_third_digit_do_not_change_the_choice() -> None:
    """As another processor's rounding moves them, where a point near 1% would be tossed."""
    knobs = params_file.load(ROOT / "params.yaml").evaluate
    rng = np.random.default_rng(2)
    choices, points, means = set(), set(), []
    for _ in range(60):
        table = scores({192: 0, 96: 0.0, 48: 0.008, 24: 0.1}, 0.03)
        table += rng.normal(0, 0.03, table.shape)
        losses = document_losses(table, names(), knobs.tolerance, 1, seed=1)
        choices.add(recommended_dimension(losses, knobs.tolerance))
        points.add(min(losses.index[losses["loss"] <= 0.01]))
        means.append(table[192].mean())
    assert 0.001 < np.std(means) < 0.004
    assert points == {96, 48}
    assert choices == {48}


def dev_vectors(folder: Path) -> tuple[Task, Vectors, Evaluate]:
    """Dev of a small corpus with vectors that are mostly right, and the knobs of params.yaml."""
    vector_corpus.write(folder / "corpus")
    vector_corpus.encode(folder / "corpus", folder / "vectors", 0.9)
    corpus = Corpus(folder / "corpus")
    vectors = open_vectors(folder / "vectors", corpus)
    knobs = params_file.load(ROOT / "params.yaml").evaluate
    return task_of(corpus, "dev"), vectors, knobs


def test_dev_alone_is_searched_and_the_knobs_are_passed_on(tmp_path) -> None:
    dev, vectors, knobs = dev_vectors(tmp_path)

    def losses(**changes: float) -> pd.DataFrame:
        changed = knobs.model_copy(update=changes)
        return dev_losses(dev, vectors, [8, 32, 16], changed, 13, "cpu")

    table = losses()
    assert table.index.tolist() == [32, 16, 8]
    run = search(dev, vectors, 10, dimension=8)
    full = search(dev, vectors, 10, dimension=32)
    lost = 1 - mean_metrics(run, dev.qrels)["ndcg@10"] / mean_metrics(full, dev.qrels)["ndcg@10"]
    assert table["loss"][8] == pytest.approx(lost)
    assert losses(tolerance=1.0)["share"][8] == 1
    assert losses(bootstrap=3)["share"].mul(3).round(6).mod(1).eq(0).all()


@pytest.mark.parametrize(
    ("losses", "chosen"),
    [
        ((0.01, 0.012, 0.2), "int8"),  # signs alone lose too much
        ((0.01, 0.012, 0.02), "binary_rescored"),
        ((0.01, 0.2, 0.0), "float32"),  # one below another that fails is not taken
    ],
)
def test_the_precision_is_chosen_by_the_same_rule(losses, chosen) -> None:
    names_ = ("float32", "int8", "binary_rescored")
    table = scores({UNCUT: 0} | dict(zip(names_, losses, strict=True)), 0.01)
    found = document_losses(table, names(), 0.05, 200, seed=1)
    assert recommended_precision(found, 0.05).name == chosen
    assert found["share"].idxmax() == chosen


def test_too_few_documents_leave_float32() -> None:
    table = scores({UNCUT: 0, "float32": 0, "int8": 0}, 0, documents=4)
    found = document_losses(table, names(4), 0.05, 100, seed=1)
    assert recommended_precision(found, 0.05).name == "float32"


def test_precisions_are_searched_on_dev_at_the_recommended_dimension(tmp_path) -> None:
    dev, vectors, knobs = dev_vectors(tmp_path)
    knobs = knobs.model_copy(update={"tolerance": 0.3, "bootstrap": 50})
    found = precision_losses(dev, vectors, 16, knobs, 13, "cpu")
    assert list(found.index) == [UNCUT, "float32", "int8", "binary_rescored"]
    losses = dev_losses(dev, vectors, [32, 16, 8], knobs, 13, "cpu")
    assert found.loc["float32", "loss"] == pytest.approx(losses.loc[16, "loss"])
    full = mean_metrics(search(dev, vectors, 10, dimension=32), dev.qrels)["ndcg@10"]
    coarse = search(dev, vectors, 10, dimension=16, precision=PRECISIONS["int8"])
    lost = 1 - mean_metrics(coarse, dev.qrels)["ndcg@10"] / full
    assert found.loc["int8", "loss"] == pytest.approx(lost)
    both = recommend(dev, vectors, [32, 16, 8], knobs, 13, "cpu")
    assert both.dimension == recommended_dimension(losses, 0.3)
    assert both.precision == recommended_precision(both.precisions, 0.3)
