"""Write both models as folders that plain Sentence Transformers opens, with their model cards."""

import json
from pathlib import Path

import pandas as pd

from pagefinder.layout import EMBEDDER, METRICS, PER_QUERY, RELEASE, RERANKER
from pagefinder.models.commits import read_commit
from pagefinder.params import Params
from pagefinder.release.cards import CARD, embedder_card, evaluated, reranker_card
from pagefinder.release.folders import copy_model, serve_unit_vectors, store_as
from pagefinder.release.fusion import FUSION, fusion_settings, index_settings
from pagefinder.release.golden import write_cases
from pagefinder.runtime import outputs
from stages import run


def main(params: Params, root: Path = Path()) -> None:
    """Write models/release: embedder, fusion.json and, where there is one, reranker."""
    metrics = {
        name: json.loads((root / METRICS / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("corpus", "embedder", "dimensions", "fusion", "answers", "reranker")
    }
    units = pd.read_parquet(root / PER_QUERY / "embedder.parquet", columns=["document_id"])
    metrics["evaluated"] = evaluated(units["document_id"].astype(str))
    comparisons = pd.read_csv(root / PER_QUERY / "embedder_comparisons.csv")
    recommended = int(metrics["dimensions"]["recommended"]["dimension"])
    width = max(map(int, metrics["dimensions"]["dims"]))
    fusion = fusion_settings(metrics, recommended, params.reranker.compared_depth)
    fusion["index"] = index_settings(metrics["dimensions"])
    with outputs.output(root / RELEASE, root) as folder:
        embedder, reranker = folder / "embedder", folder / "reranker"
        copy_model(root / EMBEDDER, embedder, params.base.page_content)
        cutting = serve_unit_vectors(embedder, width, recommended)
        commit = read_commit(root / EMBEDDER, params.base.revision)
        card = embedder_card(embedder, params, commit, metrics, comparisons, cutting)
        cards = {embedder: card}
        if params.reranker.model:
            copy_model(root / RERANKER, reranker, params.reranker.page_content)
            commit = read_commit(root / RERANKER, params.reranker.revision)
            cards[reranker] = reranker_card(reranker, params, commit, metrics)
        for model, card in cards.items():
            store_as(model, params.release.dtype)
            write_cases(model, params, root)
            (model / CARD).write_text(card, encoding="utf-8")
        (folder / FUSION).write_text(json.dumps(fusion, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main)
