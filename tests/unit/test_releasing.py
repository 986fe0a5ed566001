"""Model cards: metadata that the Hub accepts, and what people read."""

import yaml

from pagefinder.release.cards import model_card

NDCG = {"base": {"ndcg@10": 0.25}, "tuned": {"ndcg@10": 0.5}}
CONTENT = {
    "embedder": NDCG,
    "dimensions": {"recommended": {"dimension": 48}, "dims": {"48": NDCG}},
    "reranker": {"depth": {"10": {"embedder": {"ndcg@10": 0.5}, "tuned": {"ndcg@10": 0.75}}}},
    "instruction": "Is it there?",
}


def cards(base: str, revision: str) -> list[str]:
    return [model_card(model, base, revision, **CONTENT) for model in ("embedder", "reranker")]


def metadata(card: str) -> dict:
    start, header, _ = card.split("---\n", 2)
    assert start == ""
    content: dict = yaml.safe_load(header)
    return content


def test_only_a_model_of_the_hub_is_named_as_the_base() -> None:
    for card, task in zip(
        cards("who/what", "main"), ("sentence-similarity", "text-ranking"), strict=True
    ):
        assert metadata(card) == {
            "library_name": "sentence-transformers",
            "pipeline_tag": task,
            "base_model": "who/what",
            "tags": ["sentence-transformers", "visual-document-retrieval"],
        }
    for card in cards("nano/models/embedder", ""):
        assert "base_model" not in metadata(card)
        assert "Fine-tuned from `nano/models/embedder` " in " ".join(card.split())


def test_the_card_names_the_revision_of_the_base() -> None:
    for card in cards("who/what", "c0ffee"):
        assert "Fine-tuned from `who/what` at revision `c0ffee` " in " ".join(card.split())


def test_the_figures_stand_in_the_card() -> None:
    embedder, reranker = cards("a/b", "main")
    assert "| 48 | 0.2500 | 0.5000 |" in embedder
    assert "| 10 | 0.5000 | 0.7500 |" in reranker
