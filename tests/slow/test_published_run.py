"""The profile gpu through every stage on a CPU, on small models in the published layout."""

import importlib
import json
import random
import shutil
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
import yaml
from published import MAX_PIXELS, write_published_embedder, write_published_reranker
from sentence_transformers import CrossEncoder, SentenceTransformer
from tiny import WORDS

import stages
from pagefinder import params_file
from pagefinder.data import pixels
from pagefinder.data.corpus import Corpus
from pagefinder.models.visual_tokens import visual_tokens
from pagefinder.retrieval.vectors import cut
from pagefinder.sources.generated import drawing

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ORDER = (
    "download prepare encode_base mine train_embedder encode_tuned evaluate_embedder "
    "evaluate_pixels candidates train_reranker evaluate_reranker export report"
).split()
NEGATIVES = [f"negative_{number}" for number in range(4)]
TRAIN_ROWS, EVAL_ROWS = 60, 12
BUDGET = 128 * 96


def page(number: int) -> bytes:
    """A drawn page larger than the budget, of one of three sizes."""
    words = random.Random(number).choices(WORDS, k=3)
    canvas = drawing.new_canvas()
    for row in range(0, 12, 2):
        drawing.write(canvas, row, row, f"{words[row % 3]} {number}")
    width, height = canvas.image.size
    image = canvas.image.crop((0, 0, width - 64 * (number % 3), height))
    assert image.width * image.height > BUDGET
    return pixels.encode_png(image)


def rows(first: int, count: int) -> list[dict[str, object]]:
    """Rows of a query, its page and four negatives, which are the answers of the next rows."""
    numbers = [[first + (n + step) % count for step in range(5)] for n in range(count)]
    # One page answers two questions, and one question is asked of the page before it, too.
    numbers[1] = [numbers[0][0], *numbers[1][1:]]
    columns = ["image", *NEGATIVES]
    return [
        {"query": f"Where is {' '.join(random.Random(first + n).choices(WORDS, k=3))} {first + n}?"}
        | {column: page(at) for column, at in zip(columns, row, strict=True)}
        for n, row in enumerate(numbers)
    ]


def write_reference(folder: Path) -> None:
    """A dataset of the reference's form: configs train, eval and full, repeats, four negatives."""
    train, evaluated = rows(0, TRAIN_ROWS), rows(1000, EVAL_ROWS)
    train[5]["image"] = evaluated[3]["image"]  # its query cannot be trained on
    images = dict.fromkeys(["image", *NEGATIVES], datasets.Image())
    features = datasets.Features({"query": datasets.Value("string")} | images)
    configs = {"train": train, "eval": evaluated, "full": train + evaluated}
    for name, part in configs.items():
        (folder / name).mkdir(parents=True)
        table = datasets.Dataset.from_list(part, features=features)
        table.to_parquet(folder / name / "0000.parquet")
    lines = "".join(
        f"- config_name: {name}\n  data_files:\n  - split: train\n    path: {name}/*.parquet\n"
        for name in configs
    )
    (folder / "README.md").write_text(f"---\nconfigs:\n{lines}---\n")


def small() -> dict[str, object]:
    """params.yaml with the profile gpu on local folders, made small."""
    content = params_file.read(ROOT / "params.yaml")
    content |= {"profile": "gpu", "checkpoints": "published"}
    content["evaluate"] |= {"bootstrap": 100}
    content["mine"]["range_max"] = 20
    gpu = content["profiles"]["gpu"]
    gpu["data"]["hub"] |= {"path": "reference", "revision": ""}
    gpu["pixels"]["max"] = BUDGET
    gpu["compute"] |= {"device": "cpu", "threads": 1, "workers": 1, "encode_batch": 8}
    gpu["compute"]["scoring"] = "fp32"  # as the released models compute when plainly opened
    gpu["base"] |= {"model": "published/embedding", "revision": ""}
    gpu["embedder"] |= {
        "dims": [192, 64],
        "batch": 8,
        "mini_batch": 4,  # auto needs a card
        "evaluations": 2,
        "dev_pages": 20,
    }
    gpu["reranker"] |= {
        "model": "published/reranking",
        "revision": "",
        "batch": 8,
        "evaluations": 1,
        "negatives": 2,
        "depths": [4, 8],
        "compared_depth": 4,
        "train_depth": 8,
        "dev_queries": 4,
        "fusion_queries": 4,
    }
    return content


