"""Fine-tune the embedder and the reranker with Sentence Transformers' own trainers."""
