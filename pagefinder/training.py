"""Fine-tune an embedder or a reranker with Sentence Transformers' own trainers.

What is added here is only what they leave open: rows by id, dedupe by id, prompts in training,
checkpoints that survive any interruption, and curves that survive a resume.
"""

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset
from datasets import Image as ImageFeature
from datasets.utils.logging import disable_progress_bar
from sentence_transformers import (
    CrossEncoder,
    CrossEncoderTrainer,
    CrossEncoderTrainingArguments,
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.sampler import NoDuplicatesBatchSampler
from sentence_transformers.cross_encoder.evaluation import CrossEncoderRerankingEvaluator
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.util import resolve_ids
from transformers import (
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from pagefinder.corpus import PAGES, Corpus
from pagefinder.errors import InputError
from pagefinder.models import Hardware
from pagefinder.params import Compute, Embedder, Loss, Reranker, Training

log = logging.getLogger(__name__)

CURVE_COLUMNS = ["step", "metric", "value"]
# Under these names the two evaluators report NDCG@10 on dev.
DEV_METRIC, DEV_RERANKED = "eval_dev_cosine_ndcg@10", "eval_dev_ndcg@10"


def embedder_rows(corpus: Corpus, negatives: pd.DataFrame, seed: int) -> pd.DataFrame:
    """One row per training query and positive: query_id, image_id, negative_0_id, negative_1_id...

    Every row has as many negatives as the best-off query; a query with fewer gets pages drawn from
    the train split, which is what in-batch negatives are anyway, never one of its own positives.
    """
    positives = corpus.positives("train")
    mined = negatives.groupby("query_id", sort=False)["page_id"].agg(list).to_dict()
    wanted = max((len(pages) for pages in mined.values()), default=0)
    train_pages = corpus.pages.loc[corpus.pages["split"] == "train", "page_id"].to_numpy()
    random = np.random.default_rng(seed)
    rows = []
    for query_id, pages in positives.items():
        own = list(mined.get(query_id, []))
        taken = set(own) | set(pages)
        while len(own) < wanted and len(taken) < len(train_pages):
            drawn = str(random.choice(train_pages))
            if drawn not in taken:
                taken.add(drawn)
                own.append(drawn)
        if len(own) < wanted:
            raise InputError(
                f"{len(train_pages)} train pages are too few for {wanted} negatives per query: "
                "lower mine.negatives"
            )
        for page_id in pages:
            rows.append([query_id, page_id, *own])
    columns = ["query_id", "image_id", *(f"negative_{i}_id" for i in range(wanted))]
    return pd.DataFrame(rows, columns=columns)


def with_content(rows: pd.DataFrame, corpus: Corpus) -> Dataset:
    """Rows of ids as a dataset that reads texts and images when they are asked for."""
    queries = Dataset.from_pandas(corpus.queries[["query_id", "text"]], preserve_index=False)
    pages = Dataset.from_file(str(corpus.folder / PAGES)).select_columns(["page_id", "image"])
    # cast_column changes the view; cast would write a second copy of every page.
    pages = pages.cast_column("image", ImageFeature(mode="RGB"))
    lookups = {
        column: queries if column == "query_id" else pages
        for column in rows.columns
        if column.endswith("_id")
    }
    dataset = Dataset.from_pandas(rows, preserve_index=False)
    dataset.set_transform(resolve_ids(lookups))
    return dataset


def no_duplicates(dataset: Dataset, **keywords: Any) -> NoDuplicatesBatchSampler:  # noqa: ANN401
    """Batches in which no query and no page occurs twice, decided on ids instead of pixels."""
    return NoDuplicatesBatchSampler(dataset.with_format(None), **keywords)


def train_embedder(
    model: SentenceTransformer,
    corpus: Corpus,
    negatives: pd.DataFrame,
    knobs: Embedder,
    loss: Loss,
    compute: Compute,
    hardware: Hardware,
    seed: int,
    checkpoints: Path,
) -> pd.DataFrame:
    """Fine-tune `model` in place and return its curves: step, metric, value.

    The loss is in-batch softmax with hard negatives at every Matryoshka dimension; with a
    mini-batch it is cached (GradCache, Gao et al. 2021, arXiv:2101.06983), which has the same
    gradients at a mini-batch's memory. The checkpoint with the best NDCG@10 on dev is kept.
    """
    width = model.get_embedding_dimension()
    if knobs.dims[0] > width:
        raise InputError(
            f"embedder.dims asks for dimension {knobs.dims[0]}, the model has {width}: "
            f"drop the dimensions above {width}"
        )
    dataset = with_content(embedder_rows(corpus, negatives, seed), corpus)
    page_columns = [column for column in dataset[0] if column != "query"]
    query_prompt, page_prompt = model.prompts["query"], model.prompts["document"]
    evaluator = dev_evaluator(corpus, knobs, compute.encode_batch, seed)
    arguments = SentenceTransformerTrainingArguments(
        prompts={"query": query_prompt, **dict.fromkeys(page_columns, page_prompt)},
        batch_sampler=no_duplicates,
        metric_for_best_model=DEV_METRIC,
        **_arguments(knobs, compute, hardware, seed, checkpoints, len(dataset)),
    )
    _prepare(model, knobs)
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        loss=_matryoshka(model, knobs, loss),
        evaluator=evaluator,
        callbacks=[_Watch()],
    )
    return _fit(trainer, checkpoints)


def _matryoshka(model: SentenceTransformer, knobs: Embedder, loss: Loss) -> MatryoshkaLoss:
    scale = 1 / loss.temperature
    if knobs.mini_batch == "auto":
        raise InputError("embedder.mini_batch is auto, which needs CUDA: name a number, or 0")
    contrastive = (
        CachedMultipleNegativesRankingLoss(model, scale=scale, mini_batch_size=knobs.mini_batch)
        if knobs.mini_batch
        else MultipleNegativesRankingLoss(model, scale=scale)
    )
    return MatryoshkaLoss(
        model,
        contrastive,
        matryoshka_dims=list(knobs.dims),
        n_dims_per_step=loss.matryoshka_dims_per_step,
    )


def dev_evaluator(
    corpus: Corpus, knobs: Embedder, batch: int, seed: int
) -> InformationRetrievalEvaluator:
    """NDCG@10 of dev queries over dev pages, both sampled down to `dev_pages` with the seed."""
    positives = corpus.positives("dev")
    chosen: dict[str, dict[str, int]] = {}
    pages: dict[str, None] = {}
    for query_id in np.random.default_rng(seed).permutation(list(positives)):
        if len(pages) >= knobs.dev_pages:
            break
        chosen[str(query_id)] = positives[query_id]
        pages.update(dict.fromkeys(positives[query_id]))
    dev_pages = corpus.pages.loc[corpus.pages["split"] == "dev", "page_id"]
    for page_id in dev_pages:
        if len(pages) >= knobs.dev_pages:
            break
        pages[page_id] = None
    texts = corpus.queries.set_index("query_id")["text"]
    return InformationRetrievalEvaluator(
        queries={query_id: texts[query_id] for query_id in chosen},
        corpus={page_id: corpus.image(corpus.page_row[page_id]) for page_id in pages},
        relevant_docs={query_id: set(relevant) for query_id, relevant in chosen.items()},
        ndcg_at_k=[10],
        mrr_at_k=[10],
        accuracy_at_k=[1],
        precision_recall_at_k=[10],
        map_at_k=[10],
        batch_size=batch,
        name="dev",
        write_csv=False,
        main_score_function="cosine",
    )


def train_reranker(
    model: CrossEncoder,
    corpus: Corpus,
    candidates: pd.DataFrame,
    knobs: Reranker,
    compute: Compute,
    hardware: Hardware,
    seed: int,
    checkpoints: Path,
) -> pd.DataFrame:
    """Fine-tune `model` in place by binary cross-entropy; return its curves: step, metric, value.

    The checkpoint with the best NDCG@10 of reranked dev candidates is kept.
    """
    train = candidates.loc[candidates["split"] == "train", ["query_id", "page_id", "label"]]
    rows = train.rename(columns={"page_id": "image_id"}).astype({"label": "float32"})
    dataset = with_content(rows, corpus)
    evaluator = dev_reranking(corpus, candidates, knobs, compute.encode_batch, seed)
    arguments = CrossEncoderTrainingArguments(
        prompts=knobs.instruction,
        metric_for_best_model=DEV_RERANKED,
        **_arguments(knobs, compute, hardware, seed, checkpoints, len(dataset)),
    )
    _prepare(model, knobs)
    trainer = CrossEncoderTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        loss=BinaryCrossEntropyLoss(model),
        evaluator=evaluator,
        callbacks=[_Watch()],
    )
    return _fit(trainer, checkpoints)


