"""Both reranker heads side by side: trained from one start on the same candidates.

    python -m benchmarks.heads

Takes data/corpus and data/candidates.parquet as the last `dvc repro` left them, trains and scores
once with `reranker.head: logit` and once with `dense`, each stage in a process of its own in a root
under .work/heads; what is done there is not done again. Prints NDCG@10 at the middle depth, before
and after training, and the difference on the same queries with its interval over documents.
"""

import sys
from pathlib import Path

import pandas as pd

import stages
from benchmarks import roots
from benchmarks.roots import ROOT
from pagefinder import params
from pagefinder.data.corpus import Corpus
from pagefinder.evaluation.significance import gain
from pagefinder.retrieval.runs import documents_of, qrels_of
from pagefinder.runtime import running, scratch

HEADS = ("logit", "dense")
STAGES = ("train_reranker", "evaluate_reranker")
NEEDED = ("data/corpus", "data/candidates.parquet", "models/embedder")


def lay_out(content: dict, head: str, root: Path) -> Path:
    """A root that shares corpus, candidates and checkpoints with `root`, and has its own head."""
    knobs = content["profiles"][content["profile"]]["reranker"] | {"head": head}
    code = [path for stage in STAGES for path in stages.code(stage)]
    shared = (*NEEDED, content["checkpoints"])
    inputs = [*dict.fromkeys(code), *(root / name for name in shared)]
    folder = scratch.folder(f"heads/{head}", (content["seed"], knobs), inputs, root)
    for name in shared:
        if not (root / name).exists():
            sys.exit(f"error: {name} is missing: run `make repro` first")
    roots.share(shared, root, folder)
    profile = content["profiles"][content["profile"]] | {"reranker": knobs}
    own = content | {"profiles": content["profiles"] | {content["profile"]: profile}}
    roots.write_params(own, folder)
    return folder


def per_query(folder: Path) -> pd.DataFrame:
    """Train and score what is not done yet; base_ndcg@10 and tuned_ndcg@10 by query_id."""
    table = folder / "data/per_query/reranker.parquet"
    if not table.exists():
        for stage in STAGES:
            if stage == "evaluate_reranker" or not (folder / "models/reranker").exists():
                roots.run_stage(stage, folder)
    return pd.read_parquet(table).set_index("query_id")


def compare(content: dict, root: Path = ROOT) -> tuple[pd.DataFrame, dict[str, float]]:
    """NDCG@10 by head, untrained and tuned; what dense adds to logit, as `statistics.gain`."""
    tables = {head: per_query(lay_out(content, head, root)) for head in HEADS}
    corpus = Corpus(root / "data/corpus")
    qrels = qrels_of(corpus, "eval")
    logit, dense = (tables[head].loc[list(qrels), "tuned_ndcg@10"] for head in HEADS)
    means = {
        head: table[["base_ndcg@10", "tuned_ndcg@10"]].mean() for head, table in tables.items()
    }
    return pd.DataFrame(means).T, gain(
        logit, dense, documents_of(corpus, qrels), resamples=10_000, seed=content["seed"]
    )


def main() -> None:
    """Print the comparison as a Markdown table."""
    running.configure_logging()
    content = params.read(ROOT / "params.yaml")
    params.parse(content)
    table, won = compare(content)
    print("| head | untrained | tuned |\n|---|---|---|")
    for head, row in table.iterrows():
        print(f"| {head} | {row['base_ndcg@10']:.4f} | {row['tuned_ndcg@10']:.4f} |")
    sure = (
        f" [{won['low']:+.4f}, {won['high']:+.4f}], p {won['p_value']:.2g}" if "low" in won else ""
    )
    print(f"\ndense over logit: {won['ndcg@10']:+.4f}{sure}")


if __name__ == "__main__":
    main()
