"""Open embedders and rerankers: one place for precision, attention, prompts and pixel budget."""

import logging
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, StaticEmbedding

from pagefinder.errors import InputError
from pagefinder.models import compiling, library_output, pair_templates, score_heads, vision
from pagefinder.models.device import DeviceSettings
from pagefinder.models.packaged import local_folder
from pagefinder.params import Base, CompareModel, Pixels, Reranker, RerankerModel

log = logging.getLogger(__name__)

library_output.silence_notes()


def compared_embedder(
    compare: dict[str, CompareModel], name: str, stored: Pixels
) -> tuple[Base, Pixels]:
    """The params and pixel budget of the model `name` of `compare`.

    Args:
        compare: The section of that name in params.yaml.
        name: A key of it.
        stored: Pixel budget of the corpus's pages; it holds where the model names none.

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
    """Open the base embedder, or a fine-tuned one, with the params' prompts.

    A model with `modules.json` opens as it was saved. A fresh vision-language checkpoint needs
    `base.pooling`: Sentence Transformers would silently choose the mean. A dual encoder like CLIP
    gives one vector as it is.

    Args:
        base: The model, its prompts and its pooling.
        pixels: The budget at which it sees pages.
        device_settings: What it runs on.
        root: The folder that local models' paths are relative to.
        saved: A fine-tuned model's folder; `base` then gives only the prompts.
        section: The section of params.yaml that names the model, for error messages.

    Raises:
        InputError: no such model, no pooling for a fresh checkpoint, or a model that does not take
            what `base.page_content` gives it.
    """
    name = str(saved) if saved else _locate(base.model, base.revision, section, root)
    keywords = _keywords(device_settings, "" if saved else base.revision)
    prompts = {"query": base.query_prompt, "document": base.page_prompt}
    if saved or _has_modules(name, base.revision):
        model = SentenceTransformer(
            name, device=device_settings.device, prompts=prompts, **keywords
        )
    else:
        transformer = Transformer(name, **_transformer_keywords(keywords), **_modalities(base))
        modules = [transformer, *_pooling(transformer, base, section), Normalize()]
        model = SentenceTransformer(modules=modules, device=device_settings.device, prompts=prompts)
    _check_content(model, base, section)
    _set_window(model, base, section)
    set_budget(model, pixels)
    _set_arithmetic(model, device_settings)
    return model


def _pooling(transformer: Transformer, base: Base, section: str) -> list[torch.nn.Module]:
    """The pooling of a fresh checkpoint's outputs; none where its output is one vector already."""
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
    """Open the base reranker, or a fine-tuned one, with the params' instruction.

    A fresh vision-language checkpoint gets the head that `reranker.head` names, or `logit` where
    the section has none. `logit` scores by the logit of "yes" minus that of "no". `dense` reads the
    last token's hidden state through a linear layer that starts as the difference of the two token
    embeddings, so both start equal. The backbone of an embedder's folder gets a head in the same
    way. A reranker's folder opens as it was saved, except that `dense` replaces a LogitScore. A
    chat template that drops query or page gets a part that shows both. The other arguments are
    those of `open_embedder`.

    Raises:
        InputError: no such model, one that does not take what `page_content` gives it, or one that
            the head does not fit.
    """
    head = reranker.head if isinstance(reranker, Reranker) else "logit"
    name = str(saved) if saved else _locate(reranker.model, reranker.revision, section, root)
    keywords = _keywords(device_settings, "" if saved else reranker.revision)
    instruction: dict[str, Any] = {
        "prompts": {"rerank": reranker.instruction},
        "default_prompt_name": "rerank",
    }
    if saved or (_has_modules(name, reranker.revision) and not score_heads.is_embedder(name)):
        model = score_heads.saved_reranker(
            name, keywords, device=device_settings.device, **instruction
        )
        if not saved and head == "dense" and not isinstance(model[-1], Dense):
            modules = score_heads.dense_reranker(model, name, _transformer_keywords(keywords))
            model = CrossEncoder(modules=modules, device=device_settings.device, **instruction)
    else:
        modules = score_heads.fresh_reranker(name, head, _transformer_keywords(keywords), section)
        model = CrossEncoder(modules=modules, device=device_settings.device, **instruction)
    _check_content(model, reranker, section)
    pair_templates.install_pair_template(model[0], f"{section}.model {reranker.model!r}")
    set_budget(model, pixels)
    _set_arithmetic(model, device_settings)
    return model


def _locate(model: str, revision: str, section: str, root: Path) -> str:
    """The local folder of a model, or its Hub id when it has a revision."""
    folder = local_folder(model, revision, section, root)
    if folder:
        return str(folder)
    if not revision:
        raise InputError(
            f"{section}.model is {model!r}: no such folder here, and a model of the Hub needs "
            f"{section}.revision"
        )
    return model


