"""Find the configs and splits of a dataset, as lazily opened streams."""

import functools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import datasets
import yaml
from huggingface_hub import metadata_load

from pagefinder.errors import InputError
from pagefinder.params import Hub

READERS = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".jsonl": "json",
    ".json": "json",
    ".csv": "csv",
}
# Rows of Parquet that are decoded at a time.
PARQUET_ROWS = 100
# What the splits of other publishers are called, and what `datasets` calls a file eval.parquet.
ALIASES = {
    "train": ("train",),
    "eval": ("eval", "test", "validation", "dev"),
    "dev": ("dev", "validation", "valid", "val"),
}

OpenSplit = Callable[[], datasets.IterableDataset]
Configs = dict[str, dict[str, OpenSplit]]  # config -> split -> dataset


def address(path: str, commit: str) -> str:
    """What the files of a dataset of the Hub begin with, as the library names them."""
    return f"hf://datasets/{path}@{commit}"


def remote(path: str, commit: str) -> Configs:
    """Configs and splits of a dataset of the Hub at a commit.

    Raises:
        InputError: a config names a file of another place than the dataset.
    """
    load = functools.partial(datasets.load_dataset, path, revision=commit, streaming=True)
    configs: Configs = {}
    for config in datasets.get_dataset_config_names(path, revision=commit):
        _check_files(datasets.load_dataset_builder(path, config, revision=commit), path, commit)
        configs[config] = {
            split: functools.partial(load, config, split=split)
            for split in datasets.get_dataset_split_names(path, config, revision=commit)
        }
    return configs


def _check_files(builder: datasets.DatasetBuilder, path: str, commit: str) -> None:
    """Raise InputError if the builder would read a file that is not in the dataset."""
    for files in (builder.config.data_files or {}).values():
        for file in map(str, files):
            if not file.startswith(f"{address(path, commit)}/") or ".." in file.split("/"):
                raise InputError(f"{path!r} names {file!r} as its data, which is not in it")


def check_card(card: Mapping[str, Any] | None, path: str) -> None:
    """Check that the configs in a dataset's card name no files outside the dataset.

    The library would open them, whatever they are.

    Raises:
        InputError: names the dataset `path` and the place.
    """

    def check(value: object) -> None:
        if isinstance(value, Mapping | list | tuple):
            for inner in value.values() if isinstance(value, Mapping) else value:
                check(inner)
        elif isinstance(value, str):
            parts = PurePosixPath(value)
            if "://" in value or "::" in value or parts.is_absolute() or ".." in parts.parts:
                raise InputError(f"{path!r} names {value!r} as its data, which is not in it")

    for config in (card or {}).get("configs") or ():
        if isinstance(config, Mapping):
            check([config.get("data_files"), config.get("data_dir")])


def _check_local_cards(folder: Path) -> None:
    """`check_card` for both files of a folder that may hold a card."""
    if (folder / datasets.config.REPOCARD_FILENAME).is_file():
        check_card(metadata_load(folder / datasets.config.REPOCARD_FILENAME), str(folder))
    if (folder / datasets.config.REPOYAML_FILENAME).is_file():
        content = (folder / datasets.config.REPOYAML_FILENAME).read_text(encoding="utf-8")
        check_card(yaml.safe_load(content), str(folder))


def files(path: str, commit: str, splits: set[tuple[str, str]]) -> set[str]:
    """Files that hold the (config, split) pairs of a dataset of the Hub; none where that is unsaid.

    A dataset of Parquet, JSONL or image files says it. One that was made otherwise does not.
    """
    names: set[str] = set()
    for config in {config for config, _ in splits}:
        builder = datasets.load_dataset_builder(path, config, revision=commit)
        for split, urls in (builder.config.data_files or {}).items():
            if (config, str(split)) in splits:
                names |= {url.removeprefix(f"{address(path, commit)}/") for url in urls}
    return names


def chosen(configs: Configs, settings: Hub) -> dict[str, tuple[str, str] | None]:
    """Role (train, eval, dev) -> config and split that are read; None: what params name is absent.

    A dataset has a dev split of its own where one is called so and is not read as eval.
    """
    named = {"train": settings.train, "eval": settings.eval}
    places = {role: choose(configs, name, role) for role, name in named.items() if name}
    dev = choose(configs, "dev", "dev")
    return places if dev is None or dev in places.values() else places | {"dev": dev}


