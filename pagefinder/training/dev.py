"""Score a model on dev while it trains: the evaluators that choose its best checkpoint."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.cross_encoder.evaluation import CrossEncoderRerankingEvaluator
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

from pagefinder.data.corpus import Corpus
from pagefinder.errors import InputError
from pagefinder.models import encoding
from pagefinder.models.device import DeviceSettings
from pagefinder.params import Embedder, Reranker

# Gives a reranker's logits of pairs (columns query_id, page_id), float32 [pairs].
Scorer = Callable[[CrossEncoder, pd.DataFrame], np.ndarray]

# The names under which the trainers report the evaluators' NDCG@10.
RETRIEVAL_METRIC, RERANKING_METRIC = "eval_dev_cosine_ndcg@10", "eval_dev_ndcg@10"


def dev_retrieval(
    corpus: Corpus, knobs: Embedder, batch: int, seed: int
) -> InformationRetrievalEvaluator:
    """An evaluator of NDCG@10: dev queries searched among dev pages.

    The seed samples both down to `dev_pages`. A page that answers a sampled query is always there.
    """
    positives = corpus.positives("dev")
    qrels: dict[str, dict[str, int]] = {}
    page_ids: dict[str, None] = {}
    random = np.random.default_rng(seed)
    for query_id in random.permutation(list(positives)):
        if len(page_ids) >= knobs.dev_pages:
            break
        qrels[str(query_id)] = positives[query_id]
        page_ids.update(dict.fromkeys(positives[query_id]))
    dev_pages = corpus.pages.loc[corpus.pages["split"] == "dev", "page_id"].to_numpy(str)
    # The table is in the order of documents: its first pages would be of few documents.
    for page_id in random.permutation(dev_pages) if len(dev_pages) > knobs.dev_pages else dev_pages:
        if len(page_ids) >= knobs.dev_pages:
            break
        page_ids[str(page_id)] = None
    rows = [corpus.page_row[page_id] for page_id in page_ids]
    return InformationRetrievalEvaluator(
        queries={query_id: corpus.query_text[query_id] for query_id in qrels},
        corpus=dict(zip(page_ids, corpus.page_inputs(rows), strict=True)),
        relevant_docs={query_id: set(relevant) for query_id, relevant in qrels.items()},
        ndcg_at_k=[10],
        mrr_at_k=[10],
        accuracy_at_k=[1],
        precision_recall_at_k=[10],
        map_at_k=[10],
        batch_size=batch,
        corpus_chunk_size=len(page_ids),
        name="dev",
        write_csv=False,
        main_score_function="cosine",
    )


def encode_ahead(
    evaluator: InformationRetrievalEvaluator, corpus: Corpus, device_settings: DeviceSettings
) -> None:
    """Let loader processes prepare the evaluator's pages, as they do when a corpus is encoded."""
    rows = np.array([corpus.page_row[page_id] for page_id in evaluator.corpus_ids])
    embed_in_one_process = evaluator.embed_inputs

    def embed_inputs(
        model: SentenceTransformer,
        sentences: list[Any],
        encode_fn_name: str | None = None,
        **keywords: Any,  # noqa: ANN401
    ) -> torch.Tensor:
        if encode_fn_name != "document":
            vectors: torch.Tensor = embed_in_one_process(
                model, sentences, encode_fn_name, **keywords
            )
            return vectors
        pages = encoding.encode_pages(model, corpus, rows, device_settings, evaluator.batch_size)
        return torch.from_numpy(pages).to(device_settings.device)

    evaluator.embed_inputs = embed_inputs


class DevReranking(CrossEncoderRerankingEvaluator):  # type: ignore[misc]
    """The evaluator of samples that hold ids: `score` gives the scores of pairs of them."""

    def __init__(self, samples: list[dict[str, Any]], score: Scorer) -> None:
        """`samples` hold query_id `query` and lists of page ids `positive` and `negative`."""
        super().__init__(samples, at_k=10, name="dev", write_csv=False, show_progress_bar=False)
        self.score = score

    def __call__(
        self,
        model: CrossEncoder,
        *arguments: Any,  # noqa: ANN401
        **keywords: Any,  # noqa: ANN401
    ) -> dict[str, float]:
        """The metrics of `model` on dev, by name."""

        def predict(pairs: list[list[str]], **_: object) -> np.ndarray:
            return self.score(model, pd.DataFrame(pairs, columns=["query_id", "page_id"]))

        scorer = SimpleNamespace(predict=predict, model_card_data=model.model_card_data)
        metrics: dict[str, float] = super().__call__(scorer, *arguments, **keywords)
        return metrics


def dev_reranking(
    corpus: Corpus, candidates: pd.DataFrame, knobs: Reranker, seed: int, score: Scorer
) -> DevReranking:
    """An evaluator of NDCG@10 for rerankers: dev queries with their first candidates.

    The seed chooses `dev_queries` queries that have positives and negatives among their first
    `compared_depth` candidates.

    Args:
        corpus: Pages, queries and qrels.
        candidates: query_id, page_id, split, rank.
        knobs: Params of the reranker.
        seed: Seed of the sample.
        score: Gives a reranker's logits of pairs.

    Raises:
        InputError: no dev query has both.
    """
    positives = corpus.positives("dev")
    dev = candidates[(candidates["split"] == "dev") & (candidates["rank"] <= knobs.compared_depth)]
    page_ids = dev.sort_values(["query_id", "rank"]).groupby("query_id")["page_id"].agg(list)
    samples: list[dict[str, Any]] = []
    for query_id in np.random.default_rng(seed).permutation(page_ids.index.to_numpy(str)):
        relevant = positives.get(query_id, {})
        positive = [page_id for page_id in page_ids[query_id] if page_id in relevant]
        negative = [page_id for page_id in page_ids[query_id] if page_id not in relevant]
        if positive and negative and len(samples) < knobs.dev_queries:
            samples.append({"query": str(query_id), "positive": positive, "negative": negative})
    if not samples:
        raise InputError(
            f"no dev query has both positives and negatives among its first "
            f"{knobs.compared_depth} candidates, so no checkpoint can be chosen: raise "
            "prepare.dev_share or reranker.compared_depth"
        )
    return DevReranking(samples, score)
