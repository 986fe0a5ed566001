"""Open embedders and rerankers: one place for device, precision, attention, prompts and pixels."""

import contextlib
import inspect
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from transformers import AutoConfig

from pagefinder.data.pixels import budget_size
from pagefinder.errors import InputError
from pagefinder.models import score_heads, vision
from pagefinder.params import Base, Compute, Pixels, Reranker, RerankerModel
from pagefinder.runtime import processes

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeviceSettings:
    """What `compute` came to on this machine."""

    device: str
    autocast: torch.dtype | None  # None: float32 throughout
    attention: str
    loader_processes: int = (
        0  # loader processes of encoding and scoring; none on a CPU, which is busy itself
    )

    @contextlib.contextmanager
    def precision(self) -> Iterator[None]:
        """Autocast over float32 weights, where it was asked for."""
        if self.autocast is None:
            yield
        else:
            with torch.autocast(self.device.partition(":")[0], dtype=self.autocast):
                yield


def choose_device(compute: Compute, *, scoring: bool = False) -> DeviceSettings:
    """Choose device, precision and attention, log the choice, and fix what makes results repeat.

    Args:
        compute: The params.
        scoring: Take the precision of encoding and reranking, not that of training.

    Raises:
        InputError: the machine lacks what `compute` names.
    """
    device: str = compute.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"compute.device is {device!r}, but torch sees no CUDA: set it to cpu")
    device = processes.local_device(device)
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)
    torch.use_deterministic_algorithms(device == "cpu")
    if device == "cpu":
        # Nothing here reads memory it has not written, and filling it costs a tenth of a step.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if compute.threads:
        torch.set_num_threads(compute.threads)
    fast_bf16 = _has_bf16(device)
    name = "scoring" if scoring else "precision"
    wanted = getattr(compute, name)
    if wanted == "bf16" and not fast_bf16:
        log.warning("compute.%s is bf16, which this machine only emulates: expect it slow", name)
    bf16 = wanted == "bf16" or (wanted == "auto" and fast_bf16)
    attention = _attention(compute.attention, device)
    log.info(
        "device %s, %s, attention %s, %d threads",
        device,
        "bf16 autocast over float32 weights" if bf16 else "float32",
        attention,
        torch.get_num_threads(),
    )
    loader_processes = compute.workers if device.startswith("cuda") else 0
    return DeviceSettings(device, torch.bfloat16 if bf16 else None, attention, loader_processes)


def _has_bf16(device: str) -> bool:
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


def _attention(wanted: str, device: str) -> str:
    from transformers.utils import is_flash_attn_2_available

    # Without this check transformers would fetch a kernel from the Hub, or fail on import.
    available = device.startswith("cuda") and is_flash_attn_2_available()
    if wanted == "flash_attention_2" and not available:
        raise InputError(
            "compute.attention is flash_attention_2, but flash-attn or CUDA is missing: "
            "run `make cuda`, or set it to sdpa or auto"
        )
    return ("flash_attention_2" if available else "sdpa") if wanted == "auto" else wanted


def open_embedder(
    base: Base,
    pixels: Pixels,
    device_settings: DeviceSettings,
    root: Path,
    saved: Path | None = None,
    section: str = "base",
) -> SentenceTransformer:
    """Open the base embedder, or a fine-tuned one `saved` by a stage, with the params' prompts.

    A model with `modules.json` opens as it was saved. A fresh vision-language checkpoint needs
    `base.pooling`: Sentence Transformers would silently choose the mean. A dual encoder like CLIP
    gives one vector as it is. `section` of params.yaml is what errors name.

    Raises:
        InputError: no such model, no pooling for a fresh checkpoint, or a model blind to images.
    """
    name = str(saved) if saved else _locate(base.model, base.revision, section, root)
    keywords = _keywords(name, pixels, device_settings, "" if saved else base.revision)
    prompts = {"query": base.query_prompt, "document": base.page_prompt}
    if saved or _has_modules(name, base.revision):
        model = SentenceTransformer(
            name, device=device_settings.device, prompts=prompts, **keywords
        )
    else:
        transformer = Transformer(name, **_transformer_keywords(keywords), **_modalities(base))
        modules = [transformer, *_pooling(transformer, base, section), Normalize()]
        model = SentenceTransformer(modules=modules, device=device_settings.device, prompts=prompts)
    _check_sight(model, base.model, section)
    _set_attention(model, device_settings)
    return model


def _pooling(transformer: Transformer, base: Base, section: str) -> list[torch.nn.Module]:
    """What makes one vector of a fresh checkpoint's output; nothing where it is one already."""
    if transformer.module_output_name == "sentence_embedding":
        return []
    if not base.pooling:
        raise InputError(
            f"{section}.model {base.model!r} is a fresh checkpoint (it has no modules.json): "
            f"set {section}.pooling to lasttoken or mean"
        )
    return [Pooling(transformer.get_embedding_dimension(), pooling_mode=base.pooling)]


