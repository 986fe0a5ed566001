"""Model cards of the released models: the templates beside this module, filled from the metrics."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from pagefinder.data.corpus import SECTION
from pagefinder.params import PageContent, Params
from pagefinder.release.folders import CONFIG
from pagefinder.systems import (
    BASE,
    BM25,
    FIRST_STAGE,
    RECOMMENDABLE,
    RERANKING,
    TUNED,
    TUNED_AT,
    WITH_BM25,
)

CARD = "README.md"
# Without this file a processor opens where torchvision is not installed.
VIDEO = "video_preprocessor_config.json"
# Where pages and questions came from, by `data.source`.
SOURCES = {
    "generated": "pages that the pipeline draws (reports and slides of invented companies, in one "
    "bitmap font and in English) and questions from templates",
    "pdf": "somebody's PDF files, and questions that rules made from their headings, captions and "
    "sentences: people ask in other words",
    "table": "somebody's table of questions and pages",
    "hub": "a dataset of the Hub",
}
# What a page gives the model, and two pages in the code of the card, by `page_content`.
CONTENTS = {
    "image": ("image", '["page1.png", "page2.png"]'),
    "text": ("text", '["Text of one page ...", "Text of another ..."]'),
    "image_text": (
        "image and the text",
        '[{"image": "page1.png", "text": "Its text ..."}, {"image": "page2.png", "text": "..."}]',
    ),
}


def embedder_card(
    folder: Path,
    params: Params,
    revision: str,
    metrics: Mapping[str, Any],
    comparisons: pd.DataFrame,
    cutting: int,
) -> str:
    """The card of the embedder released in `folder`.

    Args:
        folder: The released model's folder.
        params: Those that the model was trained with.
        revision: The commit of the base on the Hub; empty for a local base, which the metadata then
            omit, as the Hub refuses a base that it does not have.
        metrics: Contents of the files in metrics/, by name: corpus, embedder, dimensions, fusion,
            answers; and under `evaluated` what `evaluated` returns.
        comparisons: From `embedder.comparisons`.
        cutting: Number of the module that cuts the vectors, as `serve_unit_vectors` returned it.
    """
    dimension = metrics["dimensions"]["recommended"]["dimension"]
    gains = {
        before: _gain(comparisons, before, f"{TUNED_AT}{dimension}") for before in (BASE, TUNED)
    }
    answers = metrics["answers"]
    system = f"{TUNED_AT}{dimension}" if f"{TUNED_AT}{dimension}" in answers else TUNED
    rules = {end: answers.get(system + end) for end in ("", WITH_BM25)}
    dims = [int(name) for name in metrics["dimensions"]["dims"]]  # the largest first
    content = {
        "dimension": dimension,
        "width": dims[0],
        "example_dimension": next((d for d in dims[1:] if d != dimension), dimension),
        "cutting": cutting,
        "gains": gains,
        "bm25": metrics["embedder"].get("text", {}).get(BM25, {}).get("ndcg@10"),
        "with_bm25": metrics["fusion"].get(f"{TUNED_AT}{dimension}{WITH_BM25}", {}),
        "rule": rules[""],
        "fused_rule": rules[WITH_BM25],
        "tolerance": params.evaluate.tolerance,
        "mined": params.embedder.mined_negatives != 0,
    }
    content |= _recommended_precision(metrics["dimensions"])
    content["prompts"] = {"query": params.base.query_prompt, "page": params.base.page_prompt}
    content |= {"base": params.base.model, "revision": revision}
    return _render("embedder", folder, params, params.base.page_content, metrics, **content)


def _recommended_precision(dimensions: Mapping[str, Any]) -> dict[str, Any]:
    """What the card says of the precision that dev recommends for an index.

    `precision_loss` is None where dev has too few documents to show what one costs.
    """
    name = RECOMMENDABLE[dimensions["recommended"]["bits"]]
    loss = dimensions["dev_precision"][name]
    return {
        "precision_name": name,
        "precision": name.replace("_", ", "),
        "precision_loss": loss if "high" in loss else None,
    }


def evaluated(units: Iterable[str]) -> dict[str, str]:
    """What eval asks about, and what intervals are over, as text.

    Args:
        units: What is resampled for each eval query: its document, or "DOCUMENT § SECTION".
    """
    names = set(units)
    documents = {name.split(SECTION)[0] for name in names}
    if not any(SECTION in name for name in names):
        return {"units": f"{len(documents):,} documents", "resampled": "documents"}
    return {
        "units": f"{len(names):,} sections of {len(documents):,} documents",
        "resampled": "these sections: they say how sure a figure is for these documents, not for "
        "others",
    }


def reranker_card(folder: Path, params: Params, revision: str, metrics: Mapping[str, Any]) -> str:
    """The card of the reranker released in `folder`; see `embedder_card`."""
    depths = metrics["reranker"]["depth"]
    systems = set().union(*depths.values())
    numbers = {
        "width": max(map(int, metrics["dimensions"]["dims"])),
        "dimension": metrics["dimensions"]["recommended"]["dimension"],
        "depth": params.reranker.compared_depth,
        "at": depths[str(params.reranker.compared_depth)],
        "systems": {key: label for key, label in RERANKING.items() if key in systems},
        "fused_first_stage": FIRST_STAGE in systems,
        "instruction": params.reranker.instruction,
    }
    numbers |= {"base": params.reranker.model, "revision": revision}
    return _render("reranker", folder, params, params.reranker.page_content, metrics, **numbers)


def _gain(comparisons: pd.DataFrame, before: str, after: str) -> dict[str, float]:
    """difference, low and high of the system `after` over `before` in NDCG@10.

    The interval is missing where documents are too few.
    """
    rows = comparisons.query("before == @before and after == @after and metric == 'ndcg@10'")
    row = rows[["difference", "low", "high"]].iloc[0].dropna()
    return {str(name): float(value) for name, value in row.items()}


def _render(
    model: str,
    folder: Path,
    params: Params,
    page_content: PageContent,
    metrics: Mapping[str, Any],
    **numbers: Any,  # noqa: ANN401  # whatever the template shows
) -> str:
    """The template of the `embedder` or the `reranker`, filled."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    documents = metrics["corpus"].get("documents", {})
    environment.filters |= {"score": "{:.4f}".format, "gain": _gain_text, "count": "{:,}".format}
    return environment.get_template(f"{model}_card.md").render(
        release=params.release,
        source=SOURCES.get(params.data.source, params.data.source),
        drawn=params.data.source == "generated",
        dataset=params.data.hub.path if params.data.source == "hub" else "",
        page_content=page_content,
        content=CONTENTS[page_content][0],
        pages=CONTENTS[page_content][1],
        max_pixels=params.pixels.max,
        torchvision=(folder / VIDEO).is_file(),
        logits="Identity" in str(_config(folder).get("activation_fn")),
        queries=metrics["corpus"]["queries"],
        cut_documents=documents.get("cut", 0),
        shared_documents=documents.get("asked_in_several_splits", 0),
        # Without document ids nothing is known of them.
        asked_documents=sum(documents.get(split, 0) for split in metrics["corpus"]["queries"]),
        **metrics,
        **numbers,
    )


def _config(folder: Path) -> dict[str, Any]:
    """What Sentence Transformers saved beside the modules of a model; {} where it saved nothing."""
    path = folder / CONFIG
    content: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return content


def _gain_text(gain: Mapping[str, float]) -> str:
    """A gain in NDCG@10 with its interval, as text."""
    value = gain.get("difference", gain.get("ndcg@10", 0.0))
    if "low" not in gain:
        return f"{value:+.4f} (too few documents for an interval)"
    return f"{value:+.4f} (95% interval {gain['low']:+.4f} to {gain['high']:+.4f})"
