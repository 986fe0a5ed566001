"""`python -m stages.plan` on a tiny root, with and without a corpus."""

import logging

import pytest
from tiny import tiny_params, write_root

from pagefinder import planning
from stages import plan


@pytest.mark.parametrize("prepared", [True, False])
def test_the_plan_says_memory_speed_and_hours(tmp_path, caplog, monkeypatch, prepared):
    monkeypatch.setattr("sys.argv", ["plan", "cpu"])
    root = write_root(tmp_path)
    if not prepared:
        (root / "data/corpus").rename(root / "data/elsewhere")
    with caplog.at_level(logging.INFO):
        plan.main(tiny_params(), root)
    assert f"visual tokens per page: {6 if prepared else 4}" in caplog.text
    assert "encoding: " in caplog.text
    assert f"predicted for {24 if prepared else 10_000} rows" in caplog.text
    assert f"predicted for {40 if prepared else 11_500} pages" in caplog.text
    assert ("synthetic" in caplog.text) is not prepared
    assert not (root / "models/embedder").exists()


def test_no_synthetic_page_occurs_twice():
    rows = planning.synthetic_rows(5, 2)
    assert rows["image_id"].tolist() == ["p0", "p1", "p2", "p3", "p4"]
    pages = rows.drop(columns="query_id").to_numpy().ravel()
    assert sorted(pages) == sorted(f"p{number}" for number in range(15))
