"""Run variants of the params with several seeds as DVC experiments, and compare them.

    python -m tools.experiments {seeds,negatives,heads} [--seeds 13 14 15] [-S KEY=VALUE ...]
    python -m tools.experiments spread [METRIC ...]

Each variant and seed is one experiment on committed code, in a temporary workspace. An experiment
that exists already is only read, so an interrupted command goes on where it stopped. `seeds` writes
metrics/seeds.json, which the report shows. `spread` runs nothing: it reads all experiments of the
current commit. The tables are Markdown.
"""

import argparse
import io
import json
import logging
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pandas as pd
import yaml

from pagefinder import params_file
from pagefinder.data.files import write_json
from pagefinder.errors import InputError
from pagefinder.evaluation.significance import gain
from pagefinder.layout import METRICS, PER_QUERY
from pagefinder.reporting import spread
from pagefinder.reporting.format import flat, score, smallest_p
from pagefinder.runtime import running
from tools import readme, summary

log = logging.getLogger("tools.experiments")  # also where it runs as __main__


@dataclass(frozen=True)
class Comparison:
    """Variants of the params, and the metrics that compare the first with each other one."""

    variants: Mapping[str, Sequence[str]]  # KEY=VALUE by variant; {profile} is the one that runs
    stages: Sequence[str] = ("evaluate_embedder", "evaluate_reranker")  # where experiments end
    table: str = "reranker"  # in data/per_query
    metrics: Sequence[str] = ()  # columns of the table


RESAMPLES = 10_000  # of the intervals and p-values of a comparison
CODE = ("pagefinder", "stages")  # what runs in an experiment
COMPARISONS = {
    "seeds": Comparison({"committed": []}),
    "negatives": Comparison(
        {  # The same number of each. A source's own are left out, so that only mining differs.
            "random": [
                "mine.given=ignore",
                "mine.sampling=random",
                "mine.range_max=10000000",  # the whole train split is the window
                "mine.relative_margin=0",
            ],
            "unfiltered": [
                "mine.given=ignore",
                "mine.relative_margin=0",
                "mine.near_duplicates=false",
                "mine.same_document_pages=0",
            ],
            "filtered": ["mine.given=ignore"],
        },
        stages=["evaluate_embedder"],
        table="embedder",
        metrics=["tuned.ndcg@10"],
    ),
    "heads": Comparison(
        {
            "logit": ["profiles.{profile}.reranker.head=logit"],
            "dense": ["profiles.{profile}.reranker.head=dense"],
        },
        metrics=["base_ndcg@10", "tuned_ndcg@10"],
    ),
}


def run_missing(
    name: str, seeds: Sequence[int], shared: Sequence[str], root: Path
) -> dict[tuple[str, int], str]:
    """Run a comparison's missing experiments; return the names of all by variant and seed.

    `shared` are params of every experiment, as KEY=VALUE.

    Raises:
        InputError: DVC failed, or params or code differ from the commit.
    """
    changed = ["git", "diff", "--quiet", "HEAD", "--", "params.yaml", "dvc.yaml", *CODE]
    if subprocess.run(changed, cwd=root, stderr=subprocess.DEVNULL).returncode == 1:
        raise InputError(
            "params or code differ from the commit, whose experiments of the same names would be "
            "taken for theirs: commit them, or give the changed params by -S"
        )
    profiles = [params_file.read(root / "params.yaml")["profile"]]
    profiles += [value for key, _, value in (c.partition("=") for c in shared) if key == "profile"]
    existing = _dvc(root, "exp", "list", "--name-only").split()
    experiments = {}
    for variant, changes in COMPARISONS[name].variants.items():
        for seed in seeds:
            experiment = re.sub(r"[^\w.-]", "-", "-".join([name, variant, str(seed), *shared]))
            experiments[variant, seed] = experiment
            if experiment in existing:
                log.info("%s: exists, only read", experiment)
                continue
            options = ["--temp", "--name", experiment]
            for change in (f"seed={seed}", *changes, *shared):
                options += ["-S", change.replace("{profile}", profiles[-1])]
            # Standard output is for the tables alone.
            _dvc(root, "exp", "run", *options, *COMPARISONS[name].stages, stdout=sys.stderr)
    return experiments


def _dvc(root: Path, *arguments: str, stdout: int | IO[str] = subprocess.PIPE) -> str:
    """Run `dvc`; return its output, or nothing where that goes to `stdout`."""
    command = ["dvc", *arguments]
    # Also where this environment is not activated: DVC and its stages lie beside this python.
    path = f"{os.environ['PATH']}{os.pathsep}{Path(sys.executable).parent}"
    environment = os.environ | {"PATH": path}
    done = subprocess.run(command, cwd=root, env=environment, stdout=stdout, text=True)
    if done.returncode:
        raise InputError(
            f"`{shlex.join(command)}` failed in {root.resolve()}: mend what DVC says above, then "
            "call again"
        )
    return done.stdout or ""


def read(experiment: str, path: Path, root: Path) -> bytes:
    """A file of an experiment, from Git or from DVC's cache."""
    import dvc.api  # takes a second, and most tests do without it

    content: bytes = dvc.api.read(path.as_posix(), repo=str(root), rev=experiment, mode="rb")
    return content


def per_query(experiment: str, comparison: Comparison, root: Path) -> pd.DataFrame:
    """The metrics of the comparison and document_id in an experiment, by query_id."""

    def scores(name: str) -> pd.DataFrame:
        content = read(experiment, PER_QUERY / f"{name}.parquet", root)
        return pd.read_parquet(io.BytesIO(content)).set_index("query_id")

    metrics = scores(comparison.table)[list(comparison.metrics)]
    return metrics.join(scores("embedder")["document_id"], validate="1:1")


