"""Hard negatives and the reranker's candidates: rules, choice, audit."""
