"""What `benchmarks.growth` runs on: a dataset of many small pages, and models that cost nothing."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
from tokenizers import Tokenizer, models, pre_tokenizers

from benchmarks import roots
from pagefinder import params_file
from pagefinder.data.pixels import encode_png

WIDTH = 192  # dimensions of a vector, as the default's
VOCABULARY = 5000
WORDS = 300  # of a page: 2,000 characters, as a page of a manual has
PAGES_PER_DOCUMENT = 100
CHUNK = 1000


def lay_out(folder: Path, pages: int, queries: int) -> None:
    """Write params, a dataset of `pages` pages and `queries` questions, and both base models."""
    write_dataset(folder / "set", pages, queries)
    write_embedder(folder / "models/growth/embedder")
    sys.path.append(str(roots.ROOT / "tests/unit"))
    importlib.import_module("tiny").write_text_model(folder / "models/growth/reranker")
    (folder / "data/compare").mkdir(parents=True)
    content = params_file.read(roots.ROOT / "params.yaml")
    content |= {"profile": "cpu", "compare": [], "checkpoints": "models/growth"}
    cpu = content["profiles"]["cpu"]
    cpu["data"]["source"] = "hub"
    cpu["data"]["hub"]["path"] = "set"
    cpu["compute"] |= {"threads": 1, "precision": "fp32", "workers": 0}
    cpu["base"] |= {"model": "models/growth/embedder", "page_content": "text"}
    cpu["embedder"] |= {"freeze": [], "epochs": 1}
    cpu["reranker"] |= {"model": "models/growth/reranker", "page_content": "text"}
    cpu["reranker"] |= {"head": "dense", "freeze": [], "vision_cache_gib": 0}
    roots.write_params(content, folder)


def write_dataset(folder: Path, pages: int, queries: int) -> None:
    """A dataset in BEIR's layout: each question holds ten words of the page that answers it."""
    random = np.random.default_rng(0)
    answers = set(random.choice(pages, queries, replace=False).tolist())
    asked: list[dict[str, object]] = []

    def page(row: int) -> dict[str, object]:
        words = (random.zipf(1.3, WORDS) + random.integers(0, 50, WORDS)) % VOCABULARY
        if row in answers:
            chosen = random.choice(words, 10)
            asked.append({"_id": f"q{row}", "text": " ".join(f"w{word}" for word in chosen)})
        small = random.integers(0, 256, (12, 8), dtype=np.uint8)
        image = Image.fromarray(small).resize((64, 96), Image.Resampling.NEAREST).convert("RGB")
        lines = (" ".join(f"w{word}" for word in part) for part in np.split(words, 15))
        return {
            "_id": f"p{row}",
            "image": {"bytes": encode_png(image), "path": None},
            "text": "\n".join(lines),
            "document_id": f"d{row // PAGES_PER_DOCUMENT}",
            "page_number": row % PAGES_PER_DOCUMENT + 1,
        }

    for name in ("corpus", "queries", "qrels"):
        (folder / name).mkdir(parents=True)
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    texts = [(name, pa.string()) for name in ("_id", "text", "document_id")]
    schema = pa.schema([*texts, ("image", image_type), ("page_number", pa.int32())])
    with pq.ParquetWriter(folder / "corpus/train.parquet", schema) as writer:
        for start in range(0, pages, CHUNK):
            rows = [page(row) for row in range(start, min(start + CHUNK, pages))]
            writer.write_table(pa.Table.from_pylist(rows, schema))
    pq.write_table(pa.Table.from_pylist(asked), folder / "queries/train.parquet")
    qrels = [
        {"query-id": each["_id"], "corpus-id": f"p{str(each['_id'])[1:]}", "score": 1}
        for each in asked
    ]
    pq.write_table(pa.Table.from_pylist(qrels), folder / "qrels/train.parquet")


def write_embedder(folder: Path) -> None:
    """A bag of random word vectors: it takes a fraction of a millisecond a page."""
    torch.manual_seed(0)
    words = [*(f"w{word}" for word in range(VOCABULARY)), "[UNK]"]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    modules = [StaticEmbedding(tokenizer, embedding_dim=WIDTH), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder))