def compare(scores: pd.DataFrame, metric: str) -> str:
    """A metric by variant and seed, and each variant's gain over the first, as Markdown.

    A gain is over the same queries, pooled over the seeds; its interval is over documents.

    Args:
        scores: document_id and metrics by variant, seed and query_id.
        metric: Column of the scores.
    """
    means = scores.groupby(level=[0, 1], sort=False)[metric].mean().unstack(sort=False)
    first, *others = (scores.loc[variant] for variant in means.index)
    documents = first["document_id"].tolist()
    gains = [
        gain(first[metric], other.loc[first.index, metric], documents, resamples=RESAMPLES, seed=0)
        | {"smallest_p": smallest_p(RESAMPLES)}
        for other in others
    ]
    return table(means, gains)


def table(values: pd.DataFrame, gains: Sequence[dict[str, float]] = ()) -> str:
    """A row per variant: a metric by seed, its mean and deviation (of a sample), as Markdown.

    Args:
        values: The metric: a row per variant, a column per seed, NaN where it was not measured.
        gains: What each variant but the first adds to the first, from `significance.gain`.
    """
    header = ["variant", *(f"seed {seed}" for seed in values), "mean", "deviation"]
    rows = [
        [str(variant), *map(score, [*by_seed, by_seed.mean(), by_seed.std()])]
        for variant, by_seed in values.iterrows()
    ]
    if gains:
        header += ["gain", "95% interval", "p"]
        for row, cells in zip(rows, [("", "", ""), *map(summary.gain_cells, gains)], strict=True):
            row += cells
    return readme.table(header, rows) + "\n"


def write_seeds(experiments: Mapping[int, str], root: Path) -> str:
    """Write the figures of experiments to metrics/seeds.json; return them as a Markdown table.

    `experiments` are names by seed.
    """
    seeds = {}
    for seed, name in experiments.items():
        content = yaml.safe_load(read(name, Path("params.yaml"), root))
        embedder, dimensions, reranker = (
            json.loads(read(name, METRICS / f"{file}.json", root))
            for file in ("embedder", "dimensions", "reranker")
        )
        depth = params_file.parse(content).reranker.compared_depth
        seeds[str(seed)] = spread.figures(embedder, dimensions, reranker, depth)
    write_json(seeds, root / METRICS / "seeds.json", root)
    figures = spread.table(seeds)
    return readme.table(figures.header, figures.rows) + "\n"


def recorded(root: Path) -> pd.DataFrame:
    """The current commit, then its experiments, the newest first: columns of `dvc exp show`.

    Raises:
        InputError: there is no commit, or no project of DVC.
    """
    text = io.StringIO(_dvc(root, "exp", "show", "--csv"))
    runs = pd.read_csv(text, dtype=str, keep_default_na=False)
    runs = runs[runs["rev"] != "workspace"]
    if runs.empty:
        raise InputError("there is no commit whose experiments to list: commit, then `dvc exp run`")
    return runs


def by_seed(runs: pd.DataFrame, names: Sequence[str], metric: str) -> pd.DataFrame:
    """A metric of the `recorded` runs: a row per variant, a column per seed.

    A variant is named by its params that differ from the commit's, without the seed. Of runs with
    the same params and seed the first counts. A run that failed or has not ended has no number.

    Args:
        runs: As `recorded` returns them.
        names: Names of the params.
        metric: A column of the runs.

    Raises:
        InputError: no run has the metric.
    """
    numbers = pd.to_numeric(runs.get(metric, pd.Series(dtype=str)), errors="coerce").dropna()
    if numbers.empty:
        raise InputError(f"no run has the metric {metric!r}: `dvc exp show --csv` lists the names")
    committed = runs.iloc[0]
    names = [name for name in names if name in runs and name != "seed"]
    values: dict[str, dict[int, float]] = {}
    for (_, run), number in zip(runs.loc[numbers.index].iterrows(), numbers, strict=True):
        changes = [f"{name}={run[name]}" for name in names if run[name] != committed[name]]
        variant = ", ".join(changes) or "as committed"
        values.setdefault(variant, {}).setdefault(int(run["seed"]), number)
    return pd.DataFrame.from_dict(values, orient="index").sort_index(axis="columns")


def tables(options: argparse.Namespace, root: Path) -> str:
    """The Markdown that the command prints; runs missing experiments, except for `spread`."""
    if options.command == "spread":
        names, runs = list(flat(params_file.read(root / "params.yaml"))), recorded(root)
        texts = {metric: table(by_seed(runs, names, metric)) for metric in options.metrics}
    else:
        experiments = run_missing(options.command, options.seeds, options.shared, root)
        if options.command == "seeds":
            return write_seeds({seed: name for (_, seed), name in experiments.items()}, root)
        comparison = COMPARISONS[options.command]
        scores = {key: per_query(name, comparison, root) for key, name in experiments.items()}
        texts = {metric: compare(pd.concat(scores), metric) for metric in comparison.metrics}
    return "\n".join(f"{metric}\n\n{text}" for metric, text in texts.items())


def main(arguments: Sequence[str] | None = None, root: Path = Path()) -> int:
    """Write the tables to standard output; return 1 after a user's mistake, else 0."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in COMPARISONS:
        command = commands.add_parser(name)
        command.add_argument("--seeds", type=int, nargs="+", default=[13, 14, 15])
        command.add_argument("-S", dest="shared", action="append", default=[], metavar="KEY=VALUE")
    commands.add_parser("spread").add_argument("metrics", nargs="*", default=["tuned.ndcg@10"])
    running.configure_logging()
    try:
        sys.stdout.write(tables(parser.parse_args(arguments), root))
    except InputError as error:
        log.error("error: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
