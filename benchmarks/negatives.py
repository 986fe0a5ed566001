"""Do mined negatives help, and do the rules? Random, unfiltered and filtered ones over seeds.

    python -m benchmarks.negatives [--seeds 13 14 15] [-S profile=gpu ...]

Each variant and seed is one `dvc exp run` of the embedder's half of the pipeline on committed
code, in a temporary workspace; experiments that exist already are only read. Prints tuned NDCG@10
per seed, and every variant's gain over random negatives on the same queries, pooled over seeds,
with its interval over documents.
"""

import argparse
import io
import subprocess
import sys
from collections.abc import Sequence

import dvc.api
import pandas as pd

from pagefinder.evaluation.significance import gain

# The same number of negatives each, the source's own left out so that only mining differs.
VARIANTS = {
    "random": {
        "mine.sampling": "random",
        "mine.range_max": "10000000",  # the whole train split is the window
        "mine.relative_margin": "0",
    },
    "unfiltered": {
        "mine.relative_margin": "0",
        "mine.near_duplicates": "false",
        "mine.same_document_pages": "0",
    },
    "filtered": {},
}
TABLE = "data/per_query/embedder.parquet"
METRIC = "tuned.ndcg@10"


def train(name: str, seed: int, changes: dict[str, str], extra: list[str]) -> None:
    """Run the experiment, unless there is one of this name."""
    known = subprocess.run(
        ["dvc", "exp", "list", "--name-only"], check=True, capture_output=True, text=True
    )
    if name in known.stdout.split():
        return
    settings = [f"seed={seed}", "mine.given=ignore", *(f"{k}={v}" for k, v in changes.items())]
    sets = [part for setting in [*settings, *extra] for part in ("-S", setting)]
    command = ["dvc", "exp", "run", "--temp", "--name", name, *sets, "evaluate_embedder"]
    subprocess.run(command, check=True, stdout=sys.stderr)


def per_query(name: str) -> pd.DataFrame:
    """The experiment's scores: one row per eval query."""
    return pd.read_parquet(io.BytesIO(dvc.api.read(TABLE, rev=name, mode="rb")))


def comparison(tables: dict[tuple[str, int], pd.DataFrame], seeds: Sequence[int]) -> str:
    """A Markdown table: means by seed, and every variant's gain over random on the same queries."""

    def pooled(variant: str) -> pd.DataFrame:
        # By query within a seed: pairs are compared row by row.
        return pd.concat([tables[variant, seed].sort_values("query_id") for seed in seeds])

    lines = [f"| negatives | {' | '.join(f'seed {seed}' for seed in seeds)} | mean | gain |"]
    lines.append("|---|" + "---|" * (len(seeds) + 2))
    random = pooled("random")
    for variant in VARIANTS:
        means = [tables[variant, seed][METRIC].mean() for seed in seeds]
        own = pooled(variant)
        documents = own["document_id"].tolist()
        won = gain(random[METRIC], own[METRIC], documents, resamples=10_000, seed=0)
        interval = f" [{won['low']:+.4f}, {won['high']:+.4f}]" if "low" in won else ""
        text = "" if variant == "random" else f"{won['ndcg@10']:+.4f}{interval}"
        cells = [*(f"{mean:.4f}" for mean in means), f"{sum(means) / len(means):.4f}", text]
        lines.append(f"| {variant} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, print the comparison as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[13, 14, 15])
    parser.add_argument("-S", dest="extra", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    tables = {}
    for variant, changes in VARIANTS.items():
        for seed in options.seeds:
            name = "-".join(["negatives", variant, str(seed), *options.extra]).replace("=", "-")
            train(name, seed, changes, options.extra)
            tables[variant, seed] = per_query(name)
    print(comparison(tables, options.seeds))


if __name__ == "__main__":
    main()
