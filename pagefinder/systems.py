"""Names of the systems that evaluation scores, and what a reader calls them.

A name stands in the metrics and is the name of a run's file and of columns. A system that searches
with the tuned embedder's vectors cut to D dimensions is called `tuned@D`.
"""

BASE, TUNED = "base", "tuned"  # the embedder before and after fine-tuning
RANDOM, BM25, MINILM = "random", "bm25", "minilm"  # baselines
# A reader's names of the baselines that search the pages' text, in the order of the metrics.
TEXT_BASELINES = {BM25: "BM25", MINILM: "MiniLM"}
# A reader's names of all baselines; these also say that a baseline searches the text.
BASELINES = {RANDOM: "random order"} | {
    name: f"{label} on the text" for name, label in TEXT_BASELINES.items()
}
# No model to compare may have one of these names. `qrels` is no system, but a file beside the runs.
RESERVED = (BASE, TUNED, *BASELINES, "qrels")

TUNED_AT = "tuned@"  # begins the name of the tuned embedder cut to the dimension that follows
WITH_BM25 = "+bm25"  # ends the name of an embedder whose scores are fused with those of BM25
DISTRACTORS = "+distractors"  # ends the name of a system that searched every page of the corpus
# The precisions that a release may recommend, by their bits: of those with as many the best.
RECOMMENDABLE = {32: "float32", 8: "int8", 1: "binary_rescored"}


def label(system: str) -> str:
    """A reader's name of a system that searches: base + BM25 for base+bm25."""
    if system.endswith(WITH_BM25):
        return f"{system.removesuffix(WITH_BM25)} + {TEXT_BASELINES[BM25]}"
    return TEXT_BASELINES.get(system, system)


# Beside a reranker: the tuned embedder alone, it fused with BM25, and this fused with the reranker.
EMBEDDER, FIRST_STAGE, FUSED = "embedder", "first_stage", "fused"
# What evaluate_reranker compares at each depth, and a reader's names of it. There `base` and
# `tuned` are the reranker before and after fine-tuning, over the pages of the first stage. Without
# BM25 the first stage is the embedder alone and has no figures of its own.
RERANKING = {
    EMBEDDER: "embedder alone",
    FIRST_STAGE: "embedder + BM25",
    BASE: "untrained reranker",
    TUNED: "tuned reranker",
    FUSED: "fused scores",
}
RERANKER = "reranker"  # whose logits are one of the scores of a release
RERANKED = "reranked"  # beside embedders: the pages of the tuned one, reranked
