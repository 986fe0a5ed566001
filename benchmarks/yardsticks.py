"""How fast the pipeline is, held against five yardsticks in one run.

    python -m benchmarks.yardsticks [--companies 8] [--epochs N] [--rounds 3] [--only NAME ...]

It clones the last commit, makes the drawn data of the default smaller (8 of 40 companies) and runs
the pipeline there, which is the first round of `pipeline`. With --folder the clone is kept, and a
second run goes on from it. All else is as params.yaml says. The sides of a yardstick run in turns,
each in a process of its own whose imports do not count; every other round begins with the other.
With --epochs the trainings of `recipe` and `expert` have so many.

- recipe: encode, train and evaluate, over the public recipe's script (`benchmarks.training`).
- expert: train_embedder, over a script on plain Sentence Transformers (`benchmarks.expert`).
- reranking: 20 pages of every eval question, over one forward pass of the same pairs, which lie
  preprocessed in memory (`benchmarks.reranking`).
- pipeline: `dvc repro` of all stages, over their main functions one after the other in one process.
- no-op: `dvc repro` where nothing changed, in seconds.

For each side the table has the median of seconds on the clock, and of processor seconds of all
threads and processes. A ratio is the median of the rounds' ratios, with the lowest and highest.
Seconds on the clock need an idle machine. Processor seconds hold beside other work too, if there is
one thread (--threads 1).
"""

import argparse
import functools
import importlib
import json
import logging
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import stages
from benchmarks import roots
from benchmarks.costs import Cost, cost
from pagefinder import params_file
from pagefinder.params import Params


class Yardstick(NamedTuple):
    """What is compared, and the highest ratio that we aim at."""

    ours: str
    other: str
    aim: float | None


YARDSTICKS = {
    "recipe": Yardstick("ours", "recipe", 0.25),
    "expert": Yardstick("train_embedder", "expert", 1.05),
    "reranking": Yardstick("together", "forward", 0.8),
    "pipeline": Yardstick("dvc repro", "mains", None),
    "no-op": Yardstick("dvc repro, no-op", "", 2.5),  # seconds
}
Rounds = dict[str, list[Cost]]


def first_run(folder: Path, companies: int, threads: int | None) -> list[Cost]:
    """Clone the last commit, make its data smaller and run the pipeline; what its run took.

    Where the folder is there already, what has not run yet is run, and the list is empty.
    """
    new = not folder.exists()
    if new:
        subprocess.run(["git", "clone", "-q", roots.ROOT, folder], check=True)
    content = params_file.read(folder / "params.yaml") | {"profile": "cpu"}
    cpu = content["profiles"]["cpu"]
    cpu["data"]["source"] = "generated"
    cpu["data"]["generated"]["companies"] = companies
    cpu["compute"]["threads"] = threads or cpu["compute"]["threads"]
    roots.write_params(content, folder)
    took = cost(lambda: repro(folder))
    return [took] if new else []


def repro(folder: Path, *options: str) -> None:
    """Run `dvc repro` with the code of `folder`."""
    command = ["dvc", "repro", *options]
    environment = roots.environment(folder)
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=sys.stderr)


def rounds_of(
    name: str, folder: Path, rounds: int, epochs: int | None, first: list[Cost]
) -> Rounds:
    """What the sides of a yardstick cost in each round; `first` as `first_run` returns it."""
    ours, other, _ = YARDSTICKS[name]
    if name == "reranking":
        return child(name, folder, rounds)
    works: dict[str, Callable[[], Cost]] = {
        side: lambda side=side: child(side, folder, 1, epochs)[side][0]
        for side in (ours, other)
        if side
    }
    if name == "pipeline":
        again = functools.partial(repro, folder, "--force", "--no-run-cache")
        works[ours] = lambda: first.pop() if first else cost(again)
    elif name == "no-op":
        repro(folder)  # files whose times changed are hashed again, once
        works[ours] = lambda: cost(lambda: repro(folder))
    found: Rounds = {side: [] for side in works}
    for number in range(rounds):
        for side in list(works)[:: -1 if number % 2 else 1]:
            found[side].append(works[side]())
    return found


