"""Open Qwen-VL-like models where torchvision is not installed.

Their processors hold a video processor, and transformers refuses to build one without torchvision,
although nothing here shows a video. torchvision has no build for every torch (a CPU-only one least
of all), so where it is missing the video processor is left out of the processor's attributes;
where it is present nothing is touched.

The patch waits until another module imports `transformers.processing_utils`, so that
`import pagefinder` costs milliseconds and stages that need no model never import torch.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Sequence
from types import ModuleType

TARGET = "transformers.processing_utils"


def install() -> None:
    """Leave video processors out of all processors of transformers where torchvision is missing.

    This happens at once, or as soon as transformers is imported.
    """
    if importlib.util.find_spec("torchvision") is not None:
        return
    if TARGET in sys.modules:
        _patch(sys.modules[TARGET])
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _patch(module: ModuleType) -> None:
    """Drop "video_processor" from the attributes of processors; `module` is TARGET."""
    mixin = module.ProcessorMixin
    original: Callable[[type], list[str]] = mixin.get_attributes.__func__

    def get_attributes(cls: type) -> list[str]:
        return [name for name in original(cls) if name != "video_processor"]

    mixin.get_attributes = classmethod(get_attributes)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds TARGET as the ordinary path finder does, and patches the module after it has run."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != TARGET:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                run(module)
                _patch(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
