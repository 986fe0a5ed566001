"""The curve over pixel budgets, with stored vectors where pages would be encoded."""

import numpy as np
import pandas as pd
import pytest
from test_evaluate_embedder import build, metrics, settings

from pagefinder import layout
from pagefinder.errors import InputError
from pagefinder.params import Pixels
from stages import evaluate_embedder, evaluate_pixels


def test_own_budget_comes_from_stored_vectors(tmp_path) -> None:
    """Without extra budgets nothing is encoded, and the figure is evaluate_embedder's."""
    build(tmp_path)
    evaluate_pixels.main(settings(), tmp_path)
    evaluate_embedder.main(settings(), tmp_path)
    table = pd.read_csv(tmp_path / "metrics/plots/pixels.csv")
    assert table["max_pixels"].tolist() == [81920]
    tuned = metrics(tmp_path, "embedder")["tuned"]
    assert table[["ndcg@10", "recall@10"]].iloc[0].tolist() == pytest.approx(
        [tuned["ndcg@10"], tuned["recall@10"]], abs=1e-6
    )
    # A page of 1 x 1 pixels grows to one tile of 32 x 32.
    assert table["tokens_per_page"].tolist() == [1.0]


def test_every_budget_is_encoded_with_its_own_pixels(tmp_path, monkeypatch) -> None:
    build(tmp_path)
    seen: list[Pixels] = []

    def encode(task, pixels, base, compute, saved, root):
        seen.append(pixels)
        assert saved == tmp_path / layout.EMBEDDER
        stored = np.load(tmp_path / layout.TUNED_VECTORS / "pages.npy")[task.page_rows]
        return np.roll(stored, 1, axis=0) if pixels.max == 2048 else stored

    monkeypatch.setattr("pagefinder.evaluation.pixel_budgets.encode", encode)
    evaluate_pixels.main(settings(pixel_budgets=[2048, 40960]), tmp_path)
    table = pd.read_csv(tmp_path / "metrics/plots/pixels.csv").set_index("max_pixels")
    assert [pixels.max for pixels in seen] == [2048, 40960]
    assert table.index.tolist() == [81920, 2048, 40960]
    assert table.loc[40960, "ndcg@10"] == table.loc[81920, "ndcg@10"]
    assert table.loc[2048, "ndcg@10"] < 0.5 * table.loc[81920, "ndcg@10"]


@pytest.mark.parametrize("budget", [1000, 81920, 10**6])
def test_budgets_that_stored_pages_cannot_serve(tmp_path, budget: int) -> None:
    with pytest.raises(InputError, match=f"pixel_budgets names {budget}: give budgets from 1024"):
        evaluate_pixels.main(settings(pixel_budgets=[budget]), tmp_path)
