"""Golden cases beside each released model, by which another server's answers can be checked."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pagefinder.errors import InputError
from pagefinder.params import Params
from pagefinder.runtime import imports

if TYPE_CHECKING:
    from pagefinder.parity.running import Model

log = logging.getLogger(__name__)


def write_cases(model: Path, params: Params, root: Path) -> None:
    """Write the golden cases of a released model: the folder `golden` beside its files.

    Args:
        model: Folder of the embedder or the reranker, as released.
        params: Those of the run: which base it was tuned from, and what it runs on.
        root: The folder that local models' paths are relative to.
    """
    # Imported only here: it takes seconds, and export's other work needs no model.
    with imports.fast():
        from pagefinder.models.device import choose_device
        from pagefinder.models.opening import open_embedder, open_reranker
        from pagefinder.parity.making import make_golden

    device_settings = choose_device(params.compute, scoring=True)

    def open_base() -> "Model":
        if model.name == "reranker":
            return open_reranker(params.reranker, params.pixels, device_settings, root)
        return open_embedder(params.base, params.pixels, device_settings, root)

    make_golden(model, params.pixels, lambda: _if_there(open_base), device_settings.device)


def _if_there(open_base: "Callable[[], Model]") -> "Model | None":
    """The model that a function opens; None, with a warning, where it is not at hand."""
    try:
        return open_base()
    except InputError as error:
        log.warning("golden cases without those of the base: %s", error)
        return None
