"""The lines that show how the released models are used: the report and the README print them."""

from pagefinder.params import PageContent

EMBEDDING = """\
from pathlib import Path
from pagefinder.data.corpus import Corpus
from sentence_transformers import {classes}

question, pages = "How did revenue develop?", {pages}
embedder = SentenceTransformer("models/release/embedder")
print(embedder.similarity(embedder.encode_query(question), embedder.encode_document(pages)))
"""
RERANKING = """\
print(CrossEncoder("models/release/reranker").rank(question, pages))
"""


def usage(page_content: PageContent, reranker_content: PageContent | None) -> str:
    """The lines, by what pages give the embedder and the reranker; None: there is no reranker.

    Where the two differ, the lines leave the reranker out.
    """
    alike = page_content == reranker_content
    classes = "CrossEncoder, SentenceTransformer" if alike else "SentenceTransformer"
    pages = 'Corpus(Path("data/corpus")).images([0, 1])'
    if page_content != "image":
        pages = f'Corpus(Path("data/corpus"), "{page_content}").page_inputs([0, 1])'
    return EMBEDDING.format(classes=classes, pages=pages) + (RERANKING if alike else "")
