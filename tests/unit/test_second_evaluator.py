"""Our figures against sentence_transformers' InformationRetrievalEvaluator on the same vectors."""

import pytest
import torch
import vector_corpus
from sentence_transformers import util
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

from pagefinder.data.corpus import Corpus
from pagefinder.evaluation.baselines import baseline_runs
from pagefinder.models.packaged import PACKAGE
from pagefinder.retrieval.metrics import mean_metrics
from pagefinder.retrieval.tasks import task_of
from pagefinder.retrieval.vector_search import search
from pagefinder.retrieval.vectors import open_vectors


class Stored(InformationRetrievalEvaluator):
    """The evaluator, with stored query vectors where it would encode."""

    vectors: torch.Tensor

    def embed_inputs(self, *_, **__) -> torch.Tensor:
        return self.vectors


@pytest.mark.parametrize("dimension", [32, 8])
def test_equals_information_retrieval_evaluator(tmp_path, dimension: int) -> None:
    vector_corpus.write(tmp_path / "corpus")
    vector_corpus.encode(tmp_path / "corpus", tmp_path / "vectors", 1.6)
    corpus = Corpus(tmp_path / "corpus")
    vectors = open_vectors(tmp_path / "vectors", corpus)
    test = task_of(corpus, "eval")
    # The evaluator knows no grades of relevance.
    binary_qrels = {
        query: {page: int(relevance > 0) for page, relevance in judged.items()}
        for query, judged in test.qrels.items()
    }
    evaluator = Stored(
        queries=dict.fromkeys(test.query_ids, ""),
        corpus=dict.fromkeys(test.page_ids[test.page_rows], ""),
        relevant_docs={q: {p for p in pages if pages[p]} for q, pages in binary_qrels.items()},
        ndcg_at_k=[5, 10],
        mrr_at_k=[10],
        accuracy_at_k=[1],
        precision_recall_at_k=[1, 10],
        map_at_k=[10],
        score_functions={"cosine": util.cos_sim},
    )
    evaluator.vectors = torch.tensor(vectors.queries[test.query_rows, :dimension])
    pages = torch.tensor(vectors.pages[test.page_rows, :dimension])
    theirs = evaluator.compute_all_metrics(None, corpus_embeddings=pages)["cosine"]
    ours = mean_metrics(search(test, vectors, 100, dimension=dimension), binary_qrels)
    assert 0.2 < ours["ndcg@10"] < 0.95
    for name, value in ours.items():
        kind, k = name.split("@")
        assert value == pytest.approx(theirs[f"{kind}@k"][int(k)], abs=1e-4), name


def test_text_embedder_reads_the_pages(tmp_path) -> None:
    """The optional baseline with its real weights; skipped where `pagefinder[text]` is missing."""
    pytest.importorskip(PACKAGE)
    vector_corpus.write(tmp_path / "corpus")
    test = task_of(Corpus(tmp_path / "corpus"), "eval")
    runs = baseline_runs(test, bm25=True, minilm=True, seed=1, device="cpu")
    scores = {name: mean_metrics(run, test.qrels)["ndcg@10"] for name, run in runs.items()}
    assert scores["minilm"] > 0.7 > 0.3 > scores["random"]
