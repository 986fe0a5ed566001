"""The cross-encoder that mining may ask whether a page answers a question after all."""

from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from pagefinder.data.corpus import Corpus
from pagefinder.mining.negatives import Veto
from pagefinder.params import Params


def open_veto(params: Params, corpus: Corpus, root: Path) -> Veto | None:
    """Open the model that `mine.veto` names; None where it names none.

    Raises:
        InputError: no such model.
    """
    veto = params.mine.veto
    if not veto.model:
        return None
    # This imports Sentence Transformers, which takes seconds that mining without a veto can save.
    from pagefinder.models.device import choose_device
    from pagefinder.models.opening import open_reranker
    from pagefinder.models.visual_tokens import check_budget, on_own_grid

    device_settings = choose_device(params.compute, scoring=True)
    model = open_reranker(veto, params.pixels, device_settings, root, section="mine.veto")
    check_budget(model, corpus.image(0), on_own_grid(model, params.pixels))
    texts = corpus.queries["text"].to_numpy()
    batch = params.compute.encode_batch

    def answers(pairs: pd.DataFrame) -> np.ndarray:
        found = []
        for start in tqdm(range(0, len(pairs), batch), desc="veto", unit="batch", disable=None):
            some = pairs[start : start + batch]
            asked = list(
                zip(
                    texts[some["query"].to_numpy()],
                    corpus.images(some["page"].to_numpy()),
                    strict=True,
                )
            )
            with device_settings.precision():
                # predict() applies the sigmoid itself.
                found.append(model.predict(asked, batch_size=batch, show_progress_bar=False))
        return np.concatenate(found).astype(np.float64)

    return answers
