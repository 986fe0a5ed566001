"""Read params.yaml and name what is wrong with it.

DVC passes no arguments to stages, so each one reads the file itself through `load`.
"""

import functools
import json
import re
from pathlib import Path
from typing import Any

import pydantic
import yaml

from pagefinder.errors import InputError
from pagefinder.layout import EMBEDDER
from pagefinder.models.packaged import local_folder
from pagefinder.params import (
    Base,
    CompareModel,
    Params,
    ParamsFile,
    RerankerModel,
    Shared,
)
from pagefinder.params_base import Section
from pagefinder.systems import RESERVED


class _Loader(yaml.SafeLoader):
    """YAML 1.1 with the number 3e-05 read as a number, as `dvc exp run -S` writes it."""


_FLOAT = re.compile(r"^[-+]?(\d[\d_]*)(\.[\d_]*)?[eE][-+]?\d+$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789"))


def load(path: Path, **changes: str) -> Params:
    """Read params.yaml and check it, also against the local models that it names.

    Args:
        path: Of params.yaml.
        **changes: Top-level keys with values that count instead of the file's.

    Raises:
        InputError: names the key, its value and how to mend it.
    """
    params = parse(read(path) | changes, path.name)
    base = params.base
    folder = local_folder(base.model, base.revision, f"{path.name}: base.model", path.parent)
    width = _local_width(folder / "config.json") if folder else None
    # dims are sorted, largest first.
    if width is not None and params.embedder.dims[0] > width:
        raise InputError(
            f"{path.name}: embedder.dims asks for dimension {params.embedder.dims[0]}, "
            f"{params.base.model} has {width}: drop the dimensions above {width}"
        )
    _check_local_models(params, path)
    _check_page_content(params, path)
    _check_head(params, path)
    return params


def _check_local_models(params: Params, path: Path) -> None:
    """Refuse a local model outside the folder `checkpoints`.

    DVC watches only that folder, so a change elsewhere would rerun nothing.
    """
    root = path.parent
    models = {"base": params.base.model, "mine.veto": params.mine.veto.model}
    models |= {f"compare_models.{name}": other.model for name, other in params.compare.items()}
    if Path(params.reranker.model) != EMBEDDER:  # a reranker may start from the tuned embedder
        models["reranker"] = params.reranker.model
    for section, model in models.items():
        folder = (root / model).resolve()
        is_local = bool(model) and folder.is_dir()
        is_watched = folder.is_relative_to((root / params.checkpoints).resolve())
        if is_local and not is_watched:
            raise InputError(
                f"{path.name}: {section}.model is {model!r}, which is not in checkpoints "
                f"({params.checkpoints!r}), so that a change there would rerun nothing: set "
                "checkpoints to a folder that holds all local models"
            )


def _check_head(params: Params, path: Path) -> None:
    """Refuse to score by logits from an embedder that has none, before it is trained for hours.

    The config of a model of the Hub is read where an earlier stage has fetched it.
    """
    base, reranker = params.base, params.reranker
    if Path(reranker.model) != EMBEDDER or reranker.head != "logit":
        return
    folder = local_folder(base.model, base.revision, f"{path.name}: base.model", path.parent)
    config: object = folder / "config.json" if folder else None
    if base.revision and not folder:
        from huggingface_hub import try_to_load_from_cache

        config = try_to_load_from_cache(base.model, "config.json", revision=base.revision)
    if not isinstance(config, str | Path) or not Path(config).is_file():
        return
    content = json.loads(Path(config).read_text(encoding="utf-8"))
    if content.get("tie_word_embeddings") is False:
        raise InputError(
            f"{path.name}: reranker.model is {reranker.model!r} and reranker.head logit, but "
            f"base.model {base.model!r} has no language head (tie_word_embeddings is false in its "
            "config.json): set reranker.head to dense"
        )


