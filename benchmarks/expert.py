"""The embedder's training as a script on plain Sentence Transformers, written for speed.

It is what `benchmarks.yardsticks` holds train_embedder against. Rows, dev questions and dev pages
are the same; so are batch, steps, dimensions, frozen weights, prompts, dev evaluations and
checkpoints. The loss is uncached, arithmetic bfloat16 over float32 weights where the processor
computes in it, a loader process prepares batches, and an evaluation encodes dev once. Batches are
drawn without looking for duplicates, which costs nothing.
"""

from pathlib import Path

import torch
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import (
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)

from benchmarks.training import training_rows, with_pixels
from pagefinder.data.corpus import Corpus
from pagefinder.layout import CORPUS
from pagefinder.params import Params
from pagefinder.training.arguments import schedule
from pagefinder.training.dev import RETRIEVAL_METRIC, dev_retrieval


def train(settings: Params, root: Path) -> None:
    """Train the base model of `root` on its corpus and negatives, and save it."""
    knobs, compute, corpus = settings.embedder, settings.compute, Corpus(root / CORPUS)
    torch.set_num_threads(compute.threads or torch.get_num_threads())
    prompts = {"query": settings.base.query_prompt, "document": settings.base.page_prompt}
    model = SentenceTransformer(
        str(root / settings.base.model),
        device=compute.device,
        prompts=prompts,
        model_kwargs={"attn_implementation": compute.attention},
    )
    for name, parameter in model.named_parameters():
        if any(part in name for part in knobs.freeze):
            parameter.requires_grad_(False)
    dataset = with_pixels(training_rows(settings, corpus, root), corpus)
    planned = schedule(knobs, len(dataset))
    column_prompts = {name: prompts["document"] for name in dataset.column_names}
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(root / "expert/checkpoints"),
        max_steps=planned.steps,
        per_device_train_batch_size=knobs.batch,
        learning_rate=knobs.learning_rate,
        warmup_steps=knobs.warmup,
        prompts=column_prompts | {"query": prompts["query"]},
        bf16=compute.precision != "fp32" and torch.cpu._is_avx512_bf16_supported(),
        use_cpu=compute.device == "cpu",
        dataloader_num_workers=compute.workers,
        dataloader_drop_last=True,
        eval_on_start=True,
        eval_strategy="steps",
        eval_steps=planned.evaluation_steps,
        save_strategy="steps",
        save_steps=planned.evaluation_steps,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=RETRIEVAL_METRIC,
        logging_steps=max(1, planned.steps // 50),
        report_to="none",
        disable_tqdm=True,
        seed=settings.seed,
    )
    loss = MultipleNegativesRankingLoss(model, scale=1 / settings.loss.temperature)
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        loss=MatryoshkaLoss(model, loss, matryoshka_dims=list(knobs.dims)),
        evaluator=dev_retrieval(corpus, knobs, compute.encode_batch, settings.seed),
    )
    trainer.train()
    model.save_pretrained(str(root / "expert/model"))
