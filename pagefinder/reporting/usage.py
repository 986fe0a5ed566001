"""The lines that show how the released models are used: the report and the README print them."""

USAGE = """\
from pathlib import Path
from pagefinder.data.corpus import Corpus
from sentence_transformers import CrossEncoder, SentenceTransformer

question, pages = "How did revenue develop?", Corpus(Path("data/corpus")).images([0, 1])
embedder = SentenceTransformer("models/release/embedder")
print(embedder.similarity(embedder.encode_query(question), embedder.encode_document(pages)))
print(CrossEncoder("models/release/reranker").rank(question, pages))
"""