def open_reranker(
    reranker: RerankerModel,
    pixels: Pixels,
    device_settings: DeviceSettings,
    root: Path,
    saved: Path | None = None,
    section: str = "reranker",
) -> CrossEncoder:
    """Open the base reranker, or a fine-tuned one `saved` by a stage.

    A fresh vision-language checkpoint gets the head that `reranker.head` names, `logit` where a
    section has no head: `logit` scores by the logit of "yes" minus that of "no"; `dense` reads the
    last token's hidden state through a linear layer that starts as the difference of the two token
    embeddings, so both start equal. An embedder's folder, models/embedder say, lends its backbone
    in the same way. A reranker's folder opens as it was saved, except that `dense` takes the place
    of a LogitScore. `section` of params.yaml is what errors name.

    Raises:
        InputError: no such model, one blind to images, or one that the head does not fit.
    """
    head = reranker.head if isinstance(reranker, Reranker) else "logit"
    name = str(saved) if saved else _locate(reranker.model, reranker.revision, section, root)
    keywords = _keywords(name, pixels, device_settings, "" if saved else reranker.revision)
    instruction: dict[str, Any] = {
        "prompts": {"rerank": reranker.instruction},
        "default_prompt_name": "rerank",
    }
    if saved or (_has_modules(name, reranker.revision) and not score_heads.is_embedder(name)):
        model = CrossEncoder(name, device=device_settings.device, **instruction, **keywords)
        if not saved and head == "dense" and not isinstance(model[-1], Dense):
            modules = score_heads.dense_instead(model, name, _transformer_keywords(keywords))
            model = CrossEncoder(modules=modules, device=device_settings.device, **instruction)
    else:
        modules = score_heads.fresh(name, head, _transformer_keywords(keywords), section)
        model = CrossEncoder(modules=modules, device=device_settings.device, **instruction)
    _check_sight(model, reranker.model, section)
    _set_attention(model, device_settings)
    return model


def _locate(model: str, revision: str, section: str, root: Path) -> str:
    """The local folder of a model, or its Hub id when it has a revision."""
    folder = root / model
    if folder.is_dir():
        return str(folder)
    if not revision:
        raise InputError(
            f"{section}.model is {model!r}: no such folder here, and a model of the Hub needs "
            f"{section}.revision"
        )
    return model


def _has_modules(name: str, revision: str) -> bool:
    if Path(name).is_dir():
        return (Path(name) / "modules.json").is_file()
    from huggingface_hub import file_exists

    try:
        return bool(file_exists(name, "modules.json", revision=revision))
    except Exception as error:  # the Hub's client raises many kinds, all meaning "not to be had"
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"model {name!r} at revision {revision!r} cannot be had: {reason}"
        ) from error


def _keywords(
    name: str, pixels: Pixels, device_settings: DeviceSettings, revision: str
) -> dict[str, Any]:
    """Arguments of SentenceTransformer and CrossEncoder alike.

    Weights are float32 masters whatever the precision: Adam loses small steps in bfloat16. The
    pixel budget goes in as `size`: min_pixels and max_pixels are saved and re-applied on every
    call, so that a later budget would be shown and ignored.
    """
    keywords: dict[str, Any] = {
        "model_kwargs": {"dtype": torch.float32, "attn_implementation": device_settings.attention},
        "processor_kwargs": {},
    }
    if _counts_pixels(name, revision):
        size = {"shortest_edge": pixels.min, "longest_edge": pixels.max}
        keywords["processor_kwargs"]["size"] = size
    if revision:
        keywords["revision"] = revision
    return keywords


def _counts_pixels(name: str, revision: str) -> bool:
    """Whether a model's processor keeps to a number of pixels, as those that merge patches do.

    To others, CLIP's for one, the same setting would be the length of a side.
    """
    try:
        config = AutoConfig.from_pretrained(name, revision=revision or None)
    except (OSError, ValueError):  # no config of transformers at its root
        return False
    return hasattr(getattr(config, "vision_config", None), "spatial_merge_size")


def _modalities(base: Base) -> dict[str, Any]:
    """How to feed a fresh checkpoint, where Sentence Transformers cannot tell by itself."""
    if not base.modality_config:
        return {}
    return {
        "modality_config": base.modality_config,
        "module_output_name": "token_embeddings",
    }


def _transformer_keywords(keywords: dict[str, Any]) -> dict[str, Any]:
    """The same arguments for a bare Transformer module, whose revisions go in one by one."""
    revision = {key: keywords[key] for key in ("revision",) if key in keywords}
    return {
        "model_kwargs": keywords["model_kwargs"] | revision,
        "processor_kwargs": keywords["processor_kwargs"] | revision,
        "config_kwargs": revision,
    }


