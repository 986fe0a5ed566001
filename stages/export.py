"""Write both models as folders that plain Sentence Transformers opens, with their model cards."""

import json
from pathlib import Path

from pagefinder.layout import EMBEDDER, METRICS, RELEASE, RERANKER
from pagefinder.models.commits import read_commit
from pagefinder.params import Params
from pagefinder.release.cards import model_card
from pagefinder.release.folders import CARD, copy_model, serve_unit_vectors
from pagefinder.release.fusion import FUSION, fusion_settings
from pagefinder.runtime import outputs
from stages import run


def main(params: Params, root: Path = Path()) -> None:
    """Write models/release: embedder, fusion.json and, where there is one, reranker."""
    metrics = {
        name: json.loads((root / METRICS / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("embedder", "dimensions", "reranker", "fusion")
    }
    recommended = int(metrics["dimensions"]["recommended"]["dimension"])
    width = max(map(int, metrics["dimensions"]["dims"]))
    base, reranker = params.base, params.reranker
    with outputs.output(root / RELEASE, root) as folder:
        copy_model(root / EMBEDDER, folder / "embedder", base.page_content)
        cut = serve_unit_vectors(folder / "embedder", width, recommended)
        revision = read_commit(root / EMBEDDER, base.revision)
        facts = {"page_content": base.page_content, "cut": cut} | metrics
        card = model_card("embedder", base.model, revision, **facts)
        (folder / "embedder" / CARD).write_text(card, encoding="utf-8")
        fusion = fusion_settings(
            metrics["fusion"], metrics["reranker"], recommended, reranker.compared_depth
        )
        (folder / FUSION).write_text(json.dumps(fusion, indent=2) + "\n", encoding="utf-8")
        if not reranker.model:
            return
        copy_model(root / RERANKER, folder / "reranker", reranker.page_content)
        revision = read_commit(root / RERANKER, reranker.revision)
        facts = {"page_content": reranker.page_content, "instruction": reranker.instruction}
        card = model_card("reranker", reranker.model, revision, **facts, **metrics)
        (folder / "reranker" / CARD).write_text(card, encoding="utf-8")


if __name__ == "__main__":
    run(main)
