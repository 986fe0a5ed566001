"""Model cards of the released models, written from the metrics."""

from typing import Any


def embedder_card(
    base: str, revision: str, embedder: dict[str, Any], dimensions: dict[str, Any]
) -> str:
    """The embedder's model card: what it is, how to use it, what it scored.

    Args:
        base: Model that the training started from.
        revision: Its revision on the Hub; "" for a model that is not there.
        embedder: Content of metrics/embedder.json.
        dimensions: Content of metrics/dimensions.json.
    """
    recommended = dimensions["recommended"]
    rows = "\n".join(
        f"| {name} | {scores['base']['ndcg@10']:.4f} | {scores['tuned']['ndcg@10']:.4f} |"
        for name, scores in dimensions["dims"].items()
    )
    return f"""{_header("sentence-similarity", base, revision)}# Page embedder

Puts a question and the image of a document page into one vector space. Fine-tuned from `{base}`
with an in-batch contrastive loss and mined hard negatives inside a Matryoshka loss.

```python
import pagefinder  # only where torchvision is not installed
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder")  # {recommended["dimension"]} dimensions
pages = model.encode_document(["page1.png", "page2.png"])
queries = model.encode_query(["How did revenue develop?"])
print(model.similarity(queries, pages))
```

NDCG@10 on the held-out pages: {embedder["tuned"]["ndcg@10"]:.4f}, before fine-tuning
{embedder["base"]["ndcg@10"]:.4f}. Vectors may be cut to any of these dimensions; the folder is set
to {recommended["dimension"]}, the smallest within the tolerance on the development split.

| dimensions | base | fine-tuned |
|---|---|---|
{rows}
"""


def reranker_card(base: str, revision: str, instruction: str, reranker: dict[str, Any]) -> str:
    """The reranker's model card: what it is, how to use it, what it scored.

    Args:
        base: Model that the training started from.
        revision: Its revision on the Hub; "" for a model that is not there.
        instruction: Text that the model reads before each pair.
        reranker: Content of metrics/reranker.json.
    """
    rows = "\n".join(
        f"| {depth} | {scores['embedder']['ndcg@10']:.4f} | {scores['tuned']['ndcg@10']:.4f} |"
        for depth, scores in reranker["depth"].items()
    )
    return f"""{_header("text-ranking", base, revision)}# Page reranker

Scores a question together with the image of a document page. Fine-tuned from `{base}` by binary
cross-entropy on the pages that its first stage confuses. Instruction: "{instruction}"

```python
import pagefinder  # only where torchvision is not installed
from sentence_transformers import CrossEncoder

model = CrossEncoder("path/to/this/folder")
print(model.rank("How did revenue develop?", ["page1.png", "page2.png"]))
```

NDCG@10 on the held-out pages:

| pages reranked | embedder alone | reranked |
|---|---|---|
{rows}
"""


def _header(task: str, base: str, revision: str) -> str:
    """The card's metadata. The Hub refuses a card whose `base_model` is none of its own."""
    origin = f"base_model: {base}\n" if revision else ""
    return f"""---
library_name: sentence-transformers
pipeline_tag: {task}
{origin}tags:
- sentence-transformers
- visual-document-retrieval
---
"""