def run_stages(root: Path, content: dict[str, object], names: list[str]) -> None:
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    params = params_file.load(root / "params.yaml")
    for name in names:
        module, *arguments = stages.command(name)
        importlib.import_module(module).main(params, root, *arguments)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    write_published_embedder(folder / "published/embedding")
    write_published_reranker(folder / "published/reranking")
    write_reference(folder / "reference")
    (folder / "data/compare").mkdir(parents=True)
    run_stages(folder, small(), ORDER)
    return folder


def metrics(root: Path, name: str) -> dict:
    return json.loads((root / f"metrics/{name}.json").read_text())


def test_repeats_are_merged_and_counted_as_the_recipe_counts_them(root):
    corpus = Corpus(root / "data/corpus")
    # The page that opens the rows answers two of them: one page less, and as many entries.
    assert len(corpus.page_rows("eval")) == EVAL_ROWS
    recipe = metrics(root, "recipe")
    queries = corpus.queries.query("split == 'eval'")["query_id"]
    assert recipe["pages"] == corpus.qrels["query_id"].isin(queries).sum()
    assert EVAL_ROWS * 5 - 5 <= recipe["pages"] <= EVAL_ROWS * 5
    ours = metrics(root, "embedder")
    for model in ("base", "tuned"):
        assert recipe[model]["ndcg@10"] < ours[model]["ndcg@10"]
    trained = corpus.queries.query("split != 'eval'")
    assert len(trained) == TRAIN_ROWS - 1


def test_the_released_embedder_serves_at_the_trained_budget(root):
    model = SentenceTransformer(str(root / "models/release/embedder"), device="cpu")
    large = datasets.Image().decode_example({"bytes": page(0), "path": None}).resize((640, 480))
    assert large.width * large.height < MAX_PIXELS
    assert visual_tokens(model, large) == BUDGET // 32**2
    corpus = Corpus(root / "data/corpus")
    tuned = np.load(root / "data/embeddings/tuned/pages.npy")[:6]
    dimension = metrics(root, "dimensions")["recommended"]["dimension"]
    served = cut(model.encode_document(corpus.images(range(6)), convert_to_numpy=True), dimension)
    np.testing.assert_allclose(served, cut(tuned, dimension), atol=1e-4)


def reranks_as_measured(root: Path) -> None:
    """The released reranker's scores are the metrics' logits, at the trained budget."""
    model = CrossEncoder(str(root / "models/release/reranker"), device="cpu")
    names = ["query", "q0", "page", "rank", "logit", "run"]
    run = pd.read_csv(root / "data/runs/reranker/tuned.trec", sep=" ", names=names)
    first = run[run["query"] == run["query"][0]].head(4)
    corpus = Corpus(root / "data/corpus")
    assert visual_tokens(model, corpus.images([0])[0].resize((640, 480))) == BUDGET // 32**2
    question = corpus.query_text[first["query"].iloc[0]]
    pages = corpus.images([corpus.page_row[page_id] for page_id in first["page"]])
    logits = model.predict(
        [(question, image) for image in pages], activation_fn=lambda scores: scores
    )
    np.testing.assert_allclose(logits, first["logit"], atol=1e-3)


def test_the_released_reranker_gives_the_metrics_scores(root):
    reranks_as_measured(root)


def test_the_report_is_written(root):
    report = (root / "metrics/report/report.md").read_text()
    assert "published/embedding" in report


@pytest.mark.parametrize("head", ["logit", "dense"])
def test_a_reranker_of_the_tuned_embedder_goes_through_its_stages(root, tmp_path, head):
    for name in ("data", "metrics", "models", "published", "reference"):
        shutil.copytree(root / name, tmp_path / name)
    content = small()
    content["profiles"]["gpu"]["reranker"] |= {"model": "models/embedder", "head": head}
    run_stages(tmp_path, content, ["train_reranker", "evaluate_reranker", "export", "report"])
    assert 0 <= metrics(tmp_path, "reranker")["depth"]["4"]["tuned"]["ndcg@10"] <= 1
    reranks_as_measured(tmp_path)