def _has_modules(name: str, revision: str) -> bool:
    """Whether a local folder or a model of the Hub holds modules.json."""
    if Path(name).is_dir():
        return (Path(name) / "modules.json").is_file()
    from huggingface_hub import file_exists, try_to_load_from_cache

    # The cache first: a machine without the Hub opens what it holds.
    cached = try_to_load_from_cache(name, "modules.json", revision=revision)
    if cached is not None:
        return isinstance(cached, str)
    try:
        return bool(file_exists(name, "modules.json", revision=revision))
    except Exception as error:  # the Hub's client raises many kinds, all meaning "not to be had"
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"model {name!r} at revision {revision!r} cannot be had: {reason}"
        ) from error


def _keywords(device_settings: DeviceSettings, revision: str) -> dict[str, Any]:
    """Arguments that SentenceTransformer and CrossEncoder share.

    Weights are float32 masters whatever the precision: Adam loses small steps in bfloat16.
    """
    keywords: dict[str, Any] = {
        "model_kwargs": {"dtype": torch.float32, "attn_implementation": device_settings.attention},
        "processor_kwargs": {},
    }
    if revision:
        keywords["revision"] = revision
    return keywords


def set_budget(model: SentenceTransformer | CrossEncoder, pixels: Pixels) -> None:
    """Give the model's image processor the pixel budget, with which it is also saved.

    As an argument of opening it would be lost on published Qwen3-VL models: min_pixels and
    max_pixels of their preprocessor_config.json win over `size` there. Given as min_pixels and
    max_pixels instead, it would be saved with the tokenizer and win over every later budget.

    Only processors that merge patches, such as Qwen's, count pixels in `size`. For CLIP's and the
    like it is the length of a side, and stays.
    """
    config = getattr(getattr(model[0], "model", None), "config", None)
    if hasattr(getattr(config, "vision_config", None), "spatial_merge_size"):
        processor = model[0].processor.image_processor
        processor.size = type(processor.size)(shortest_edge=pixels.min, longest_edge=pixels.max)


def _modalities(base: Base) -> dict[str, Any]:
    """Arguments of Transformer from `base.modality_config`; {} where the params leave it out.

    They say how to feed a checkpoint for which Sentence Transformers cannot tell by itself.
    """
    config = base.modality_config
    return {"modality_config": config, "module_output_name": "token_embeddings"} if config else {}


def _transformer_keywords(keywords: dict[str, Any]) -> dict[str, Any]:
    """What `_keywords` returns, as arguments of Transformer: its parts each take the revision."""
    revision = {"revision": keywords["revision"]} if "revision" in keywords else {}
    return {
        "model_kwargs": keywords["model_kwargs"] | revision,
        "processor_kwargs": keywords["processor_kwargs"] | revision,
        "config_kwargs": revision,
    }


def _check_content(
    model: SentenceTransformer | CrossEncoder, params: Base | RerankerModel, section: str
) -> None:
    """Log what a model takes; raise an InputError unless it takes what pages give it."""
    modalities = ", ".join(map(str, model.modalities))
    content = params.page_content
    log.info("%s: modalities %s; a page gives its %s", params.model, modalities, content)
    needed = ("image", "text") if content == "image_text" else content
    if model.supports(needed):
        return
    if content != "text" and not model.supports("image"):
        place = "in its sentence_bert_config.json"
        if section == "base":
            place = f"a fresh checkpoint's under base.modality_config, another's {place}"
        raise InputError(
            f"{section}.model {params.model!r} takes {modalities} but no image: set "
            f"{section}.page_content to text, choose a vision-language model, or describe its "
            f"image input: {place}"
        )
    mend = f"set {section}.page_content to image" + (" or text" if model.supports("text") else "")
    raise InputError(
        f"{section}.page_content is {content}, but {section}.model {params.model!r} takes "
        f"{modalities}: {mend}, or choose another model"
    )


def _set_window(model: SentenceTransformer, base: Base, section: str) -> None:
    """Set the number of tokens behind which texts are cut; 0 leaves it as saved.

    Raises:
        InputError: the model has fewer positions, or reads whole texts always.
    """
    if not base.max_tokens:
        return
    if isinstance(model[0], StaticEmbedding):
        raise InputError(
            f"{section}.max_tokens is {base.max_tokens}, but {base.model!r} has static embeddings, "
            f"which cut no text: set {section}.max_tokens to 0"
        )
    limit = getattr(model[0].model.config.get_text_config(), "max_position_embeddings", None)
    if limit and base.max_tokens > limit:
        raise InputError(
            f"{section}.max_tokens is {base.max_tokens}, {base.model!r} has {limit} positions: "
            f"set it to {limit} at most"
        )
    model.max_seq_length = base.max_tokens


def _set_arithmetic(
    model: SentenceTransformer | CrossEncoder, device_settings: DeviceSettings
) -> None:
    """Have flash attention pad texts, not concatenate them; let other kernels join pages; compile.

    See `vision.join_pages`, `vision.join_patches` and `compiling.compile_parts`.
    Whether Qwen-VL gives text and image tokens the same positions when concatenated is not proved.
    """
    if device_settings.attention == "flash_attention_2":
        model[0].unpad_inputs = False
    network = getattr(model[0], "model", None)
    vision.join_pages(network, device_settings.attention)
    if network is not None:
        vision.join_patches(network)
    if device_settings.compiled and network is not None:
        compiling.compile_parts(network, device_settings.device)
