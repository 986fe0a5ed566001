"""Open embedders and rerankers: one place for precision, attention, prompts and pixel budget."""

import logging
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling
from transformers import AutoConfig

from pagefinder.errors import InputError
from pagefinder.models import score_heads, vision
from pagefinder.models.device import DeviceSettings
from pagefinder.params import Base, CompareModel, Pixels, Reranker, RerankerModel

log = logging.getLogger(__name__)


def compared_embedder(
    compare: dict[str, CompareModel], name: str, stored: Pixels
) -> tuple[Base, Pixels]:
    """The knobs and the pixel budget of a model of `compare`; pages are stored at that of `stored`.

    Raises:
        InputError: no such model.
    """
    if name not in compare:
        raise InputError(f"{name!r} is not among compare: {', '.join(compare) or 'nothing'}")
    model = compare[name]
    pixels = stored.model_copy(update={"max": model.max_pixels or stored.max})
    if pixels.max > stored.max:
        log.warning("%s: stored pages have %d pixels at most: raise pixels.max", name, stored.max)
    return Base(**model.model_dump(exclude={"max_pixels"})), pixels


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