def dev_reranking(
    corpus: Corpus, candidates: pd.DataFrame, knobs: Reranker, batch: int, seed: int
) -> CrossEncoderRerankingEvaluator:
    """NDCG@10 of `dev_queries` dev queries whose page is among those reranked."""
    positives = corpus.positives("dev")
    texts = corpus.queries.set_index("query_id")["text"]
    middle = knobs.depths[len(knobs.depths) // 2]
    dev = candidates[(candidates["split"] == "dev") & (candidates["rank"] <= middle)]
    pages = dev.sort_values(["query_id", "rank"]).groupby("query_id")["page_id"].agg(list)
    samples: list[dict[str, Any]] = []
    for query_id in np.random.default_rng(seed).permutation(pages.index.to_numpy(str)):
        right = [page for page in pages[query_id] if page in positives[query_id]]
        wrong = [page for page in pages[query_id] if page not in positives[query_id]]
        if right and wrong and len(samples) < knobs.dev_queries:
            samples.append(
                {
                    "query": texts[query_id],
                    "positive": [corpus.image(corpus.page_row[page]) for page in right],
                    "negative": [corpus.image(corpus.page_row[page]) for page in wrong],
                }
            )
    if not samples:
        raise InputError(
            "no dev query has both right and wrong candidates, so no checkpoint can be chosen: "
            "raise prepare.dev_share or reranker.depths"
        )
    return CrossEncoderRerankingEvaluator(
        samples, at_k=10, name="dev", batch_size=batch, write_csv=False, show_progress_bar=False
    )


def _arguments(
    knobs: Training,
    compute: Compute,
    hardware: Hardware,
    seed: int,
    checkpoints: Path,
    rows: int,
) -> dict[str, Any]:
    """Training arguments that embedder and reranker share."""
    steps = max(1, round(knobs.epochs * max(1, rows // knobs.batch)))
    every = max(1, steps // knobs.evaluations)
    cuda = hardware.device.startswith("cuda")
    log.info("%d rows, batch %d, %d steps, dev every %d", rows, knobs.batch, steps, every)
    return {
        "output_dir": str(checkpoints),
        "max_steps": steps,
        "per_device_train_batch_size": knobs.batch,
        "learning_rate": knobs.learning_rate,
        "warmup_steps": knobs.warmup,
        "learning_rate_mapping": dict(knobs.learning_rates),
        "bf16": hardware.autocast is not None,
        "use_cpu": not cuda,
        "optim": "adamw_torch_fused" if cuda else "adamw_torch",
        "activation_checkpointing": knobs.gradient_checkpointing,
        "dataloader_num_workers": compute.workers,
        "dataloader_drop_last": rows >= knobs.batch,
        "eval_strategy": "steps",
        "eval_steps": every,
        "save_strategy": "steps",
        "save_steps": every,
        "save_total_limit": 2,
        "load_best_model_at_end": True,
        "greater_is_better": True,
        "logging_steps": max(1, steps // 50),
        "report_to": "none",
        "seed": seed,
        "data_seed": seed,
        "disable_tqdm": True,
    }


def _prepare(model: SentenceTransformer | CrossEncoder, knobs: Training) -> None:
    """Add LoRA adapters or freeze towers, and say how much is trained."""
    # The card's examples would be training pages, read through a transform that the card does not
    # expect (KeyError); it makes none where some are there already.
    model.model_card_data.widget = [{"text": ""}]
    names = [name for name, _ in model.named_parameters()]
    for part in [*knobs.freeze, *knobs.learning_rates]:
        if not any(part in name for name in names):
            raise InputError(f"no parameter's name contains {part!r}; one is named {names[0]!r}")
    if knobs.lora_rank:
        from peft import LoraConfig

        rank = knobs.lora_rank
        model.add_adapter(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear"))
    for name, parameter in model.named_parameters():
        if any(part in name for part in knobs.freeze):
            parameter.requires_grad_(False)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    log.info("training %.2fM of %.2fM parameters", trained / 1e6, total / 1e6)


class _Watch(TrainerCallback):  # type: ignore[misc]
    """Log progress, and score the last step too, whatever the interval: it can be the best one."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **keywords: Any,  # noqa: ANN401
    ) -> None:
        for key, name in (("loss", "loss"), (args.metric_for_best_model, "dev NDCG@10")):
            if key in logs:
                log.info(
                    "step %d of %d: %s %.4f", state.global_step, state.max_steps, name, logs[key]
                )

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **keywords: Any,  # noqa: ANN401
    ) -> TrainerControl:
        if state.global_step >= state.max_steps:
            control.should_evaluate = True
            control.should_save = True
        return control


def _fit(
    trainer: SentenceTransformerTrainer | CrossEncoderTrainer, checkpoints: Path
) -> pd.DataFrame:
    """Train from the newest whole checkpoint, or from the start after scoring the base."""
    disable_progress_bar()
    trainer.remove_callback(PrinterCallback)
    resume = newest_checkpoint(checkpoints)
    if resume:
        log.info("resuming from %s", resume.name)
    trainer.args.eval_on_start = resume is None
    with _quiet_card(trainer):
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    history = trainer.state.log_history
    metric = trainer.args.metric_for_best_model
    scores = [row[metric] for row in history if metric in row]
    best = trainer.state.best_metric
    log.info(
        "best dev NDCG@10 %.4f at step %s, base %.4f, gain %+.4f",
        best,
        trainer.state.best_global_step,
        scores[0],
        best - scores[0],
    )
    return curves(history, metric)


@contextlib.contextmanager
def _quiet_card(trainer: SentenceTransformerTrainer | CrossEncoderTrainer) -> Iterator[None]:
    """Checkpoints need no model card; making one reads training rows."""
    model = trainer.model
    original = model._create_model_card
    model._create_model_card = lambda *args, **keywords: None
    try:
        yield
    finally:
        model._create_model_card = original


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; one torn by a kill or a full disk is named and passed over.

    The trainer writes trainer_state.json last, so a checkpoint is whole when that file parses.
    """
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: -int(path.name.split("-")[1]))
    for path in found:
        try:
            json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            log.warning("%s is torn and is passed over", path)
            continue
        return path
    return None


def curves(history: list[dict[str, Any]], metric: str) -> pd.DataFrame:
    """Loss and dev NDCG@10 by step, without the times that the trainer logs beside them."""
    names = {"loss": "loss", metric: "dev_ndcg@10"}
    rows = [
        [entry["step"], name, round(float(entry[key]), 6)]
        for entry in history
        for key, name in names.items()
        if key in entry
    ]
    return pd.DataFrame(rows, columns=CURVE_COLUMNS)
