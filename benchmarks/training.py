"""Training and evaluating by the pipeline's stages against the public recipe, in one run.

    python -m benchmarks.training [--epochs 3] [--rounds 1] [--references bf16 fp32]

Needs a prepared corpus and mined negatives (`dvc repro mine`). Both sides start from the same
model and see the same rows in as many steps and in batches as large. The reference does what the
public example script for visual document retrieval does: no prompts in training, cached loss with a
mini-batch of one, images decoded row by row, duplicates told by their pixels, an evaluator at batch
size one before, during and after training and one more for each Matryoshka dimension. It runs with
weights in bfloat16, as the script opens them, and in float32, as ours are. Ours is encode_base,
train_embedder, encode_tuned and evaluate_embedder. All run in this process, so that nobody's start
counts. Each round has a seed of its own. The tuned models are then scored in one way, by
encode_tuned and evaluate_embedder. Further rows: the speed of bfloat16 over float32 at the same
loss and batch, and the share of a step that waits for data.
"""

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import torch
from accelerate.utils import extract_model_from_parallel
from datasets import Dataset
from datasets import Image as ImageFeature
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.sampler import BatchSamplers
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MatryoshkaLoss,
)

from benchmarks import roots
from pagefinder import params_file
from pagefinder.data.corpus import Corpus
from pagefinder.errors import InputError
from pagefinder.evaluation.significance import gain
from pagefinder.layout import BASE_VECTORS, COMPARE_VECTORS, CORPUS, EMBEDDER, NEGATIVES, PER_QUERY
from pagefinder.mining.pairs import qrel_rows
from pagefinder.mining.rules import exclusions, resolve_rules
from pagefinder.models.device import choose_device
from pagefinder.models.opening import open_embedder
from pagefinder.models.saving import save_model
from pagefinder.params import Params
from pagefinder.training.arguments import TrainingRun, schedule
from pagefinder.training.batches import embedder_rows
from stages import encode, evaluate_embedder, train_embedder
from tools.measuring import Speed, measure_training

STEPS = 4  # counted when bfloat16 is compared with float32
SCORES = "tuned.ndcg@10"


def linked(root: Path, folder: Path, settings: Params) -> Path:
    """A root of its own over the same corpus, negatives and base model."""
    shared = (CORPUS, NEGATIVES, Path(settings.base.model))
    for path in shared:
        if not (root / path).exists():
            raise InputError(f"{path} is missing: run `dvc repro mine` first")
    roots.share(shared, root, folder)
    (folder / COMPARE_VECTORS).mkdir(exist_ok=True)
    return folder


def ours(settings: Params, root: Path) -> None:
    """Train and evaluate by the stages."""
    encode.main(settings, root, "base")
    train_embedder.main(settings, root)
    encode.main(settings, root, "tuned")
    evaluate_embedder.main(settings, root)


def per_query(root: Path) -> pd.DataFrame:
    """NDCG@10 of the tuned model by eval query, and the query's document."""
    return pd.read_parquet(root / PER_QUERY / "embedder.parquet")[["document_id", SCORES]]


def reference(settings: Params, root: Path, weights: str) -> SentenceTransformer:
    """Train and evaluate as the public recipe does."""
    knobs, corpus = settings.embedder, Corpus(root / CORPUS)
    device_settings = choose_device(settings.compute)
    model = open_embedder(settings.base, settings.pixels, device_settings, root)
    if weights == "bf16":
        model.to(torch.bfloat16)
    rows = training_rows(settings, corpus, root)
    loss = MatryoshkaLoss(
        model,
        CachedMultipleNegativesRankingLoss(
            model, scale=1 / settings.loss.temperature, mini_batch_size=1
        ),
        matryoshka_dims=list(knobs.dims),
    )
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(root / "reference"),
        max_steps=schedule(knobs, len(rows)).steps,
        per_device_train_batch_size=knobs.batch,
        per_device_eval_batch_size=knobs.batch,
        learning_rate=knobs.learning_rate,
        warmup_steps=knobs.warmup,
        bf16=device_settings.autocast is not None,
        use_cpu=device_settings.device == "cpu",
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        eval_strategy="steps",
        eval_steps=0.1,
        save_strategy="steps",
        save_steps=0.1,
        save_total_limit=2,
        logging_steps=0.05,
        report_to="none",
        disable_tqdm=True,
        seed=settings.seed,
    )
    task = eval_task(corpus)
    evaluator(task)(model)
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=with_pixels(rows, corpus),
        loss=loss,
        evaluator=evaluator(task),
    )
    trainer.train()
    for dimension in (None, *knobs.dims):
        evaluator(task, dimension)(model)
    return model


def training_rows(settings: Params, corpus: Corpus, root: Path) -> pd.DataFrame:
    """The rows of ids that train_embedder trains on."""
    rules = resolve_rules(settings.mine, settings.data.source)
    qrels = qrel_rows(corpus, "train")
    excluded = exclusions(corpus, rules, qrels[qrels["relevance"] > 0])
    return embedder_rows(corpus, pd.read_parquet(root / NEGATIVES), settings.seed, excluded)


