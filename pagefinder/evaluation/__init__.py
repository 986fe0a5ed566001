"""What the metrics say of embedder and reranker: how good, how surely, at what cost."""
