"""Our BM25 beside LanceDB's full text search: NDCG@10 of each, and of each fused with the embedder.

    python -m benchmarks.words --root .

Both search the texts of the eval pages of the run in --root, and are fused as its release says: the
engine's list as the search takes it beyond tidying.EXACT_PAGES, filled up with pages of score 0.
"""

import argparse
import json
import tempfile
from pathlib import Path

import lancedb
import pyarrow as pa

from pagefinder.data.corpus import Corpus
from pagefinder.indexing.tidying import words_config
from pagefinder.layout import CORPUS, METRICS, RELEASE, TUNED_VECTORS
from pagefinder.release.fusion import FUSION, Fusion
from pagefinder.retrieval.bm25 import bm25_run
from pagefinder.retrieval.fusion import fuse, run_of
from pagefinder.retrieval.metrics import mean_metrics
from pagefinder.retrieval.runs import DEPTH, Run
from pagefinder.retrieval.tasks import Task, task_of
from pagefinder.retrieval.vector_search import search
from pagefinder.retrieval.vectors import open_vectors
from pagefinder.serving.fusion import with_zeros


def engine_run(task: Task, embedder: Run, folder: Path) -> Run:
    """The run of LanceDB's full text search, filled up as `with_zeros` does."""
    from lancedb.query import MatchQuery

    rows = pa.table({"row": pa.array(range(len(task.page_rows))), "text": list(task.page_texts())})
    table = lancedb.connect(folder).create_table("pages", rows)
    table.create_index("text", config=words_config())
    names = task.page_ids[task.page_rows]
    place = {name: row for row, name in enumerate(names)}
    scores = {}
    for query_id, text in zip(task.query_ids, task.query_texts, strict=True):
        asked = table.search(MatchQuery(text, "text"), query_type="fts").limit(DEPTH)
        found = asked.select(["row", "_score"]).to_arrow()
        words = dict(zip(found["row"].to_pylist(), found["_score"].to_pylist(), strict=True))
        cosines = {place[page]: score for page, score in embedder.as_dict()[query_id].items()}
        filled = with_zeros(words, cosines)
        scores[query_id] = {names[row]: score for row, score in filled.items()}
    return run_of(scores)


def main() -> None:
    """Print one JSON line: NDCG@10 by what searched."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path())
    root = parser.parse_args().root
    corpus = Corpus(root / CORPUS)
    task = task_of(corpus, "eval")
    recommended = json.loads((root / METRICS / "dimensions.json").read_text())["recommended"]
    vectors = open_vectors(root / TUNED_VECTORS, corpus)
    embedder = search(task, vectors, DEPTH, dimension=int(recommended["dimension"]))
    weight = Fusion.read(root / RELEASE / FUSION).bm25
    ours = bm25_run(task)
    with tempfile.TemporaryDirectory() as folder:
        engine = engine_run(task, embedder, Path(folder))
    weights = [1 - weight, weight]
    runs = {
        "BM25, ours": ours,
        "BM25, LanceDB": engine,
        "embedder": embedder,
        "embedder + ours": fuse([embedder, ours], weights),
        "embedder + LanceDB": fuse([embedder, engine], weights),
    }
    figures: dict[str, float] = {}
    for name, run in runs.items():
        figures[name] = round(mean_metrics(run, task.qrels)["ndcg@10"], 4)
    print(json.dumps({"queries": len(task.query_ids), "bm25_weight": weight} | figures))


if __name__ == "__main__":
    main()
