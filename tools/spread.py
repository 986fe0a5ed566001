"""How far does a metric move with the seed alone? `python -m tools.spread [METRIC ...]`.

No DVC stage: it reads the experiments of the current commit, and joins those whose params differ in
nothing but `seed`. Metrics go by the names that `dvc exp show` gives them.
"""

import logging
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pagefinder import params
from pagefinder.errors import InputError
from pagefinder.reporting.format import flat
from pagefinder.runtime import running
from tools.summary import aligned

log = logging.getLogger("tools.spread")  # also where it runs as __main__

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
        variant = ", ".join(f"{name}={_plain(run.get(name))}" for name in changed)
        if isinstance(value := run.get(metric), float | int):
            result.setdefault(variant or "as committed", {}).setdefault(
                int(run["seed"]), float(value)
            )
    return result


def _plain(value: object) -> str:
    """A param's value; `dvc.api.exp_show` makes every number a float."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def table(found: Mapping[str, Mapping[int, float]]) -> str:
    """Seeds, mean, standard deviation (of a sample) and range of a metric for each variant."""
    rows = []
    for values in found.values():
        numbers = list(values.values())
        deviation = f"{statistics.stdev(numbers):.4f}" if len(numbers) > 1 else "–"
        ends = (f"{number:.4f}" for number in (min(numbers), max(numbers)))
        seeds = " ".join(map(str, sorted(values)))
        rows.append((seeds, f"{statistics.mean(numbers):.4f}", deviation, *ends))
    lines = aligned(("seeds", "mean", "deviation", "lowest", "highest"), rows).splitlines()
    names = ["variant", "-------", *found]
    return "".join(f"{line}  {name}\n" for line, name in zip(lines, names, strict=True))


def recorded(root: Path) -> list[Run]:
    """The current commit and its experiments.

    Raises:
        InputError: there is no commit, or no project of DVC.
    """
    # Only here: they take a second, and the tests of the table do without them.
    import dvc.api
    from dvc.exceptions import DvcException

    try:
        runs = [run for run in dvc.api.exp_show(repo=str(root)) if run["rev"] != "workspace"]
    except DvcException as error:
        raise InputError(
            f"DVC lists no experiments of {root.resolve()} ({error}): run from the project's root"
        ) from error
    if not runs:
        raise InputError("there is no commit whose experiments to list: commit, then `dvc exp run`")
    return runs


def main(metrics: Sequence[str], root: Path = Path()) -> int:
    """Write a table for each metric to standard output."""
    running.configure_logging()
    try:
        content = params.read(root / "params.yaml")
        runs = recorded(root)
        names = [name for name in flat(content) if name in runs[0]]
        for metric in metrics or USUAL:
            sys.stdout.write(f"{metric}\n{table(by_seed(runs, names, metric))}\n")
    except InputError as error:
        log.error("error: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