def with_pixels(rows: pd.DataFrame, corpus: Corpus) -> Dataset:
    """Rows that hold their images, decoded whenever one is read."""
    columns = {"query": [corpus.query_text[query_id] for query_id in rows["query_id"]]}
    for name in rows.columns.drop("query_id"):
        images = [corpus.image_bytes(corpus.page_row[page_id]) for page_id in rows[name]]
        columns[name.removesuffix("_id")] = [{"bytes": data, "path": None} for data in images]
    dataset = Dataset.from_dict(columns)
    for name in dataset.column_names[1:]:
        dataset = dataset.cast_column(name, ImageFeature())
    return dataset


def eval_task(corpus: Corpus) -> dict[str, dict]:
    """Eval queries, their positives and all eval pages, each decoded."""
    positives = corpus.positives("eval")
    pages = corpus.page_rows("eval")
    return {
        "queries": {query_id: corpus.query_text[query_id] for query_id in positives},
        "corpus": {corpus.pages["page_id"][row]: corpus.image(row) for row in pages},
        "relevant_docs": {query_id: set(pages) for query_id, pages in positives.items()},
    }


def evaluator(task: dict[str, dict], dimension: int | None = None) -> InformationRetrievalEvaluator:
    """The recipe's evaluator, which encodes the pages one by one."""
    return InformationRetrievalEvaluator(
        **task, truncate_dim=dimension, batch_size=1, name="eval", write_csv=False
    )


def speed(settings: Params, root: Path, precision: str) -> Speed:
    """A few steps of our training in a precision."""
    compute = settings.compute.model_copy(update={"precision": precision})
    device_settings = choose_device(compute)
    model = open_embedder(settings.base, settings.pixels, device_settings, root)
    corpus = Corpus(root / CORPUS)
    rows = embedder_rows(corpus, pd.read_parquet(root / NEGATIVES), settings.seed)
    run = TrainingRun(corpus, compute, device_settings, 0, root / "speed")
    return measure_training(model, rows, settings.embedder, settings.loss, run, STEPS)


def rescored(
    model: SentenceTransformer, settings: Params, root: Path, our_root: Path
) -> pd.DataFrame:
    """Scores of the reference's model by the stages that score ours, which lies in `our_root`."""
    # What the trainer put around the forward pass would compute in bfloat16 here too.
    extract_model_from_parallel(model, keep_fp32_wrapper=False)
    save_model(model.float(), root / EMBEDDER)
    roots.share([BASE_VECTORS], our_root, root)
    encode.main(settings, root, "tuned")
    evaluate_embedder.main(settings, root)
    return per_query(root)


def measure(
    root: Path, settings: Params, rounds: int = 1, references: Sequence[str] = ("bf16", "fp32")
) -> Iterator[tuple[str, float]]:
    """Seconds and NDCG@10 of ours and each reference, how they compare, bfloat16, loading."""
    sides = ["ours", *references]
    took: dict[str, list[float]] = {side: [] for side in sides}
    tables: dict[str, list[pd.DataFrame]] = {side: [] for side in sides}
    for number in range(rounds):
        seeded = settings.model_copy(update={"seed": settings.seed + number, "compare": {}})
        with tempfile.TemporaryDirectory() as scratch:
            folders = {side: linked(root, Path(scratch, side), seeded) for side in sides}
            tuned = {}
            # Each round begins with another side: other work then hits all alike.
            for side in sides[number % len(sides) :] + sides[: number % len(sides)]:
                start = time.perf_counter()
                if side == "ours":
                    ours(seeded, folders[side])
                else:
                    tuned[side] = reference(seeded, folders[side], side)
                took[side].append(time.perf_counter() - start)
                yield f"{side}, s, seed {seeded.seed}", took[side][-1]
            tables["ours"].append(per_query(folders["ours"]))
            for side, model in tuned.items():
                scores = rescored(model, seeded, folders[side], folders["ours"])
                tables[side].append(scores)
            for side in sides:
                yield f"{side}, ndcg@10, seed {seeded.seed}", tables[side][-1][SCORES].mean()
    after = pd.concat(tables["ours"])
    documents = after["document_id"].tolist()
    for side in references:
        ratio = statistics.median(took["ours"]) / statistics.median(took[side])
        yield f"ours over {side}, time", ratio
        before = pd.concat(tables[side])
        won = gain(before[SCORES], after[SCORES], documents, resamples=10_000, seed=0)
        for key in ("ndcg@10", "low", "high"):
            if key in won:
                yield f"ours over {side}, {key}", won[key]
    with tempfile.TemporaryDirectory() as scratch:
        folder = linked(root, Path(scratch), settings)
        exact, half = (speed(settings, folder, precision) for precision in ("fp32", "bf16"))
    yield "bf16 over fp32", half.per_second / exact.per_second
    yield "share of a step that waits, bf16", half.waited


def main() -> None:
    """Print the figures as they come, one a line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=float, help="instead of those of params.yaml")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--references", nargs="+", choices=("bf16", "fp32"), default=["bf16", "fp32"]
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    root = Path()
    settings = params_file.load(root / "params.yaml")
    if options.epochs:
        embedder = settings.embedder.model_copy(update={"epochs": options.epochs})
        settings = settings.model_copy(update={"embedder": embedder})
    for name, value in measure(root, settings, options.rounds, options.references):
        print(f"{name:32} {value:10.4f}", flush=True)


if __name__ == "__main__":
    main()
