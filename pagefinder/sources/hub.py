"""A dataset of the Hub, or any local folder or file that `datasets.load_dataset` opens.

Datasets are streamed: rows go straight into data/source, so that neither the Hub's files nor the
library's Arrow copy of them stay on the disk. Two layouts are read: rows of a query, its page and
negatives (the columns named in params), and the BEIR/MTEB/ViDoRe layout with the configs `corpus`,
`queries` and `qrels`.
"""

import functools
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
from huggingface_hub import HfApi

from pagefinder.errors import InputError
from pagefinder.params import Hub, Params
from pagefinder.sources import beir, cells, csv_rows, hub_splits
from pagefinder.sources.hub_splits import Configs
from pagefinder.sources.images import Access
from pagefinder.sources.storing import Row, Source, file_digest

log = logging.getLogger(__name__)

BEIR = {"corpus", "queries"}


def open_source(params: Params, root: Path) -> Source:
    """The dataset `data.hub.path`, its revision resolved to a commit.

    Raises:
        InputError: no such dataset, config, split or column, or no room for it.
    """
    settings = params.data.hub
    if not settings.path:
        raise InputError("data.source is hub, but data.hub.path is empty: name a dataset or folder")
    local = root / settings.path
    provenance: dict[str, object] = {"settings": settings.model_dump()}
    access = Access(urls=settings.allow_urls, private_urls=settings.allow_private_urls)
    try:
        if local.exists():
            access = replace(access, folder=local if local.is_dir() else local.parent)
            files = _digests(local)
            provenance["files"] = files
            _check_csv(access.folder or local, files, settings)
            configs = hub_splits.local(local)
        else:
            commit, sizes = _resolve(settings)
            provenance["commit"] = commit
            access = replace(access, repository=hub_splits.address(settings.path, commit))
            configs = hub_splits.remote(settings.path, commit)
            _check_room(settings, commit, sizes, configs)
        if set(configs) >= BEIR:
            parts = beir.parts(configs, settings, access)
        else:
            parts = _triple_parts(configs, settings, access)
    except InputError:
        raise
    except Exception as error:  # the library lets those of YAML, PyArrow and others through
        raise InputError(
            f"data.hub.path {settings.path!r} does not open: {_line(error)}"
        ) from error
    return Source("hub", parts, provenance, folder=local)


def _digests(local: Path) -> dict[str, str]:
    """Path in the folder -> SHA-256 of the file, for the data files of a local dataset."""
    folder = local if local.is_dir() else local.parent
    files = sorted(local.rglob("*")) if local.is_dir() else [local]
    return {
        path.relative_to(folder).as_posix(): file_digest(path)
        for path in files
        if path.suffix in hub_splits.READERS and path.is_file()
    }


def _check_csv(folder: Path, files: Iterable[str], settings: Hub) -> None:
    """Raise InputError for a stray quote or a doubled column, of which the library says nothing.

    A stray quote swallows rows. Of two columns of a name it renames the second.
    """
    for name in files:
        columns = csv_rows.header(folder / name) if name.endswith(".csv") else []
        cells.check_once(columns, settings, str(folder / name))
        if settings.image in columns:
            for number, row in csv_rows.read(folder / name, settings.image):
                if isinstance(row, str) and csv_rows.QUOTE in row:
                    raise InputError(
                        f"{folder / name} line {number}: {row}; source table reads all other rows"
                    )


def _resolve(settings: Hub) -> tuple[str, dict[str, int]]:
    """The commit of the revision, and the bytes of each file of the dataset at it.

    Raises:
        InputError: the Hub does not give the dataset.
    """
    try:
        info = HfApi().dataset_info(
            settings.path, revision=settings.revision or None, files_metadata=True
        )
    except Exception as error:  # the client lets the errors of its transport through
        raise InputError(
            f"data.hub.path {settings.path!r} is no local folder, and the Hub does not give it at"
            f" revision {settings.revision!r}: {_line(error)}"
        ) from error
    card: Any = getattr(info, "card_data", None)
    hub_splits.check_card(card.to_dict() if card else None, settings.path)
    return str(info.sha), {file.rfilename: file.size or 0 for file in info.siblings or ()}


def _check_room(settings: Hub, commit: str, sizes: dict[str, int], configs: Configs) -> None:
    """Log the size of the download; raise InputError where the disk has too little room for it.

    Only files of the configs and splits that are read count: a dataset may hold others, larger.
    """
    if set(configs) >= BEIR:
        splits = {(name, split) for name in (*BEIR, "qrels") for split in configs.get(name, ())}
    else:
        splits = {place for place in hub_splits.chosen(configs, settings).values() if place}
    files = hub_splits.files(settings.path, commit, splits)
    size = sum(size for name, size in sizes.items() if not files or name in files)
    free = shutil.disk_usage(Path.cwd()).free
    log.info(
        "%s at %s: up to %.1f GB for data/source and less again for data/corpus; %.1f GB are free",
        settings.path,
        commit,
        size / 1e9,
        free / 1e9,
    )
    if size * 2 > free:
        raise InputError(
            f"data.hub.path {settings.path!r} needs up to {size * 2 / 1e9:.1f} GB, but"
            f" {free / 1e9:.1f} GB are free: make room or name a smaller dataset"
        )


def _triple_parts(
    configs: Configs, settings: Hub, access: Access
) -> dict[str, Callable[[int], Iterator[Row]]]:
    """Role (train, eval, dev) -> function that yields the rows of its dataset from a number on."""
    parts: dict[str, Callable[[int], Iterator[Row]]] = {}
    for role, place in hub_splits.chosen(configs, settings).items():
        name = getattr(settings, role, role)
        if place is None:
            raise InputError(
                f"data.hub.{role} is {name!r}, which is neither config nor split of"
                f" {settings.path!r}: there are {hub_splits.listing(configs)}"
            )
        config, split_name = place
        open_split = configs[config][split_name]
        dataset = hub_splits.undecoded(open_split())
        table = f"{name} of {settings.path!r}"
        columns = list(dataset.features)
        cells.check_columns(columns, settings, "data.hub", table)
        dataset = dataset.select_columns(cells.used_columns(columns, settings))
        # Without an eval dataset the split of each row is drawn, unless the row says it.
        split = role if settings.eval or role == "dev" else None
        parts[role] = functools.partial(_triple_rows, dataset, role, split, settings, access)
    return parts


def _triple_rows(
    dataset: datasets.IterableDataset,
    part: str,
    split: str | None,
    settings: Hub,
    access: Access,
    start: int,
) -> Iterator[Row]:
    """Query, pages and negatives of each row of the dataset, without the first `start` rows."""
    for number, row in hub_splits.numbered(dataset, part, start):
        yield cells.items(row, f"{part}:{number}", split, settings, access)


def _line(error: BaseException) -> str:
    """The text of an error on one line, cut to 300 characters."""
    return " ".join(str(error).split())[:300]
