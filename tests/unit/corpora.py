"""Small corpora for tests, written as `prepare` writes them."""

from collections.abc import Sequence
from pathlib import Path

from pagefinder.data import corpus
from pagefinder.data.corpus import Corpus


def write_corpus(
    folder: Path,
    pages: Sequence[dict],
    queries: Sequence[dict],
    qrels: Sequence[tuple[str, str, int]],
    near_duplicates: Sequence[tuple[str, str]] = (),
) -> Corpus:
    """Write the tables; of a page only `page_id` and `split` are needed, of a query only its id."""
    filled = [{"text": "?", "split": "train", "origin": "test"} | query for query in queries]
    return corpus.write_corpus(folder, pages, filled, qrels, near_duplicates)
