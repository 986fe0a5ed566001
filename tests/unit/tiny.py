"""A random-weight Qwen3-VL and a drawn corpus of 40 pages: everything a training stage needs."""

import os
import random
from pathlib import Path

import pandas as pd
import yaml
from corpora import write_corpus
from PIL import Image

from pagefinder import params_file
from pagefinder.data import pixels
from pagefinder.data.corpus import Corpus
from pagefinder.params import Params
from pagefinder.sources.generated import drawing

FILE = Path(__file__).parents[2] / "params.yaml"
WORDS = "revenue solar energy profit cost margin output users visits store plant bank".split()
SPLITS = ["train"] * 24 + ["dev"] * 8 + ["eval"] * 8


def tiny_content(**sections: dict) -> dict:
    """The committed params.yaml, made small; `sections` overrides knobs of the cpu profile."""
    content = params_file.read(FILE)
    cpu = content["profiles"]["cpu"]
    content["evaluate"]["bootstrap"] = 50
    content["checkpoints"] = "models/vlm"
    cpu["pixels"] |= {"min": 1024, "max": 96 * 64, "multiple": 32}
    # Exact comparisons need float32, whatever the default prefers.
    cpu["compute"] |= {"threads": 1, "encode_batch": 8, "precision": "fp32", "workers": 0}
    cpu["base"] |= {"model": "models/vlm", "revision": "", "pooling": "lasttoken"}
    cpu["embedder"] |= {"dims": [192, 48], "batch": 4, "epochs": 1}
    cpu["embedder"] |= {"evaluations": 2, "resume_checkpoints": 2}
    cpu["reranker"] |= {
        "model": "models/vlm",
        "batch": 8,
        "epochs": 1,
        "evaluations": 2,
        "resume_checkpoints": 2,
        "depths": [2, 3, 5],
        "compared_depth": 3,
        "dev_queries": 4,
        "fusion_queries": 4,
    }
    for name, knobs in sections.items():
        (content if name in content else cpu)[name] |= knobs
    return content


def tiny_params(**sections: dict) -> Params:
    """The same, checked."""
    return params_file.parse(tiny_content(**sections))


def write_root(root: Path, **sections: dict) -> Path:
    """A folder in which `python -m stages.train_embedder` and `encode_base` run."""
    write_vlm(root / "models/vlm")
    corpus = write_tiny_corpus(root / "data/corpus")
    negatives = mined_negatives()
    negatives.to_parquet(root / "data/negatives.parquet")
    assert set(negatives["page_id"]) <= set(corpus.pages["page_id"])
    (root / "params.yaml").write_text(yaml.safe_dump(tiny_content(**sections)))
    return root


def mined_negatives() -> pd.DataFrame:
    """The two pages after its own for every train query of the tiny corpus."""
    pairs = [(f"q{i:02}", f"p{(i + step) % 24:02}") for i in range(24) for step in (1, 2)]
    return pd.DataFrame(pairs, columns=["query_id", "page_id"])


def ranked_candidates() -> pd.DataFrame:
    """Five candidates for every query of the tiny corpus, of which the second is the right one."""
    rows = []
    for number, split in enumerate(SPLITS):
        first, count = SPLITS.index(split), SPLITS.count(split)
        for rank, step in enumerate((1, 0, 2, 3, 4), 1):
            page = first + (number - first + step) % count
            score, label = 1 - rank / 10, int(page == number)
            rows.append((f"q{number:02}", f"p{page:02}", split, rank, score, label))
    table = pd.DataFrame(rows, columns=["query_id", "page_id", "split", "rank", "score", "label"])
    return table.assign(embedder_rank=table["rank"])


def stage_environment() -> dict[str, str]:
    """Environment in which a subprocess finds the project from any folder."""
    folders = [str(FILE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(folders), "OMP_NUM_THREADS": "1"}


def write_vlm(folder: Path) -> None:
    """A fresh vision-language checkpoint of nano's architecture with random weights."""
    from nano import architecture
    from nano.tokenizer import train_tokenizer

    rng = random.Random(0)
    texts = [" ".join(rng.choices([*WORDS, "yes", "no"], k=8)) for _ in range(100)]
    tokenizer = train_tokenizer([*texts, "yes no yes no"], 500)
    model = architecture.build_model(architecture.build_config(tokenizer))
    architecture.write_checkpoint(folder, model, architecture.build_processor(tokenizer))


def write_tiny_corpus(folder: Path) -> Corpus:
    """40 pages of 96x64 pixels with one query each."""
    pages, queries, qrels = [], [], []
    for number, split in enumerate(SPLITS):
        text = " ".join(random.Random(number).choices(WORDS, k=2)) + f" {number}"
        canvas = drawing.new_canvas(columns=12, rows=4)
        drawing.paragraph(canvas, 0, text)
        page = f"p{number:02}"
        pages.append(
            {
                "page_id": page,
                "document_id": f"d{number // 4}",
                "page_number": number % 4 + 1,
                "split": split,
                "kind": "note",
                "image": {"bytes": pixels.encode_png(canvas.image), "path": None},
                "width": canvas.image.width,
                "height": canvas.image.height,
                "text": canvas.text,
            }
        )
        queries.append({"query_id": f"q{number:02}", "text": f"Where is {text}?", "split": split})
        qrels.append((f"q{number:02}", page, 1))
    return write_corpus(folder, pages, queries, qrels)


def blank(width: int = 96, height: int = 64) -> Image.Image:
    """A white page."""
    return Image.new("RGB", (width, height), "white")


def write_text_model(folder: Path) -> None:
    """A small BERT of random weights, saved as an embedder of texts: mean pooling, unit length."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, *WORDS, "where", "is", "?", *map(str, range(50))]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=64, **dict(zip(names, special, strict=True))
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    backbone = folder.parent / f"{folder.name}-backbone"
    BertModel(config).save_pretrained(backbone)
    fast.save_pretrained(backbone)
    transformer = Transformer(str(backbone))
    modules = [transformer, Pooling(32, pooling_mode="mean"), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder))


def write_static_model(folder: Path) -> None:
    """A bag of random word vectors, saved as an embedder of texts."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {word: number for number, word in enumerate([*WORDS, "[UNK]"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    modules = [StaticEmbedding(tokenizer, embedding_dim=32), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder))


def text_content(**sections: dict) -> dict:
    """`tiny_content` for the text model in models/vlm, without a reranker."""
    base = {"page_content": "text", "pooling": ""}
    reranker = {"model": "", "page_content": "text"}
    content = tiny_content(embedder={"dims": [32, 16], "freeze": []}, reranker=reranker)
    content["profiles"]["cpu"]["base"] |= base
    for name, knobs in sections.items():
        (content if name in content else content["profiles"]["cpu"])[name] |= knobs
    return content
