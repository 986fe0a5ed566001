"""Preprocess batches, in loader processes while the device computes earlier ones.

Decoding and preprocessing a page of 360,000 pixels takes a core tens of milliseconds, a GPU a few:
in one process it would wait most of the time.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch.utils.data import DataLoader

from pagefinder.errors import InputError
from pagefinder.models.device import DeviceSettings
from pagefinder.models.vision_outputs import PATCHES

Batch = TypeVar("Batch")


def prepared(
    batches: Sequence[Batch],
    prepare: Callable[[Batch], dict[str, Any]],
    device_settings: DeviceSettings,
) -> Iterator[dict[str, Any]]:
    """Yield `prepare(batch)` of each batch in their order, its tensors on the device.

    Loader processes round the patches of pages as autocast does in a tower's first product. The
    results are the same bits, and half as many bytes go through pipes and to the card.

    Args:
        batches: Arguments of `prepare`; each loader process holds one prepared batch at most.
        prepare: Makes a model's inputs; runs in a fork, and must not touch the device.
        device_settings: The device, and how many processes prepare ahead. Without any, a batch is
            prepared in this process when it is needed.

    Raises:
        InputError: as `prepare` raised it.
    """

    def features_or_error(batch: Any) -> dict[str, Any] | InputError:  # noqa: ANN401
        try:
            features = prepare(batch)
        except InputError as error:  # raised in its process, it would end in a long traceback
            return error
        if ahead and device_settings.autocast and PATCHES in features:
            features[PATCHES] = features[PATCHES].to(device_settings.autocast)
        return features

    ahead = device_settings.loader_processes > 0
    loader: DataLoader[Any] = DataLoader(
        batches,  # type: ignore[arg-type]  # a sequence is all that is needed
        batch_size=None,
        collate_fn=features_or_error,
        num_workers=device_settings.loader_processes,
        prefetch_factor=1 if ahead else None,
        pin_memory=device_settings.device.startswith("cuda"),
        multiprocessing_context="fork" if ahead else None,
    )
    for features in loader:
        if isinstance(features, InputError):
            raise features
        yield {
            key: value.to(device_settings.device, non_blocking=True)
            if isinstance(value, torch.Tensor)
            else value
            for key, value in features.items()
        }