def child(name: str, folder: Path, rounds: int = 1, epochs: int | None = None) -> Rounds:
    """What `costs_here` says in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.yardsticks", "--child", name]
    command += ["--folder", str(folder), "--rounds", str(rounds)]
    command += ["--epochs", str(epochs)] if epochs else []
    environment = roots.environment()
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    costs = json.loads(done.stdout.splitlines()[-1])
    return {side: [Cost(*each) for each in found] for side, found in costs.items()}


def costs_here(name: str, root: Path, rounds: int, epochs: int | None) -> Rounds:
    """What a side costs in this process, its imports left out; for reranking both sides."""
    settings = params_file.load(root / "params.yaml")
    if epochs:
        embedder = settings.embedder.model_copy(update={"epochs": epochs})
        settings = settings.model_copy(update={"embedder": embedder})
    if name == "reranking":
        from benchmarks import reranking

        parts = reranking.eval_parts(root, settings)
        return reranking.costs(root, settings, parts, rounds, YARDSTICKS[name][:2])
    if name == "mains":
        works = list(mains(settings, root))
        return {name: [cost(lambda: [work() for work in works])]}
    from benchmarks import expert, training

    side = {
        "ours": training.ours,
        "recipe": lambda settings, root: training.reference(settings, root, "bf16"),
        "train_embedder": training.train_embedder.main,
        "expert": expert.train,
    }[name]
    with tempfile.TemporaryDirectory() as scratch:
        folder = training.linked(root, Path(scratch), settings)
        return {name: [cost(lambda: side(settings, folder))]}


def mains(settings: Params, root: Path) -> Iterator[Callable[[], object]]:
    """The main functions of all stages in their order, imported and with their arguments."""
    for stage in stages.pipeline():
        if stage != "encode_compare":
            module, *arguments = stages.command(stage)
            main = importlib.import_module(module).main
            yield lambda main=main, arguments=arguments: main(settings, root, *arguments)


def report(name: str, found: Rounds) -> str:
    """The rows of a yardstick: each side, then the ratios."""
    ours, other, aim = YARDSTICKS[name]
    lines = []
    for side in filter(None, (ours, other)):
        medians = [statistics.median(each[at] for each in found[side]) for at in (0, 1)]
        lines.append(f"{name:10} {side:20} {medians[0]:8.1f} s {medians[1]:8.1f} s of processors")
    others = found[other] if other else [Cost(1, 1)] * len(found[ours])
    ratios = [
        (one.seconds / two.seconds, one.processor / two.processor)
        for one, two in zip(found[ours], others, strict=True)
    ]
    words = [
        f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"
        for values in zip(*ratios, strict=True)
    ]
    kind = "ratio" if other else "seconds"
    goal = f", aim {aim}" if aim else ""
    lines.append(f"{name:10} {kind:8} {words[0]}, of processors {words[1]}{goal}")
    return "\n".join(lines)


def main() -> None:
    """Print the rows as they come."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--companies", type=int, default=8)
    parser.add_argument("--threads", type=int, help="instead of those of params.yaml")
    parser.add_argument("--epochs", type=int, help="instead of those of params.yaml")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=YARDSTICKS, default=list(YARDSTICKS))
    parser.add_argument("--folder", type=Path, help="keep the project there")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    if options.child:
        found = costs_here(options.child, options.folder, options.rounds, options.epochs)
        print(json.dumps(found))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.folder or Path(scratch, "project")).resolve()
        first = first_run(folder, options.companies, options.threads)
        for name in options.only:
            found = rounds_of(name, folder, options.rounds, options.epochs, first)
            print(report(name, found), flush=True)


if __name__ == "__main__":
    main()
