"""Model cards: metadata that the Hub accepts, and what people read."""

import yaml

from pagefinder.release.cards import embedder_card, reranker_card

EMBEDDER = {"base": {"ndcg@10": 0.25}, "tuned": {"ndcg@10": 0.5}}
DIMENSIONS = {"recommended": {"dimension": 48}, "dims": {"48": EMBEDDER}}
RERANKER = {"depth": {"10": {"embedder": {"ndcg@10": 0.5}, "tuned": {"ndcg@10": 0.75}}}}


def cards(model: str, revision: str) -> list[str]:
    return [
        embedder_card(model, revision, EMBEDDER, DIMENSIONS),
        reranker_card(model, revision, "Is it there?", RERANKER),
    ]


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
        assert "Fine-tuned from `nano/models/embedder`" in " ".join(card.split())


def test_the_figures_stand_in_the_card() -> None:
    embedder, reranker = cards("a/b", "main")
    assert "| 48 | 0.2500 | 0.5000 |" in embedder
    assert "| 10 | 0.5000 | 0.7500 |" in reranker
