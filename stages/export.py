"""Write both models as folders that plain Sentence Transformers opens, with their model cards."""

import json
from pathlib import Path
from typing import Any

from pagefinder.layout import EMBEDDER, METRICS, RELEASE, RERANKER
from pagefinder.params import Params
from pagefinder.release import cards
from pagefinder.runtime import outputs
from stages import run


def main(params: Params, root: Path = Path()) -> None:
    """Write models/release/{embedder,reranker}."""

    def metrics(name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((root / METRICS / name).read_text(encoding="utf-8"))
        return content

    dimensions = metrics("dimensions.json")
    base, reranker = params.base, params.reranker
    embedder_card = cards.embedder_card(
        base.model, base.revision, metrics("embedder.json"), dimensions
    )
    reranker_card = cards.reranker_card(
        reranker.model, reranker.revision, reranker.instruction, metrics("reranker.json")
    )
    with outputs.output(root / RELEASE, root) as folder:
        cards.release_embedder(
            root / EMBEDDER,
            folder / "embedder",
            int(dimensions["recommended"]["dimension"]),
            embedder_card,
        )
        cards.release_reranker(root / RERANKER, folder / "reranker", reranker_card)


if __name__ == "__main__":
    run(main)
