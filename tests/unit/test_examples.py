"""Rows that the embedder trains on, and the dev evaluators, on corpora made for the question."""

import pytest
from corpora import write_corpus
from PIL import Image
from tiny import tiny_params

from pagefinder import examples
from pagefinder.corpus import Corpus

KNOBS = tiny_params().embedder


@pytest.fixture
def dev(tmp_path, monkeypatch) -> Corpus:
    """Thirty dev pages, only one of which is asked for."""
    pages = [{"page_id": f"p{row:02}", "split": "dev"} for row in range(30)]
    asked = [{"query_id": "q", "split": "dev"}]
    monkeypatch.setattr(Corpus, "image", lambda self, row: Image.new("RGB", (4, 4)))
    return write_corpus(tmp_path / "corpus", pages, asked, [("q", "p29", 1)])


def dev_pages(corpus: Corpus, count: int, seed: int) -> list[str]:
    knobs = KNOBS.model_copy(update={"dev_pages": count})
    return list(examples.dev_retrieval(corpus, knobs, 8, seed).corpus_ids)


def test_dev_pages_are_drawn_and_keep_the_answers(dev):
    drawn = dev_pages(dev, 10, 1)
    assert len(drawn) == 10
    assert drawn[0] == "p29"
    assert drawn == dev_pages(dev, 10, 1)
    assert drawn != dev_pages(dev, 10, 2)
    assert set(drawn) != {"p29", *(f"p{row:02}" for row in range(9))}


@pytest.mark.parametrize("count", [30, 31])
def test_where_all_dev_pages_are_taken_they_stand_in_table_order(dev, count):
    assert dev_pages(dev, count, 1) == ["p29", *(f"p{row:02}" for row in range(29))]
