"""The rows of `benchmarks.gpu` that score: pages encoded, pairs reranked."""

import time
from collections.abc import Iterator
from typing import Any

import pandas as pd
import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.util import batch_to_device

from benchmarks.gpu_ground import Ground, Row, open_model
from benchmarks.gpu_model import forward_flops
from pagefinder.models.device import DeviceSettings, choose_device
from pagefinder.models.opening import open_reranker, set_budget
from pagefinder.models.visual_tokens import check_budget
from tools.measuring import measure_encoding, measure_scoring
from tools.synthetic import synthetic_corpus

# 20 pages for each of the reference's 300 queries, over its 1,500 pages.
QUERIES_A_PAGE = 4
# Of pairs, the first of which is not counted.
BATCHES = 9


def encode(ground: Ground) -> Iterator[Row]:
    """One row per pixel budget."""
    model, _ = open_model(ground, compile=False)
    device_settings = choose_device(ground.base.compute, scoring=True)
    first, batch = ground.size["pixels"][0], ground.base.compute.encode_batch
    for pixels in ground.size["pixels"]:
        # As many pixels in a batch, and in all, whatever the budget.
        pages = ground.size["pages"] * first // pixels
        at_once = min(batch * first // pixels, pages // 2)
        budget = ground.base.pixels.model_copy(update={"max": pixels})
        set_budget(model, budget)
        corpus = synthetic_corpus(ground.root / f"c{pixels}", budget, pages, 0)
        tokens = check_budget(model, corpus.image(0), budget)
        page = model.preprocess([corpus.image(0)], prompt=model.prompts["document"])
        flops = forward_flops(model[0].model.config, page)
        speed = measure_encoding(model, corpus, device_settings, at_once, pages)
        yield {
            "what": f"encode, {pixels:,} pixels",
            "pages/s": speed.per_second,
            "peak GiB": speed.peak_gib,
            "share": flops * speed.per_second / ground.peak,
            "loading": speed.loading,
            "note": f"{tokens} tokens a page, {at_once} at once, {device_settings.attention}",
        }


def rerank(ground: Ground) -> Iterator[Row]:
    """Pairs a second: each with a page of its own, then each page with QUERIES_A_PAGE queries.

    The plain forward passes over pairs of the second kind, preprocessed ahead, stand beside it.
    """
    base = ground.base
    device_settings = choose_device(base.compute, scoring=True)
    model = open_reranker(base.reranker, base.pixels, device_settings, ground.root)
    queries, pages = len(ground.corpus.queries), len(ground.corpus.pages)
    batch = min(base.compute.encode_batch, queries // 2)
    text, images = ground.corpus.queries["text"][0], ground.corpus.image
    prompt = base.reranker.instruction
    flops = forward_flops(
        model[0].model.config, model.preprocess([(text, images(0))], prompt=prompt)
    )
    plain = model.preprocess(
        [(text, images(n // QUERIES_A_PAGE)) for n in range(batch)], prompt=prompt
    )
    seconds = forward_seconds(model, plain, device_settings)
    yield {
        "what": "rerank, plain forward passes",
        "rows/s": batch / seconds,
        "share": flops * batch / seconds / ground.peak,
        "note": f"{batch} at once, {device_settings.attention}, preprocessed ahead",
    }
    for shared in (1, QUERIES_A_PAGE):
        numbers = range(BATCHES * batch)
        table = pd.DataFrame(
            {
                "query_id": [f"q{n % queries}" for n in numbers],
                "page_id": [f"p{n // shared % pages}" for n in numbers],
            }
        )
        speed = measure_scoring(model, ground.corpus, table, device_settings, batch)
        yield {
            "what": f"rerank, each page with {shared} {'query' if shared == 1 else 'queries'}",
            "rows/s": speed.per_second,
            "pages/s": speed.per_second / shared,
            "peak GiB": speed.peak_gib,
            "share": flops * speed.per_second / ground.peak,
            "loading": speed.loading,
            "note": f"{batch / speed.per_second / seconds:.2f} of the plain passes' time",
        }


def forward_seconds(
    model: CrossEncoder, features: dict[str, Any], device_settings: DeviceSettings
) -> float:
    """Seconds of a forward pass over preprocessed pairs, the best of three after a first one."""
    on_device = batch_to_device(features, device_settings.device)
    rounds = []
    with torch.inference_mode(), device_settings.precision():
        for _ in range(4):
            started = time.perf_counter()
            model(dict(on_device))["scores"].float().cpu()  # as scoring does: waits for the card
            rounds.append(time.perf_counter() - started)
    return min(rounds[1:])
