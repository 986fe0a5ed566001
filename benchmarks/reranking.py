"""What reranking costs: seconds per query and pages per second, beside one bare forward pass.

    python -m benchmarks.reranking [--queries 20] [--rounds 3]

Takes the corpus, the candidates and the tuned reranker of the last `dvc repro`, and the candidates
of the first eval queries down to the deepest depth (20 on the default). Three ways are run in turns
and their medians compared, so that other work on the machine hits all alike:

- forward: one forward pass over a query's pairs, which lie preprocessed in memory. The reference.
- a query: decode, preprocess and score the same pairs, query by query, as a search does.
- together: the same for all queries at once, each page looked at once, as the evaluation does.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.util import batch_to_device

from benchmarks.costs import Cost, cost
from pagefinder import params_file
from pagefinder.data.corpus import Corpus
from pagefinder.layout import CANDIDATES, CORPUS, RERANKER
from pagefinder.models import scoring
from pagefinder.models.device import DeviceSettings, choose_device
from pagefinder.models.opening import open_reranker
from pagefinder.params import Params

ROOT = Path(__file__).parents[1]
WAYS = ("forward", "a query", "together")


def costs(
    root: Path, knobs: Params, parts: list[pd.DataFrame], rounds: int, names: Sequence[str] = WAYS
) -> dict[str, list[Cost]]:
    """What each of the named ways costs in every round, for all of `parts`."""
    device_settings = choose_device(knobs.compute, scoring=True)
    corpus = Corpus(root / CORPUS)
    model = open_reranker(knobs.reranker, knobs.pixels, device_settings, root, root / RERANKER)
    ways = _ways(model, corpus, parts, device_settings, knobs.compute.encode_batch)
    for name in names:  # the first call pays for warming up
        ways[name]()

    def until_done(way: Callable[[], object]) -> None:
        way()
        if device_settings.device.startswith("cuda"):
            torch.cuda.synchronize()

    found: dict[str, list[Cost]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            found[name].append(cost(partial(until_done, ways[name])))
    return found


def eval_parts(root: Path, knobs: Params, queries: int | None = None) -> list[pd.DataFrame]:
    """The candidates of each of the first eval queries, down to the deepest depth."""
    candidates = pd.read_parquet(root / CANDIDATES).query("split == 'eval'")
    candidates = candidates[candidates["rank"] <= max(knobs.reranker.depths)]
    query_ids = candidates["query_id"].unique()[:queries]
    return [candidates[candidates["query_id"] == query_id] for query_id in query_ids]


def measure(root: Path, knobs: Params, queries: int, rounds: int) -> pd.DataFrame:
    """Median seconds per query of the three ways, pages per second, ratio to the forward pass."""
    parts = eval_parts(root, knobs, queries)
    median = {
        name: statistics.median(each.seconds for each in found) / len(parts)
        for name, found in costs(root, knobs, parts, rounds).items()
    }
    pages = sum(map(len, parts)) / len(parts)
    rows = [
        [name, round(value, 4), round(pages / value, 1), round(value / median["forward"], 2)]
        for name, value in median.items()
    ]
    return pd.DataFrame(rows, columns=["way", "seconds per query", "pages/s", "ratio"])


def _ways(
    model: CrossEncoder,
    corpus: Corpus,
    parts: list[pd.DataFrame],
    device_settings: DeviceSettings,
    batch: int,
) -> dict[str, Callable[[], object]]:
    prepared = []
    for part in parts:
        pairs = scoring.text_and_page_row(corpus, part)
        for start in range(0, len(pairs), batch):
            inputs = [(text, corpus.image(row)) for text, row in pairs[start : start + batch]]
            prompt = model.prompts[model.default_prompt_name]
            features = model.preprocess(inputs, prompt=prompt)
            prepared.append(batch_to_device(features, model.device))

    def forward() -> None:
        with torch.inference_mode(), device_settings.precision():
            for features in prepared:
                model(dict(features))

    def one_by_one() -> None:
        for part in parts:
            scoring.score_pairs(model, corpus, part, device_settings, batch)

    together = pd.concat(parts)
    return {
        "forward": forward,
        "a query": one_by_one,
        "together": lambda: scoring.score_pairs(model, corpus, together, device_settings, batch),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    table = measure(ROOT, params_file.load(ROOT / "params.yaml"), options.queries, options.rounds)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
