"""Training and evaluating by the pipeline's stages against the public recipe, in one run.

    python -m benchmarks.training [--epochs 4] [--rounds 1]

Needs a prepared corpus and mined negatives (`dvc repro mine`). Both sides start from the same
model and see the same rows in as many batches and epochs. The reference does what the public
example script for visual document retrieval does: cached loss with a mini-batch of one, images
decoded row by row, duplicates told by their pixels, an evaluator at batch size one before, during
and after training and one more for each Matryoshka dimension. Ours is encode_base, train_embedder,
encode_tuned and evaluate_embedder. Further rows: the speed of bfloat16 over float32 at the same
loss and batch, and the share of a step that waits for data.
"""

import argparse
import json
import logging
import statistics
import tempfile
import time
from pathlib import Path

import pandas as pd
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
from pagefinder import examples, models, params, planning
from pagefinder.corpus import Corpus
from pagefinder.errors import InputError
from pagefinder.params import Params
from stages import (
    CORPUS,
    METRICS,
    NEGATIVES,
    encode_base,
    encode_tuned,
    evaluate_embedder,
    train_embedder,
)

STEPS = 4  # counted when bfloat16 is compared with float32


def linked(root: Path, scratch: Path, settings: Params) -> Path:
    """A root of its own over the same corpus, negatives and base model."""
    shared = (CORPUS, NEGATIVES, Path(settings.base.model))
    for path in shared:
        if not (root / path).exists():
            raise InputError(f"{path} is missing: run `dvc repro mine` first")
    roots.share(shared, root, scratch)
    (scratch / "data/compare").mkdir(exist_ok=True)
    return scratch


def ours(settings: Params, root: Path) -> float:
    """Train and evaluate by the stages; NDCG@10 of the tuned model on eval."""
    for stage in (encode_base, train_embedder, encode_tuned, evaluate_embedder):
        stage.main(settings, root)
    metrics = json.loads((root / METRICS / "embedder.json").read_text())
    return float(metrics["tuned"]["ndcg@10"])


def reference(settings: Params, root: Path) -> float:
    """Train and evaluate as the public recipe does; NDCG@10 of the tuned model on eval."""
    knobs, corpus = settings.embedder, Corpus(root / CORPUS)
    hardware = models.settle(settings.compute)
    model = models.open_embedder(settings.base, settings.pixels, hardware, root)
    rows = examples.embedder_rows(corpus, pd.read_parquet(root / NEGATIVES), settings.seed)
    loss = MatryoshkaLoss(
        model,
        CachedMultipleNegativesRankingLoss(
            model, scale=1 / settings.loss.temperature, mini_batch_size=1
        ),
        matryoshka_dims=list(knobs.dims),
    )
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(root / "reference"),
        num_train_epochs=knobs.epochs,
        per_device_train_batch_size=knobs.batch,
        per_device_eval_batch_size=knobs.batch,
        learning_rate=knobs.learning_rate,
        warmup_steps=knobs.warmup,
        bf16=hardware.autocast is not None,
        use_cpu=hardware.device == "cpu",
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        eval_strategy="steps",
        eval_steps=0.1,
        save_strategy="steps",
        save_steps=0.1,
        save_total_limit=2,
        logging_steps=0.05,
        report_to="none",
        disable_tqdm=True,
    )
    evaluate(model, corpus)
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=with_pixels(rows, corpus),
        loss=loss,
        evaluator=evaluator(corpus),
    )
    trainer.train()
    score = evaluate(model, corpus)
    for dimension in knobs.dims:
        evaluate(model, corpus, dimension)
    return score


def with_pixels(rows: pd.DataFrame, corpus: Corpus) -> Dataset:
    """Rows that hold their images, decoded whenever one is read."""
    texts = corpus.queries.set_index("query_id")["text"]
    columns = {"query": [texts[query_id] for query_id in rows["query_id"]]}
    for name in rows.columns.drop("query_id"):
        images = [corpus.image_bytes(corpus.page_row[page_id]) for page_id in rows[name]]
        columns[name.removesuffix("_id")] = [{"bytes": data, "path": None} for data in images]
    dataset = Dataset.from_dict(columns)
    for name in dataset.column_names[1:]:
        dataset = dataset.cast_column(name, ImageFeature())
    return dataset


def evaluator(corpus: Corpus, dimension: int | None = None) -> InformationRetrievalEvaluator:
    """The recipe's evaluator over the eval pages, which it encodes one by one."""
    positives = corpus.positives("eval")
    texts = corpus.queries.set_index("query_id")["text"]
    return InformationRetrievalEvaluator(
        queries={query_id: texts[query_id] for query_id in positives},
        corpus={
            corpus.pages["page_id"][row]: corpus.image(row) for row in corpus.page_rows("eval")
        },
        relevant_docs={query_id: set(pages) for query_id, pages in positives.items()},
        truncate_dim=dimension,
        batch_size=1,
        name="eval",
        write_csv=False,
    )


def evaluate(model: SentenceTransformer, corpus: Corpus, dimension: int | None = None) -> float:
    """NDCG@10."""
    return float(evaluator(corpus, dimension)(model)["eval_cosine_ndcg@10"])


def speed(settings: Params, root: Path, precision: str) -> planning.Speed:
    """A few steps of our training in a precision."""
    compute = settings.compute.model_copy(update={"precision": precision})
    hardware = models.settle(compute)
    model = models.open_embedder(settings.base, settings.pixels, hardware, root)
    corpus = Corpus(root / CORPUS)
    rows = examples.embedder_rows(corpus, pd.read_parquet(root / NEGATIVES), settings.seed)
    return planning.measure_training(
        model,
        corpus,
        rows,
        settings.embedder,
        settings.loss,
        compute,
        hardware,
        STEPS,
        root / "speed",
    )


def measure(root: Path, settings: Params, rounds: int = 1) -> dict[str, float]:
    """Seconds and NDCG@10 of both sides, their ratio, bfloat16 over float32, share of loading."""
    took: dict[str, list[float]] = {"ours": [], "reference": []}
    scores = {}
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as scratch:
            own = linked(root, Path(scratch), settings)
            # In turns, and each goes first as often: other work then hits both alike.
            sides = [("ours", ours), ("reference", reference)]
            for name, side in sides if number % 2 == 0 else sides[::-1]:
                start = time.perf_counter()
                scores[name] = side(settings, own)
                took[name].append(time.perf_counter() - start)
            exact, half = (speed(settings, own, precision) for precision in ("fp32", "bf16"))
    medians = {name: statistics.median(values) for name, values in took.items()}
    return {
        **medians,
        "ratio": medians["ours"] / medians["reference"],
        "ours ndcg@10": scores["ours"],
        "reference ndcg@10": scores["reference"],
        "bf16 over fp32": half.per_second / exact.per_second,
        "loading": exact.loading,
    }


def main() -> None:
    """Print the figures, one a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=float, help="instead of those of params.yaml")
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    root = Path()
    settings = params.load(root / "params.yaml")
    if arguments.epochs:
        embedder = settings.embedder.model_copy(update={"epochs": arguments.epochs})
        settings = settings.model_copy(update={"embedder": embedder})
    for name, value in measure(root, settings, arguments.rounds).items():
        print(f"{name:18} {value:10.4f}")


if __name__ == "__main__":
    main()
