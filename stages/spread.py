"""How far does a metric move with the seed alone? `python -m stages.spread [METRIC ...]`.

No DVC stage: it reads the experiments of the current commit, and joins those whose params differ in
nothing but `seed`. Metrics go by the names that `dvc exp show` gives them.
"""

import logging
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pagefinder import params, work
from pagefinder.errors import InputError
from pagefinder.reporting.words import flat
from stages.summary import aligned

log = logging.getLogger(__name__)

Run = Mapping[str, Any]  # a run as `dvc.api.exp_show` gives it: columns by name
USUAL = ("tuned.ndcg@10",)


def by_seed(runs: Sequence[Run], names: Sequence[str], metric: str) -> dict[str, dict[int, float]]:
    """A metric by seed, for each variant: what its params, but the seed, make of the commit's.

    Args:
        runs: The commit first, then its experiments, the newest first.
        names: Of all params.
        metric: Column of the runs; one that failed or has yet to run has no number in it.

    Raises:
        InputError: no run has the metric.
    """
    if not any(isinstance(run.get(metric), float | int) for run in runs):
        raise InputError(f"no run has the metric {metric!r}: `dvc exp show --csv` lists the names")
    committed, result = runs[0], dict[str, dict[int, float]]()
    for run in runs:
        changed = [name for name in names if name != "seed" and run.get(name) != committed[name]]
        variant = ", ".join(f"{name}={run.get(name)}" for name in changed) or "as committed"
        if isinstance(value := run.get(metric), float | int):
            result.setdefault(variant, {}).setdefault(int(run["seed"]), float(value))
    return result


def table(found: Mapping[str, Mapping[int, float]], metric: str) -> str:
    """Mean, standard deviation (of a sample) and range of the metric for each variant."""
    rows = []
    for variant, values in found.items():
        numbers = list(values.values())
        deviation = f"{statistics.stdev(numbers):.4f}" if len(numbers) > 1 else "–"
        ends = (
            f"{number:.4f}" for number in (statistics.mean(numbers), min(numbers), max(numbers))
        )
        mean, low, high = ends
        rows.append((variant, " ".join(map(str, sorted(values))), mean, deviation, low, high))
    return aligned((metric, "seeds", "mean", "deviation", "lowest", "highest"), rows)


def main(metrics: Sequence[str], root: Path = Path()) -> int:
    """Write a table for each metric to standard output."""
    import dvc.api  # only here: it takes a second, and the tests of the table do without it

    work.configure_logging()
    runs = [run for run in dvc.api.exp_show(repo=str(root)) if run["rev"] != "workspace"]
    names = [name for name in flat(params.read(root / "params.yaml")) if name in runs[0]]
    try:
        for metric in metrics or USUAL:
            sys.stdout.write(table(by_seed(runs, names, metric), metric) + "\n")
    except InputError as error:
        log.error("error: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
