"""Fine-tune a reranker on pairs of queries and candidate pages."""

import functools

import numpy as np
import pandas as pd
from datasets import Dataset
from sentence_transformers import CrossEncoder, CrossEncoderTrainingArguments

from pagefinder.models.scoring import PairPreprocessor, keep_pages, score_pairs
from pagefinder.models.vision_outputs import VisionOutputs
from pagefinder.params import Reranker
from pagefinder.training.arguments import TrainingRun, training_arguments
from pagefinder.training.callbacks import Watch
from pagefinder.training.dev import RERANKING_METRIC, DevReranking, dev_reranking
from pagefinder.training.pairs import PairCollator, PairLoss
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
    return fit(reranker_trainer(model, candidates, knobs, run))


def reranker_trainer(
    model: CrossEncoder, candidates: pd.DataFrame, knobs: Reranker, run: TrainingRun
) -> RerankerTrainer:
    """A trainer of `model` on the train pairs of `candidates`, scored on the dev ones.

    The arguments are those of `train_reranker`.
    """
    rows = candidates.loc[candidates["split"] == "train", ["query_id", "page_id", "label"]]
    outputs = VisionOutputs(model)
    evaluator = dev_reranking(
        run.corpus, candidates, knobs, run.seed, functools.partial(_score, run, outputs)
    )
    arguments = training_arguments(
        CrossEncoderTrainingArguments, knobs, run, len(rows), metric_for_best_model=RERANKING_METRIC
    )
    set_up_parameters(model, knobs, run.seed)
    # Where vision is frozen, once for the whole training. An interrupted training does the same
    # again, in the same batches, and so goes on to the same bits.
    keep_pages(
        outputs,
        model,
        run.corpus,
        _repeated_pages(rows, evaluator, knobs),
        run.device_settings,
        run.compute.encode_batch,
        knobs.vision_cache_gib * 2**30,
    )
    preprocess = PairPreprocessor(model, run.corpus, frozenset(outputs.kept))
    return RerankerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_pandas(rows, preserve_index=False),
        data_collator=PairCollator(preprocess),
        loss=PairLoss(model, outputs, run.device_settings),
        evaluator=evaluator,
        callbacks=[Watch()],
    )


def _score(
    run: TrainingRun, outputs: VisionOutputs, model: CrossEncoder, pairs: pd.DataFrame
) -> np.ndarray:
    """Logits of pairs in the precision of training, float32 [pairs]."""
    return score_pairs(
        model, run.corpus, pairs, run.device_settings, run.compute.encode_batch, outputs
    )


def _repeated_pages(rows: pd.DataFrame, evaluator: DevReranking, knobs: Reranker) -> list[str]:
    """Page ids that a training looks at twice or more, the most often seen first.

    Args:
        rows: Training pairs, with page_id.
        evaluator: Scores dev before the first step and `evaluations` times.
        knobs: How often that is, and the epochs.
    """
    samples = evaluator.samples
    dev = {page_id for at in samples for page_id in [*at["positive"], *at["negative"]]}
    looks = rows["page_id"].value_counts() * knobs.epochs
    looks = looks.add(pd.Series(1.0 + knobs.evaluations, index=sorted(dev)), fill_value=0)
    looks = looks[looks >= 2].sort_index().sort_values(ascending=False, kind="stable")
    return list(looks.index)
