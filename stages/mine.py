"""Mine hard-negative pages for every training query with the base vectors, and audit them."""

import logging
from functools import partial
from pathlib import Path

from pagefinder.data.corpus import Corpus
from pagefinder.data.files import write_json, write_table
from pagefinder.layout import AUDIT, BASE_VECTORS, CORPUS, METRICS, NEGATIVES
from pagefinder.mining import audit, negatives
from pagefinder.mining import rules as rules_
from pagefinder.mining import veto as veto_
from pagefinder.params import Params
from pagefinder.retrieval.nearest import open_vectors
from pagefinder.runtime import outputs
from pagefinder.sources.kinds import source_kind
from stages import run

log = logging.getLogger(__name__)


def main(params: Params, root: Path = Path()) -> None:
    """Write data/negatives.parquet, metrics/mining.json and data/audit/mining."""
    corpus = Corpus(root / CORPUS)
    vectors = open_vectors(root / BASE_VECTORS, corpus)
    rules = rules_.resolve_rules(params.mine, params.data.source)
    known = rules_.qrel_rows(corpus, "train")
    wanted = negatives.wanted_by_query(known, rules.negatives)
    veto = veto_.open_veto(params, corpus, root)
    device = params.compute.device
    search = partial(negatives.mine, corpus, vectors, seed=params.seed, device=device, veto=veto)
    pairs = search(rules, known, wanted)
    audited = audit.with_positives(pairs, vectors, known)
    metrics = audit.summary(audited, wanted, corpus)
    hidden = audit.hidden_positives(search, corpus, rules, known, wanted, params.seed)
    if hidden:
        metrics["hidden_positives"] = hidden
    if source_kind(params.data.source).complete_qrels:
        metrics["false_negatives"] = audit.false_negatives(pairs)
    kept = pairs[pairs["rule"] == negatives.KEPT].sort_values("query", kind="stable")
    with outputs.output(root / NEGATIVES, root) as path:
        write_table(audit.with_ids(kept, corpus), negatives.SCHEMA, path)
    with outputs.output(root / AUDIT / "mining", root) as folder:
        folder.mkdir(parents=True)
        audit.histogram(audited).to_csv(folder / "histogram.csv", index=False)
        rows = audit.sheet(audited, corpus, params.seed)
        write_table(rows, audit.SHEET_SCHEMA, folder / "sheet.parquet")
    write_json(metrics, root / METRICS / "mining.json", root)
    few = metrics["queries"]
    log.info("kept %d negatives for %d queries: %s", len(kept), len(wanted), few)
    if kept["query"].nunique() < len(wanted) / 2:
        log.warning(
            "most queries keep no negative and train on random ones: the base hardly knows these "
            "pages, so others score above the answers; try mine.relative_margin 0, or a better base"
        )


if __name__ == "__main__":
    run(main)
