"""How far the figures move with the seed: the whole pipeline, once per seed.

    python -m benchmarks.seeds [--seeds 13 14 15]

A seed draws the generated documents, the splits, the batches and the samples. Every stage runs as
`dvc repro` would run it, in a root of its own under .work/seeds, from the same params and code. A
stage that is done there is not run again, so an interrupted benchmark goes on where it stopped.
Prints a Markdown table and writes metrics/seeds.json, which the report shows.
"""

import argparse
import json
import logging
from pathlib import Path

import stages
from benchmarks import roots
from benchmarks.roots import ROOT
from pagefinder import params
from pagefinder.data.files import write_json
from pagefinder.reporting import spread
from pagefinder.runtime import outputs, running, scratch
from tools import readme

STAGES = (
    "download prepare encode_base mine train_embedder encode_tuned evaluate_embedder candidates "
    "train_reranker evaluate_reranker"
).split()
SEEDS = Path("metrics/seeds.json")

log = logging.getLogger(__name__)


def lay_out(content: dict, seed: int, root: Path) -> Path:
    """A root with this seed's params under .work/seeds; with other code or params another one."""
    content = content | {"seed": seed, "compare": []}
    code = [path for stage in STAGES for path in stages.code(stage)]
    inputs = [*dict.fromkeys(code), root / content["checkpoints"]]
    folder = scratch.folder("seeds/run", content, inputs, root)
    (folder / "data/compare").mkdir(parents=True, exist_ok=True)
    roots.share((content["checkpoints"], content["input"]), root, folder)
    roots.write_params(content, folder)
    return folder


def measure(folder: Path) -> dict[str, object]:
    """Run the stages that are not done yet; the figures of the run."""
    for stage in STAGES:
        done = folder / outputs.WORK / "done" / stage
        if not done.exists():
            roots.run_stage(stage, folder)
            done.parent.mkdir(parents=True, exist_ok=True)
            done.touch()
    names = ("embedder", "dimensions", "reranker")
    read = [json.loads((folder / f"metrics/{name}.json").read_text("utf-8")) for name in names]
    return spread.figures(*read)


def run(content: dict, seeds: list[int], root: Path = ROOT) -> dict[str, dict[str, object]]:
    """Measure every seed with the params of `content`, and write metrics/seeds.json."""
    measured = {}
    for seed in seeds:
        folder = lay_out(content, seed, root)
        log.info("seed %d, in %s", seed, folder)
        measured[str(seed)] = measure(folder)
    write_json(measured, root / SEEDS, root)
    return measured


def main() -> None:
    """Measure the committed params; print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[13, 14, 15])
    options = parser.parse_args()
    running.configure_logging()
    content = params.read(ROOT / "params.yaml")
    params.parse(content)
    table = spread.table(run(content, options.seeds))
    print(readme.table(table.header, table.rows))


if __name__ == "__main__":
    main()
