"""Where the files of a run lie, relative to its root."""

from pathlib import Path

CORPUS = Path("data/corpus")
SOURCE = Path("data/source")
WRITTEN = Path("data/written")
QUARANTINE = Path("data/quarantine.parquet")
BASE_VECTORS = Path("data/embeddings/base")
TUNED_VECTORS = Path("data/embeddings/tuned")
COMPARE_VECTORS = Path("data/compare")
NEGATIVES = Path("data/negatives.parquet")
FIRST_STAGE = Path("data/first_stage.json")
CANDIDATES = Path("data/candidates.parquet")
AUDIT = Path("data/audit")
RUNS = Path("data/runs")
PER_QUERY = Path("data/per_query")
EMBEDDER = Path("models/embedder")
RERANKER = Path("models/reranker")
RELEASE = Path("models/release")
METRICS = Path("metrics")
PLOTS = Path("metrics/plots")
REPORT = Path("metrics/report")
