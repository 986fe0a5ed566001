"""Save a model as a folder that plain Sentence Transformers opens."""

import inspect
import json
from pathlib import Path
from typing import Any

from sentence_transformers import CrossEncoder, SentenceTransformer


def save_model(model: SentenceTransformer | CrossEncoder, folder: Path) -> None:
    """Write a folder that plain Sentence Transformers opens: adapters merged, no model card."""
    transformer = model[0]
    backbone = getattr(transformer, "model", None)  # static embeddings have none, nor a processor
    if getattr(backbone, "peft_config", None):
        _merge_adapters(backbone)
    if getattr(transformer.tokenizer, "is_fast", False):
        # The last call's padding would be saved: another file after an interruption.
        transformer.tokenizer.backend_tokenizer.no_padding()
        transformer.tokenizer.backend_tokenizer.no_truncation()
    model.save_pretrained(str(folder), create_model_card=False)
    _write_video_settings(getattr(transformer, "processor", None), folder)


def _merge_adapters(network: Any) -> None:  # noqa: ANN401  # a PreTrainedModel with adapters
    """Merge the LoRA weights into the layers and remove the adapters.

    Saved as an adapter, the model would name its base by an absolute path and not open elsewhere.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in list(network.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            parent, _, leaf = name.rpartition(".")
            setattr(network.get_submodule(parent), leaf, layer.get_base_layer())
    # So that transformers saves a plain model.
    del network.peft_config
    network._hf_peft_config_loaded = False


def _write_video_settings(processor: Any, folder: Path) -> None:  # noqa: ANN401
    """Write the video settings that the processor needs where torchvision is installed.

    Without torchvision it does not save them itself. The model never sees a video, so the image
    settings are copied.
    """
    parameters = inspect.signature(type(processor).__init__).parameters
    if "video_processor" not in parameters or hasattr(processor, "video_processor"):
        return  # takes no videos, or has saved its own settings
    image = processor.image_processor.to_dict()
    keys = ("patch_size", "merge_size", "temporal_patch_size", "size", "image_mean", "image_std")
    name = type(processor).__name__.removesuffix("Processor") + "VideoProcessor"
    settings = {"video_processor_type": name} | {key: image[key] for key in keys if key in image}
    text = json.dumps(settings, indent=2) + "\n"
    (folder / "video_preprocessor_config.json").write_text(text, encoding="utf-8")
