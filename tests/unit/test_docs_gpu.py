"""The experiments of docs/gpu.md name knobs that exist and say what the reference recipe is."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from benchmarks import gpu
from pagefinder import params_file

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/gpu.md").read_text().replace("\\\n", " ")
COMMANDS = [
    shlex.split(line, comments=True) for line in re.findall(r"^dvc exp run .*$", TEXT, re.M)
]


def applied(command):
    """params.yaml with the -S of a command, each of which must name a key that is there."""
    content = params_file.read(ROOT / "params.yaml")
    for flag, setting in zip(command, command[1:], strict=False):
        if flag == "-S":
            path, value = setting.split("=", 1)
            *parents, leaf = path.split(".")
            section = content
            for name in parents:
                section = section[name]
            assert leaf in section, path
            section[leaf] = yaml.safe_load(value) if value else ""
    return params_file.parse(content)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_experiment_can_be_run(command):
    assert applied(command).profile == "gpu"


def test_the_reference_is_the_public_recipe():
    reference = applied(next(c for c in COMMANDS if "reference" in c))
    embedder = reference.embedder
    assert reference.base.model == "Qwen/Qwen3-VL-Embedding-2B"
    assert reference.data.hub.path == "tomaarsen/llamaindex-vdr-en-train-preprocessed"
    assert (reference.pixels.min, reference.pixels.max) == (28 * 28, 600 * 600)
    assert embedder.dims == (2048, 1536, 1024, 512, 256, 128, 64)
    assert (embedder.batch, embedder.mini_batch, embedder.epochs) == (64, 1, 1)
    assert (embedder.learning_rate, embedder.warmup, embedder.evaluations) == (2e-5, 0.1, 10)
    assert reference.loss.temperature == 1 / 20
    assert (reference.mine.given, reference.mine.negatives) == ("use", 1)
    assert not reference.mine.near_duplicates
    # Empty, they leave the system message to the model's template, as the recipe does.
    assert reference.base.query_prompt == reference.base.page_prompt == ""
    assert reference.embedder.prompts
    assert reference.prepare.dev_share <= 0.01


def test_every_column_of_the_benchmark_is_explained():
    explained = re.findall(r"^\| ([a-zA-Z0-9/ ,-]+) \|", TEXT, re.MULTILINE)
    words = {word for cell in explained for word in cell.split(", ")}
    assert set(gpu.COLUMNS) - {"what"} <= words