def _check_sight(model: SentenceTransformer | CrossEncoder, name: str, section: str) -> None:
    modalities = list(model.modalities)
    log.info("%s: modalities %s", name, ", ".join(str(modality) for modality in modalities))
    if not model.supports("image"):
        place = "in its sentence_bert_config.json"
        if section == "base":
            place = f"a fresh checkpoint's under base.modality_config, another's {place}"
        raise InputError(
            f"{section}.model {name!r} takes {', '.join(map(str, modalities))} but no image: choose"
            f" a vision-language model, or describe its image input: {place}"
        )


def _set_attention(
    model: SentenceTransformer | CrossEncoder, device_settings: DeviceSettings
) -> None:
    """Keep padding texts where flash attention would concatenate them; join pages elsewhere.

    The positions that Qwen-VL gives to text and image tokens are not proved against concatenation.
    """
    if device_settings.attention == "flash_attention_2":
        model[0].unpad_inputs = False
    vision.join_pages(getattr(model[0], "model", None), device_settings.attention)


def visual_tokens(model: SentenceTransformer | CrossEncoder, image: Image.Image) -> int | None:
    """How many visual tokens the model really makes of a page; None for models without a grid."""
    features = model.preprocess(
        [image] if isinstance(model, SentenceTransformer) else [("", image)]
    )
    if "image_grid_thw" not in features:
        return None
    merge = int(model[0].processor.image_processor.merge_size)
    return int(features["image_grid_thw"][0].prod()) // merge**2


def on_own_grid(model: SentenceTransformer | CrossEncoder, pixels: Pixels) -> Pixels:
    """The budget on the grid of the model's own processor, where it has one: patch x merge size.

    Pages are stored on the base model's grid, so a model of another family, Qwen2.5-VL beside
    Qwen3-VL for one, resizes them once more.
    """
    processor: Any = getattr(getattr(model[0], "processor", None), "image_processor", None)
    patch, merge = (getattr(processor, name, None) for name in ("patch_size", "merge_size"))
    if not isinstance(patch, int) or not isinstance(merge, int) or patch * merge == pixels.multiple:
        return pixels
    log.info("pages are resized from the grid of %d pixels to %d", pixels.multiple, patch * merge)
    return pixels.model_copy(update={"multiple": patch * merge})


def check_budget(
    model: SentenceTransformer | CrossEncoder, image: Image.Image, pixels: Pixels
) -> int | None:
    """Log the real number of visual tokens of a page and insist that it is the budget's.

    A processor can show one budget and apply another, so attributes prove nothing.
    """
    tokens = visual_tokens(model, image)
    if tokens is None:
        log.info("visual tokens per page: unknown to this model's processor")
        return None
    width, height = budget_size(*image.size, pixels)
    expected = width * height // pixels.multiple**2
    log.info("visual tokens of the first page (%dx%d): %d", *image.size, tokens)
    if tokens != expected:
        raise InputError(
            f"the model makes {tokens} visual tokens of a {image.width}x{image.height} page, the "
            f"budget of pixels.max {pixels.max} and pixels.multiple {pixels.multiple} means "
            f"{expected}: set pixels.multiple to the model's patch size times its merge size"
        )
    return tokens


def save(model: SentenceTransformer | CrossEncoder, folder: Path) -> None:
    """Write a folder that plain Sentence Transformers opens: adapters merged, no card."""
    transformer = model[0]
    if getattr(transformer.model, "peft_config", None):
        _merge_adapters(transformer.model)
    if getattr(transformer.tokenizer, "is_fast", False):
        # The last call's padding would be saved: another file after an interruption.
        transformer.tokenizer.backend_tokenizer.no_padding()
        transformer.tokenizer.backend_tokenizer.no_truncation()
    model.save_pretrained(str(folder), create_model_card=False)
    _write_video_settings(transformer.processor, folder)


def _merge_adapters(network: Any) -> None:  # noqa: ANN401  # a PreTrainedModel with adapters
    """Fold LoRA weights into the layers they sit on: a saved adapter names an absolute path."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in list(network.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            parent, _, leaf = name.rpartition(".")
            setattr(network.get_submodule(parent), leaf, layer.get_base_layer())
    del network.peft_config
    network._hf_peft_config_loaded = False


def _write_video_settings(processor: Any, folder: Path) -> None:  # noqa: ANN401
    """Let a model saved without torchvision open where torchvision exists.

    There the processor wants a video part, which it could not save here; nothing shows a video, so
    the image settings do.
    """
    parameters = inspect.signature(type(processor).__init__).parameters
    if "video_processor" not in parameters or hasattr(processor, "video_processor"):
        return
    image = processor.image_processor.to_dict()
    kept = ("patch_size", "merge_size", "temporal_patch_size", "size", "image_mean", "image_std")
    kind = type(processor).__name__.removesuffix("Processor") + "VideoProcessor"
    settings = {"video_processor_type": kind} | {key: image[key] for key in kept if key in image}
    text = json.dumps(settings, indent=2) + "\n"
    (folder / "video_preprocessor_config.json").write_text(text, encoding="utf-8")
