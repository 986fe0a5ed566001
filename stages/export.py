"""Write both models as folders that plain Sentence Transformers opens, with their model cards."""

import json
from pathlib import Path

from pagefinder.layout import EMBEDDER, METRICS, RELEASE, RERANKER
from pagefinder.params import Params
from pagefinder.release.cards import model_card
from pagefinder.release.folders import release_model
from pagefinder.runtime import outputs
from stages import run


def main(params: Params, root: Path = Path()) -> None:
    """Write models/release/{embedder,reranker}."""
    metrics = {
        name: json.loads((root / METRICS / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("embedder", "dimensions", "reranker")
    }
    recommended = int(metrics["dimensions"]["recommended"]["dimension"])
    base, reranker = params.base, params.reranker
    with outputs.output(root / RELEASE, root) as folder:
        card = model_card("embedder", base.model, base.revision, **metrics)
        release_model(root / EMBEDDER, folder / "embedder", card, truncate_dim=recommended)
        instruction = {"instruction": reranker.instruction}
        card = model_card("reranker", reranker.model, reranker.revision, **instruction, **metrics)
        release_model(root / RERANKER, folder / "reranker", card)


if __name__ == "__main__":
    run(main)
