"""Choose the pages that the reranker learns from and is measured on."""

import json
import logging
from pathlib import Path

import pandas as pd

from pagefinder.data.corpus import Corpus
from pagefinder.data.files import write_table
from pagefinder.layout import AUDIT, BASE_VECTORS, CANDIDATES, CORPUS, FIRST_STAGE, TUNED_VECTORS
from pagefinder.mining import candidates
from pagefinder.mining.judging import open_vetoes
from pagefinder.mining.negatives import Mining
from pagefinder.mining.pairs import qrel_rows, with_ids
from pagefinder.mining.rules import resolve_rules
from pagefinder.params import Params
from pagefinder.retrieval.vectors import open_vectors
from pagefinder.runtime import outputs
from pagefinder.systems import BM25
from stages import run, shared_work

log = logging.getLogger(__name__)


def main(params: Params, root: Path = Path()) -> None:
    """Write data/candidates.parquet and data/audit/candidates; empty tables without a reranker."""
    corpus = Corpus(root / CORPUS)
    rows = pd.DataFrame(columns=candidates.SCHEMA.names)
    ranks = pd.DataFrame(columns=candidates.RANKS)
    if params.reranker.model:
        tables, knobs = _tables(params, corpus, root), params.reranker
        rows = pd.concat([table.assign(split=split) for split, table in tables.items()])
        rows = with_ids(rows, corpus)
        ranks = candidates.rank_histogram(tables, corpus, min(knobs.train_depth, max(knobs.depths)))
    with outputs.output(root / CANDIDATES, root) as path:
        write_table(rows, candidates.SCHEMA, path)
    with outputs.output(root / AUDIT / "candidates", root) as folder:
        folder.mkdir(parents=True)
        ranks.to_csv(folder / "histogram.csv", index=False)
    log.info("%d pairs, %d of them to train on", len(rows), int((rows["split"] == "train").sum()))


def _tables(params: Params, corpus: Corpus, root: Path) -> dict[str, pd.DataFrame]:
    """The candidates by split."""
    reranker, device = params.reranker, params.compute.device
    base, tuned = (open_vectors(root / path, corpus) for path in (BASE_VECTORS, TUNED_VECTORS))
    rules, qrels = resolve_rules(params.mine, params.data.source), qrel_rows(corpus, "train")
    veto = open_vetoes(params, corpus, root, shared_work(root))
    mining = Mining(corpus, rules, qrels, params.seed, device, veto)
    train = candidates.training_candidates(
        mining, base, tuned, reranker.train_depth, reranker.negatives
    )
    weights = json.loads((root / FIRST_STAGE).read_text(encoding="utf-8"))
    tables, depth = {"train": train}, max(reranker.depths)
    for split in ("dev", "eval"):
        tables[split] = candidates.held_out_candidates(
            corpus, tuned, split, depth, bm25_weight=weights[BM25], device=device
        )
    return tables


if __name__ == "__main__":
    run(main)