def _check_page_content(params: Params, path: Path) -> None:
    """Refuse a local model of texts where pages give images, and pixel budgets of texts."""
    models: dict[str, Base | CompareModel | RerankerModel] = {
        "base": params.base,
        "reranker": params.reranker,
        "mine.veto": params.mine.veto,
    }
    models |= {f"compare_models.{name}": other for name, other in params.compare.items()}
    for section, at in models.items():
        if not at.model or at.page_content == "text":
            continue
        folder = local_folder(at.model, at.revision, f"{path.name}: {section}.model", path.parent)
        if folder and _reads_texts_alone(folder):
            raise InputError(
                f"{path.name}: {section}.page_content is {at.page_content}, but {section}.model "
                f"{at.model!r} takes text alone: set {section}.page_content to text, or name a "
                "vision-language model"
            )
    budgets = params.evaluate.pixel_budgets
    if budgets and params.base.page_content == "text":
        raise InputError(
            f"{path.name}: evaluate.pixel_budgets names {budgets[0]}, but base.page_content is "
            "text: empty the list, since texts have no pixels"
        )


def _reads_texts_alone(folder: Path) -> bool:
    """Whether a transformers model in a folder comes without a processor of images."""
    return (folder / "config.json").is_file() and not any(folder.rglob("*processor_config.json"))


def _local_width(config: Path) -> int | None:
    """Hidden size of a local model from its config.json; None where that is missing or unclear."""
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    width = content.get("text_config", content).get("hidden_size")
    return width if isinstance(width, int) else None


def read(path: Path) -> dict[str, Any]:
    """The content of params.yaml as a dictionary, its keys and values not yet checked."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing: run from the project's root") from error
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds {content!r}, not a mapping of params")
    return content


def parse(content: dict[str, Any], name: str = "params.yaml") -> Params:
    """Params of the chosen profile from the content of params.yaml; `name` is for messages.

    Raises:
        InputError: names the first wrong key, its value and how to mend it.
    """
    try:
        file = ParamsFile.model_validate(content)
    except pydantic.ValidationError as error:
        raise InputError(f"{name}: {_explain(error)}") from error
    if file.profile not in file.profiles:
        known = ", ".join(file.profiles)
        raise InputError(f"{name}: profile is {file.profile!r}; the profiles there are {known}")
    missing = [name for name in file.compare if name not in file.compare_models]
    if missing:
        raise InputError(
            f"{name}: compare names {missing[0]!r}, which compare_models does not describe"
        )
    reserved = [name for name in file.compare if name in RESERVED]
    if reserved:
        raise InputError(
            f"{name}: compare names a model {reserved[0]!r}, as one of the pipeline's own is "
            "called: give it another name"
        )
    shared = {key: getattr(file, key) for key in Shared.model_fields}
    compare = {name: file.compare_models[name] for name in file.compare}
    params = Params(**shared, **dict(file.profiles[file.profile]), compare=compare)
    _check_questions(params, name)
    return params


def _check_questions(params: Params, name: str) -> None:
    """Refuse pages without questions where no model is named that writes some."""
    source = params.data.source
    columns = {"table": params.data.table.query, "hub": params.data.hub.query}
    if not columns.get(source, source) and not params.queries.writer.url:
        raise InputError(
            f"{name}: data.{source}.query is empty, so its pages have no questions: name the column"
            " that holds them, or in queries.writer a model that writes some (docs/questions.md)"
        )


def _explain(error: pydantic.ValidationError) -> str:
    """The first problem on one line: the key, its value, what is wrong and how to mend it."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        allowed = _keys_at(first["loc"])
        return f"{key} is no param (value {first['input']!r}); known here: {', '.join(allowed)}"
    if first["type"] == "missing":
        return f"{key} is missing: add it, as in the committed params.yaml"
    message = first["msg"].removeprefix("Value error, ")
    return f"{key} is {first['input']!r}: {message[0].lower()}{message[1:]}"


def _keys_at(loc: tuple[int | str, ...]) -> list[str]:
    """The valid keys of the section that holds the wrong key at `loc`; [] where that is no section.

    Args:
        loc: Pydantic's error location: the keys from the file's top level down to the wrong one.
    """

    def step(model: Any, part: int | str) -> Any:  # noqa: ANN401  # any type
        if isinstance(model, type) and issubclass(model, Section) and part in model.model_fields:
            return model.model_fields[str(part)].annotation
        arguments = [kind for kind in getattr(model, "__args__", ()) if kind is not type(None)]
        if arguments:
            return arguments[-1]  # dict[str, Section]: go on with the value's type
        return model  # the wrong key itself: stay in its section

    model = functools.reduce(step, loc, ParamsFile)
    is_section = isinstance(model, type) and issubclass(model, Section)
    return list(model.model_fields) if is_section else []
