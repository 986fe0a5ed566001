"""Find the configs and splits of a dataset, as lazily opened streams."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import datasets

from pagefinder.errors import InputError
from pagefinder.sources import cells

READERS = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".jsonl": "json",
    ".json": "json",
    ".csv": "csv",
}
# What the splits of other publishers are called, and what `datasets` calls a file eval.parquet.
ALIASES = {"train": ("train",), "eval": ("eval", "test", "validation")}

OpenSplit = Callable[[], datasets.IterableDataset]
Configs = dict[str, dict[str, OpenSplit]]  # config -> split -> dataset


def remote(path: str, commit: str) -> Configs:
    """Configs and splits of a dataset of the Hub at a commit."""
    load = functools.partial(datasets.load_dataset, path, revision=commit, streaming=True)
    return {
        config: {
            split: functools.partial(load, config, split=split)
            for split in datasets.get_dataset_split_names(path, config, revision=commit)
        }
        for config in datasets.get_dataset_config_names(path, revision=commit)
    }


def files(path: str, commit: str, splits: set[tuple[str, str]]) -> set[str]:
    """Files that hold the (config, split) pairs of a dataset of the Hub; none where that is unsaid.

    A dataset of Parquet, JSONL or image files says it. One that was made otherwise does not.
    """
    names: set[str] = set()
    for config in {config for config, _ in splits}:
        builder = datasets.load_dataset_builder(path, config, revision=commit)
        for split, urls in (builder.config.data_files or {}).items():
            if (config, str(split)) in splits:
                names |= {url.removeprefix(f"hf://datasets/{path}@{commit}/") for url in urls}
    return names


def choose(configs: Configs, name: str, role: str) -> tuple[str, str] | None:
    """Config and split of the config `name`, else of the split `name`; None if there is neither.

    A name that is the role itself (train, eval) also means the usual other names of that split.
    """
    if name in configs:
        splits = configs[name]
        return name, next(
            (split for split in (name, "train") if split in splits), next(iter(splits))
        )
    config = "default" if "default" in configs else next(iter(configs))
    names = [name, *ALIASES[role]] if name == role else [name]
    return next(((config, alias) for alias in names if alias in configs[config]), None)


def local(path: Path) -> Configs:
    """Configs and splits of a local file or folder.

    The configs of a folder are those that its README names, else its subfolders, else one.
    """
    if path.is_file():
        if path.suffix not in READERS:
            raise InputError(f"data.hub.path {str(path)!r} is none of {', '.join(READERS)}")
        load = functools.partial(datasets.load_dataset, READERS[path.suffix], data_files=str(path))
        return {"default": {"train": functools.partial(load, split="train", streaming=True)}}
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        dataset = datasets.load_from_disk(str(path))
        splits = dataset if isinstance(dataset, datasets.DatasetDict) else {"train": dataset}
        return {"default": {name: part.to_iterable_dataset for name, part in splits.items()}}
    configs = datasets.get_dataset_config_names(str(path))
    if configs != ["default"]:
        return {config: _splits(path, config) for config in configs}
    folders = [folder for folder in sorted(path.iterdir()) if _holds_data(folder)]
    if not folders:
        return {"default": _splits(path)}
    return {folder.name: _splits(folder) for folder in folders}


def _splits(path: Path, config: str | None = None) -> dict[str, OpenSplit]:
    """Split -> function that opens it, for a config of a folder."""
    load = functools.partial(datasets.load_dataset, str(path), config, streaming=True)
    names = datasets.get_dataset_split_names(str(path), config)
    return {name: functools.partial(load, split=name) for name in names}


def _holds_data(folder: Path) -> bool:
    """Whether a path is a folder with data files in it."""
    return folder.is_dir() and any(path.suffix in READERS for path in folder.iterdir())


def undecoded(dataset: datasets.IterableDataset) -> datasets.IterableDataset:
    """A dataset that gives its images as encoded bytes."""
    if dataset.features is None:
        dataset = dataset._resolve_features()  # JSONL and CSV name their columns in their rows
    return dataset.decode(False)


def with_bytes(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its images as bytes; images that the library gives as a path are read.

    Such a path lies on the Hub or in a local image folder.
    """

    def read(cell: object) -> object:
        if isinstance(cell, list):
            return [read(single) for single in cell]
        if isinstance(cell, dict) and cell.get("bytes") is None and cell.get("path"):
            with datasets.utils.file_utils.xopen(cell["path"], "rb") as file:
                return {"bytes": file.read(cells.MAX_BYTES + 1)}
        return cell

    return {name: read(cell) for name, cell in row.items()}


def listing(configs: Configs) -> str:
    """Configs and their splits, for a message."""
    return "; ".join(f"{config} ({', '.join(splits)})" for config, splits in configs.items())
