"""Batches of query-page pairs that a reranker trains on, and their loss."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder.data_collator import CrossEncoderDataCollator
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

from pagefinder.models.device import DeviceSettings
from pagefinder.models.scoring import text_and_page_row
from pagefinder.models.vision_outputs import VisionOutputs


class PairCollator(CrossEncoderDataCollator):  # type: ignore[misc]
    """Makes a batch of query-page pairs: `features`, preprocessed, and `label` [pairs].

    The rows have query_id, page_id and label. `preprocess_fn` is a PairPreprocessor.
    """

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """The batch of some rows; Sentence Transformers calls these features."""
        rows = pd.DataFrame(features)
        pairs = text_and_page_row(self.preprocess_fn.corpus, rows)
        label = torch.tensor(rows["label"].to_numpy(np.float32))
        return {"features": self.preprocess_fn((pairs, frozenset())), "label": label}


class PairLoss(BinaryCrossEntropyLoss):  # type: ignore[misc]
    """Binary cross-entropy of each pair's score against its label.

    The pairs come preprocessed, by `PairCollator`. The loss of Sentence Transformers preprocesses
    them itself, while the device waits.
    """

    def __init__(
        self, model: CrossEncoder, outputs: VisionOutputs, device_settings: DeviceSettings
    ) -> None:
        """`outputs` gives what the vision tower makes of the pages."""
        super().__init__(model)
        self.outputs, self.device_settings = outputs, device_settings

    def forward(
        self, inputs: list[dict[str, Any]], labels: torch.Tensor, **_: str | None
    ) -> torch.Tensor:
        """The mean loss of a batch: the only element of `inputs`, and labels of 0 or 1."""
        (features,) = inputs
        with self.device_settings.precision():
            features = self.outputs.insert(features)
        scores = self.model(features)["scores"].view(-1)
        loss: torch.Tensor = self.bce_with_logits_loss(scores, labels.view(-1).float())
        return loss
