"""Write both models as folders that plain Sentence Transformers opens, with their model cards."""

import json
from pathlib import Path
from typing import Any

from pagefinder.layout import EMBEDDER, METRICS, RELEASE, RERANKER
from pagefinder.params import Params
from pagefinder.release.cards import embedder_card, reranker_card
from pagefinder.release.folders import release_model
from pagefinder.runtime import outputs
from stages import run


def main(params: Params, root: Path = Path()) -> None:
    """Write models/release/{embedder,reranker}."""

    def metrics(name: str) -> Any:  # noqa: ANN401  # what the file holds
        return json.loads((root / METRICS / f"{name}.json").read_text(encoding="utf-8"))

    base, reranker, dimensions = params.base, params.reranker, metrics("dimensions")
    card = embedder_card(base.model, base.revision, metrics("embedder"), dimensions)
    recommended = int(dimensions["recommended"]["dimension"])
    with outputs.output(root / RELEASE, root) as folder:
        release_model(root / EMBEDDER, folder / "embedder", card, truncate_dim=recommended)
        card = reranker_card(
            reranker.model, reranker.revision, reranker.instruction, metrics("reranker")
        )
        release_model(root / RERANKER, folder / "reranker", card)


if __name__ == "__main__":
    run(main)
