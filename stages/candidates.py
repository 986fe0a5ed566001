"""Choose the pages that the reranker learns from and is measured on."""

import logging
from pathlib import Path

import pandas as pd
import pyarrow as pa

from pagefinder import auditing, candidates, excluding, vetoing, work
from pagefinder.corpus import Corpus, write_table
from pagefinder.nearest import open_vectors
from pagefinder.params import Params
from stages import AUDIT, BASE_VECTORS, CANDIDATES, CORPUS, TUNED_VECTORS, run

log = logging.getLogger(__name__)

SCHEMA = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("page_id", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("rank", pa.int32()),  # the tuned embedder's, from 1; null: below those looked at
        pa.field("score", pa.float32(), nullable=False),  # the tuned embedder's cosine
        pa.field("label", pa.int32(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),  # qrels | given | base | tuned | both
    ]
)


def main(params: Params, root: Path = Path()) -> None:
    """Write data/candidates.parquet and data/audit/candidates."""
    knobs, device = params.reranker, params.compute.device
    corpus = Corpus(root / CORPUS)
    tuned = open_vectors(root / TUNED_VECTORS, corpus)
    veto = vetoing.open_veto(params, corpus, root)
    train = candidates.train_candidates(
        corpus,
        open_vectors(root / BASE_VECTORS, corpus),
        tuned,
        excluding.settle_rules(params.mine, params.data.source),
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
    with work.output(root / CANDIDATES, root) as path:
        write_table(auditing.with_ids(rows, corpus), SCHEMA, path)
    ranks = candidates.rank_histogram(tables, corpus, min(knobs.train_depth, depth))
    with work.output(root / AUDIT / "candidates", root) as folder:
        folder.mkdir(parents=True)
        ranks.to_csv(folder / "histogram.csv", index=False)
    log.info("%d pairs, %d of them to train on", len(rows), len(train))


if __name__ == "__main__":
    run(main)
