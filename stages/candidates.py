"""Choose the pages that the reranker learns from and is measured on."""

import logging
from pathlib import Path

import pandas as pd

from pagefinder.data.corpus import Corpus
from pagefinder.data.files import write_table
from pagefinder.layout import AUDIT, BASE_VECTORS, CANDIDATES, CORPUS, TUNED_VECTORS
from pagefinder.mining import audit, candidates, rules
from pagefinder.mining import veto as veto_
from pagefinder.params import Params
from pagefinder.retrieval.nearest import open_vectors
from pagefinder.runtime import outputs
from stages import run

log = logging.getLogger(__name__)


def main(params: Params, root: Path = Path()) -> None:
    """Write data/candidates.parquet and data/audit/candidates."""
    knobs, device = params.reranker, params.compute.device
    corpus = Corpus(root / CORPUS)
    tuned = open_vectors(root / TUNED_VECTORS, corpus)
    veto = veto_.open_veto(params, corpus, root)
    train = candidates.train_candidates(
        corpus,
        open_vectors(root / BASE_VECTORS, corpus),
        tuned,
        rules.resolve_rules(params.mine, params.data.source),
        knobs.train_depth,
        knobs.negatives,
        seed=params.seed,
        device=device,
        veto=veto,
    )
    tables, depth = {"train": train}, max(knobs.depths)
    for split in ("dev", "eval"):
        tables[split] = candidates.held_out_candidates(corpus, tuned, split, depth, device)
    rows = pd.concat([table.assign(split=split) for split, table in tables.items()])
    with outputs.output(root / CANDIDATES, root) as path:
        write_table(audit.with_ids(rows, corpus), candidates.SCHEMA, path)
    ranks = candidates.rank_histogram(tables, corpus, min(knobs.train_depth, depth))
    with outputs.output(root / AUDIT / "candidates", root) as folder:
        folder.mkdir(parents=True)
        ranks.to_csv(folder / "histogram.csv", index=False)
    log.info("%d pairs, %d of them to train on", len(rows), len(train))


if __name__ == "__main__":
    run(main)
