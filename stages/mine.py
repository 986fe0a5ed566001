"""Mine hard-negative pages for every training query with the base vectors, and audit them."""

import logging
from functools import partial
from pathlib import Path

import pyarrow as pa

from pagefinder import auditing, excluding, mining, vetoing, work
from pagefinder.corpus import Corpus, write_table
from pagefinder.nearest import open_vectors
from pagefinder.params import Params
from stages import AUDIT, BASE_VECTORS, CORPUS, METRICS, NEGATIVES, run

log = logging.getLogger(__name__)

SCHEMA = pa.schema(
    [
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("page_id", pa.string(), nullable=False),
        pa.field("rank", pa.int32()),  # among all train pages, from 1; null: given, and far away
        pa.field("score", pa.float32(), nullable=False),
        pa.field("origin", pa.string(), nullable=False),  # given | mined
    ]
)


def main(params: Params, root: Path = Path()) -> None:
    """Write data/negatives.parquet, metrics/mining.json and data/audit/mining."""
    corpus = Corpus(root / CORPUS)
    vectors = open_vectors(root / BASE_VECTORS, corpus)
    rules = excluding.settle_rules(params.mine, params.data.source)
    known = excluding.qrel_rows(corpus, "train")
    wanted = mining.wanted_by_query(known, rules.negatives)
    veto = vetoing.open_veto(params, corpus, root)
    device = params.compute.device
    search = partial(mining.mine, corpus, vectors, seed=params.seed, device=device, veto=veto)
    pairs = search(rules, known, wanted)
    audited = auditing.with_positives(pairs, vectors, known)
    metrics = auditing.summary(audited, wanted, corpus)
    hidden = auditing.hidden_positives(search, corpus, rules, known, wanted, params.seed)
    if hidden:
        metrics["hidden_positives"] = hidden
    if params.data.source == "generated":  # whose qrels name every right page
        metrics["false_negatives"] = auditing.false_negatives(pairs)
    kept = pairs[pairs["rule"] == mining.KEPT].sort_values("query", kind="stable")
    with work.output(root / NEGATIVES, root) as path:
        write_table(auditing.with_ids(kept, corpus), SCHEMA, path)
    with work.output(root / AUDIT / "mining", root) as folder:
        folder.mkdir(parents=True)
        auditing.histogram(audited).to_csv(folder / "histogram.csv", index=False)
        rows = auditing.sheet(audited, corpus, params.seed)
        write_table(rows, auditing.SHEET_SCHEMA, folder / "sheet.parquet")
    work.write_json(root / METRICS / "mining.json", metrics, root)
    few = metrics["queries"]
    log.info("kept %d negatives for %d queries: %s", len(kept), len(wanted), few)
    if kept["query"].nunique() < len(wanted) / 2:
        log.warning(
            "most queries keep no negative and train on random ones: the base hardly knows these "
            "pages, so others score above the answers; try mine.relative_margin 0, or a better base"
        )


if __name__ == "__main__":
    run(main)
