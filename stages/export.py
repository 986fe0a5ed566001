"""Write both models as folders that plain Sentence Transformers opens, with their model cards."""

import json
from pathlib import Path
from typing import Any

from pagefinder import releasing, work
from pagefinder.params import Params
from stages import EMBEDDER, METRICS, RELEASE, RERANKER, run


def main(params: Params, root: Path = Path()) -> None:
    """Write models/release/{embedder,reranker}."""

    def metrics(name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((root / METRICS / name).read_text(encoding="utf-8"))
        return content

    dimensions = metrics("dimensions.json")
    base, reranker = params.base, params.reranker
    embedder_card = releasing.embedder_card(
        base.model, base.revision, metrics("embedder.json"), dimensions
    )
    reranker_card = releasing.reranker_card(
        reranker.model, reranker.revision, reranker.instruction, metrics("reranker.json")
    )
    with work.output(root / RELEASE, root) as folder:
        releasing.release_embedder(
            root / EMBEDDER,
            folder / "embedder",
            int(dimensions["recommended"]["dimension"]),
            embedder_card,
        )
        releasing.release_reranker(root / RERANKER, folder / "reranker", reranker_card)


if __name__ == "__main__":
    run(main)
