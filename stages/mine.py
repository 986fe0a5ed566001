"""Mine hard-negative pages for every training query with the base vectors, and audit them."""

import logging
from pathlib import Path

from pagefinder.data.corpus import Corpus
from pagefinder.data.files import write_json, write_table
from pagefinder.layout import AUDIT, BASE_VECTORS, CORPUS, METRICS, NEGATIVES
from pagefinder.mining import audit
from pagefinder.mining.judging import open_vetoes
from pagefinder.mining.negatives import KEPT, SCHEMA, Mining, mine, required_negatives
from pagefinder.mining.pairs import qrel_rows, with_ids
from pagefinder.mining.rules import resolve_rules
from pagefinder.params import Params
from pagefinder.retrieval.vectors import open_vectors
from pagefinder.runtime import outputs
from pagefinder.sources.traits import source_traits
from stages import run, shared_work

log = logging.getLogger(__name__)


def main(params: Params, root: Path = Path()) -> None:
    """Choose hard negatives for the train queries.

    Write data/negatives.parquet, metrics/mining.json and data/audit/mining.
    """
    corpus = Corpus(root / CORPUS)
    vectors = open_vectors(root / BASE_VECTORS, corpus)
    rules, qrels = resolve_rules(params.mine, params.data.source), qrel_rows(corpus, "train")
    veto = open_vetoes(params, corpus, root, shared_work(root))
    mining = Mining(corpus, rules, qrels, params.seed, params.compute.device, veto)
    negatives_per_query = required_negatives(qrels, rules.negatives)
    pairs = mine(mining, vectors, negatives_per_query)
    audited = audit.with_positives(pairs, vectors, qrels)
    metrics = audit.summary(audited, negatives_per_query, corpus)
    # Positives hidden on purpose measure how many false negatives the rules let through.
    hidden = audit.hidden_positives(mining, vectors, negatives_per_query)
    if hidden:
        metrics["hidden_positives"] = hidden
    if source_traits(params.data.source).complete_qrels:
        metrics["false_negatives"] = audit.false_negatives(pairs)
    negatives = pairs[pairs["rule"] == KEPT].sort_values("query", kind="stable")
    with outputs.output(root / NEGATIVES, root) as path:
        write_table(with_ids(negatives, corpus), SCHEMA, path)
    with outputs.output(root / AUDIT / "mining", root) as folder:
        folder.mkdir(parents=True)
        audit.histogram(audited).to_csv(folder / "histogram.csv", index=False)
        sheet = audit.sheet(audited, corpus, params.seed)
        write_table(sheet, audit.SHEET_SCHEMA, folder / "sheet.parquet")
    write_json(metrics, root / METRICS / "mining.json", root)
    counts = metrics["queries"]
    log.info(
        "kept %d negatives for %d queries: %s", len(negatives), len(negatives_per_query), counts
    )
    if negatives["query"].nunique() < len(negatives_per_query) / 2:
        log.warning(
            "most queries keep no negative and train on random ones: the base ranks other pages "
            "above the answers, so the margin drops them; try mine.relative_margin 0, or a better "
            "base"
        )


if __name__ == "__main__":
    run(main)
