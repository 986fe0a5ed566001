"""The cross-encoder that says which mined pages answer a question after all."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from pagefinder.data.corpus import Corpus
from pagefinder.params import Compute, Pixels
from pagefinder.params import Veto as VetoParams

# Gives the probability that each pair (columns query, page) is an answer, float64 [pairs].
Veto = Callable[[pd.DataFrame], np.ndarray]


def open_veto(
    params: VetoParams, corpus: Corpus, pixels: Pixels, compute: Compute, root: Path
) -> Veto | None:
    """Open the model that `mine.veto` names; None where it names none.

    Raises:
        InputError: no such model.
    """
    if not params.model:
        return None
    # These import Sentence Transformers, which takes seconds that mining without a veto can save.
    from torch.nn import Sigmoid

    from pagefinder.models.device import choose_device
    from pagefinder.models.opening import open_reranker
    from pagefinder.models.visual_tokens import check_budget, on_own_grid

    device_settings = choose_device(compute, scoring=True)
    model = open_reranker(params, pixels, device_settings, root, section="mine.veto")
    corpus = dataclasses.replace(corpus, page_content=params.page_content)
    corpus.check_text("mine.veto")
    check_budget(model, corpus.page_inputs([0])[0], on_own_grid(model, pixels))
    texts = corpus.queries["text"].to_numpy()
    batch = compute.encode_batch

    def probabilities(pairs: pd.DataFrame) -> np.ndarray:
        parts = []
        for start in tqdm(range(0, len(pairs), batch), desc="veto", unit="batch", disable=None):
            rows = pairs[start : start + batch]
            pages = corpus.page_inputs(rows["page"].to_numpy())
            inputs = list(zip(texts[rows["query"].to_numpy()], pages, strict=True))
            with device_settings.precision():
                scores = model.predict(
                    inputs,
                    batch_size=batch,
                    activation_fn=Sigmoid(),  # a model may be saved with another one, or none
                    show_progress_bar=False,
                )
            parts.append(scores)
        return np.concatenate(parts).astype(np.float64)

    return probabilities
