"""The experiments of docs/gpu.md name knobs that exist and say what the reference recipe is."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from benchmarks import gpu
from pagefinder import params_file
from pagefinder.runtime import disk
from tools import plan

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


def test_the_disk_of_the_reference_is_as_the_plan_counts_it():
    params = params_file.parse(params_file.read(ROOT / "params.yaml") | {"profile": "gpu"})
    size = plan.sizes(params, None)
    amounts = disk.Amounts(
        source_bytes=size.pages * plan.REFERENCE_PAGE_BYTES,
        corpus_bytes=round(size.pages * params.pixels.max * disk.PNG_BYTES_PER_PIXEL),
        texts_and_pages=size.pages + size.rows + plan.REFERENCE_EVAL_QUERIES,
        eval_queries=plan.REFERENCE_EVAL_QUERIES,
    )
    model = disk.Weights(4_255_000_000, 2_127_532_032, 2_127_532_032)
    needs = disk.needs(params, amounts, {"base": model, "reranker": model})
    outputs = {name: size for need in needs.values() for name, size in need.outputs.items()}
    _, table, *_ = TEXT.partition("## Disk")[2].split("\n\n")
    cells = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    estimates = {name.split(",")[0]: value for name, value in cells}

    def gb(size):
        return f"{size / 1e9:.1f}"

    assert estimates["data/source"] == gb(outputs["data/source"])
    assert estimates["data/corpus"] == gb(outputs["data/corpus"])
    assert (
        estimates["models/embedder and models/reranker"] == f"2 x {gb(outputs['models/embedder'])}"
    )
    assert estimates["models/release"] == gb(outputs["models/release"])
    assert estimates["DVC's cache"] == gb(sum(outputs.values()))
    assert estimates["checkpoints of one training"] == gb(
        needs["train_embedder"].work["checkpoints"]
    )
    assert estimates["the most at a time"] == gb(disk.together(needs, copied=True))
    assert estimates["the Hub's cache of both models"] == gb(2 * model.file_bytes)


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
