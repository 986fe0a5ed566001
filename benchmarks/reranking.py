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
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.util import batch_to_device

from pagefinder import params_file
from pagefinder.data.corpus import Corpus
from pagefinder.layout import CANDIDATES, CORPUS, RERANKER
from pagefinder.models import scoring
from pagefinder.models.device import DeviceSettings, choose_device
from pagefinder.models.opening import open_reranker
from pagefinder.params import Params

ROOT = Path(__file__).parents[1]


def timed(work: Callable[[], object], device: str) -> float:
    """Seconds of wall time until the device has done it."""
    started = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - started


def measure(root: Path, knobs: Params, queries: int, rounds: int) -> pd.DataFrame:
    """Median seconds per query of the three ways, pages per second, ratio to the forward pass."""
    device_settings = choose_device(knobs.compute, scoring=True)
    corpus = Corpus(root / CORPUS)
    model = open_reranker(knobs.reranker, knobs.pixels, device_settings, root, root / RERANKER)
    candidates = pd.read_parquet(root / CANDIDATES).query("split == 'eval'")
    candidates = candidates[candidates["rank"] <= max(knobs.reranker.depths)]
    query_ids = candidates["query_id"].unique()[:queries]
    parts = [candidates[candidates["query_id"] == query_id] for query_id in query_ids]
    ways = _ways(model, corpus, parts, device_settings, knobs.compute.encode_batch)
    for way in ways.values():  # the first call pays for warming up
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(timed(way, device_settings.device) / len(parts))
    median = {name: statistics.median(times) for name, times in seconds.items()}
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
