"""Fine-tune a reranker on pairs of queries and candidate pages."""

import pandas as pd
from sentence_transformers import CrossEncoder, CrossEncoderTrainingArguments

from pagefinder.params import Reranker
from pagefinder.training.arguments import TrainingRun, training_arguments
from pagefinder.training.batches import with_content
from pagefinder.training.callbacks import Watch
from pagefinder.training.dev import RERANKING_METRIC, dev_reranking
from pagefinder.training.losses import reranker_loss
from pagefinder.training.trainers import CURVE_COLUMNS, RerankerTrainer, fit, set_up_parameters


def train_reranker(
    model: CrossEncoder, candidates: pd.DataFrame, knobs: Reranker, run: TrainingRun
) -> pd.DataFrame:
    """Fine-tune `model` in place and return its curves: step, metric, value.

    The model ends as the checkpoint with the best NDCG@10 of reranked dev candidates. Without
    epochs it stays as it is, and there are no curves. Columns of `candidates`: query_id, page_id,
    split, rank, and the label of train pairs.
    """
    if not knobs.epochs:
        return pd.DataFrame(columns=CURVE_COLUMNS)
    pairs = candidates.loc[candidates["split"] == "train", ["query_id", "page_id", "label"]]
    rows = pairs.rename(columns={"page_id": "image_id"}).astype({"label": "float32"})
    dataset = with_content(rows, run.corpus)
    evaluator = dev_reranking(run.corpus, candidates, knobs, run.compute.encode_batch, run.seed)
    arguments = training_arguments(
        CrossEncoderTrainingArguments,
        knobs,
        run,
        len(dataset),
        prompts=knobs.instruction,
        metric_for_best_model=RERANKING_METRIC,
    )
    set_up_parameters(model, knobs, run.seed)
    trainer = RerankerTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        loss=reranker_loss(model),
        evaluator=evaluator,
        callbacks=[Watch()],
    )
    return fit(trainer)