def choose(configs: Configs, name: str, role: str) -> tuple[str, str] | None:
    """Config and split of the config `name`, else of the split `name`; None if there is neither.

    A name that is the role itself (train, eval, dev) also means the usual other names of it.
    """
    names = [name, *ALIASES[role]] if name == role else [name]
    for config in names:
        if splits := configs.get(config):
            inner = (split for split in (config, "train") if split in splits)
            return config, next(inner, next(iter(splits)))
    config = "default" if "default" in configs else next(iter(configs))
    return next(((config, alias) for alias in names if alias in configs[config]), None)


def local(path: Path) -> Configs:
    """Configs and splits of a local file or folder.

    The configs of a folder are those that its README names, else its subfolders, else one.
    """
    if not path.is_dir():
        if not path.is_file():
            raise InputError(f"data.hub.path {str(path)!r} is neither file nor folder")
        if path.suffix not in READERS:
            raise InputError(f"data.hub.path {str(path)!r} is none of {', '.join(READERS)}")
        reader = READERS[path.suffix]
        load = functools.partial(
            datasets.load_dataset, reader, data_files=str(path), streaming=True, **_batches(reader)
        )
        return {"default": {"train": functools.partial(_by_row_groups, load, "train")}}
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        dataset = datasets.load_from_disk(str(path))
        splits = dataset if isinstance(dataset, datasets.DatasetDict) else {"train": dataset}
        return {"default": {name: part.to_iterable_dataset for name, part in splits.items()}}
    _check_local_cards(path)
    configs = datasets.get_dataset_config_names(str(path))
    if configs != ["default"]:
        return {config: _splits(path, config) for config in configs}
    folders = [folder for folder in sorted(path.iterdir()) if _holds_data(folder)]
    if not folders:
        return {"default": _splits(path)}
    return {folder.name: _splits(folder) for folder in folders}


def _splits(path: Path, config: str | None = None) -> dict[str, OpenSplit]:
    """Split -> function that opens it, for a config of a folder."""
    _check_local_cards(path)
    reader = datasets.load_dataset_builder(str(path), config).info.builder_name
    load = functools.partial(
        datasets.load_dataset, str(path), config, streaming=True, **_batches(reader)
    )
    names = datasets.get_dataset_split_names(str(path), config)
    return {name: functools.partial(_by_row_groups, load, name) for name in names}


def _batches(reader: str) -> dict[str, int]:
    """Arguments for Parquet: else a batch is the first row group, which may have no rows."""
    return {"batch_size": PARQUET_ROWS} if reader == "parquet" else {}


def _by_row_groups(
    load: Callable[..., datasets.IterableDataset], split: str
) -> datasets.IterableDataset:
    """A split of local files whose Parquet is read row group by row group.

    As one shard Arrow reads ahead, and in the end holds the whole file.
    """
    return load(split=split).reshard()


def _holds_data(folder: Path) -> bool:
    """Whether a path is a folder with data files in it."""
    return folder.is_dir() and any(path.suffix in READERS for path in folder.iterdir())


def undecoded(dataset: datasets.IterableDataset) -> datasets.IterableDataset:
    """A dataset that gives its images as encoded bytes."""
    if dataset.features is None:
        dataset = dataset._resolve_features()  # JSONL and CSV name their columns in their rows
    return dataset.decode(False)


def numbered(
    dataset: datasets.IterableDataset, part: str, start: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number from 1, and cells, of each row of a dataset, without the first `start`.

    Raises:
        InputError: the library cannot read on; `part` names the dataset in the message.
    """
    number = start
    # A column whose rows are of several types: `undecoded` leaves its cells as JSON texts.
    mixed = [name for name, kind in dataset.features.items() if isinstance(kind, datasets.Json)]
    try:
        for row in dataset.skip(start):
            number += 1
            yield number, {**row, **{name: json.loads(row[name] or "null") for name in mixed}}
    except Exception as error:  # it lets the errors of pandas, PyArrow and the network through
        text = " ".join(str(error.__cause__ or error).split())[:200]
        raise InputError(
            f"{part} of the dataset breaks off after row {number}: {text}; mend its file, or read"
            " it as source table"
        ) from error


def listing(configs: Configs) -> str:
    """Configs and their splits, for a message."""
    return "; ".join(f"{config} ({', '.join(splits)})" for config, splits in configs.items())
