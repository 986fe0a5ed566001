"""A dataset of the Hub, or any local folder or file that `datasets.load_dataset` opens.

Datasets are streamed: rows go straight into data/source, so that neither the Hub's files nor the
library's Arrow copy of them stay on the disk. Two layouts are known: rows of a query, its page and
negatives (the columns named in params), and the BEIR/MTEB/ViDoRe layout with the configs `corpus`,
`queries` and `qrels`.
"""

import functools
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
from huggingface_hub import HfApi

from pagefinder.errors import InputError
from pagefinder.params import Hub, Params
from pagefinder.sources import beir, cells, hub_splits
from pagefinder.sources.hub_splits import Open, Parts
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
    found: dict[str, object] = {"settings": settings.model_dump()}
    try:
        if local.exists():
            folder = local if local.is_dir() else local.parent
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            found["files"] = {
                path.relative_to(folder).as_posix(): file_digest(path)
                for path in (files if local.is_dir() else [local])
                if path.suffix in hub_splits.READERS
            }
            parts = hub_splits.local(local)
        else:
            folder = None
            found["commit"] = _resolve(settings)
            parts = hub_splits.remote(settings.path, str(found["commit"]))
        reading = cells.Reading(
            settings.query, settings.image, settings.negatives, folder, settings.allow_urls
        )
        rows = (
            beir.tables(parts, settings)
            if set(parts) >= BEIR
            else _triples(parts, settings, reading)
        )
    except (datasets.exceptions.DatasetsError, ValueError, OSError) as error:
        raise InputError(
            f"data.hub.path {settings.path!r} does not open: {_line(error)}"
        ) from error
    return Source("hub", rows, found, folder=local)


def _resolve(settings: Hub) -> str:
    """Commit of the revision; says what the download needs, and stops where there is no room."""
    try:
        info = HfApi().dataset_info(
            settings.path, revision=settings.revision or None, files_metadata=True
        )
    except Exception as error:  # the client lets the errors of its transport through
        raise InputError(
            f"data.hub.path {settings.path!r} is no local folder, and the Hub does not give it at"
            f" revision {settings.revision!r}: {_line(error)}"
        ) from error
    size = sum(file.size or 0 for file in info.siblings or ())
    free = shutil.disk_usage(Path.cwd()).free
    log.info(
        "%s at %s: up to %.1f GB for data/source and less again for data/corpus; %.1f GB are free",
        settings.path,
        info.sha,
        size / 1e9,
        free / 1e9,
    )
    if size * 2 > free:
        raise InputError(
            f"data.hub.path {settings.path!r} needs up to {size * 2 / 1e9:.1f} GB, but"
            f" {free / 1e9:.1f} GB are free: make room or name a smaller dataset"
        )
    return str(info.sha)


def _choose(parts: Parts, name: str, role: str) -> Open | None:
    """The dataset that `name` means: a config, else a split, else a split that plays the role."""
    if name in parts:
        splits = parts[name]
        return splits.get(name) or splits.get("train") or next(iter(splits.values()))
    splits = parts.get("default") or next(iter(parts.values()))
    names = [name, *hub_splits.ALIASES[role]] if name == role else [name]
    return next((splits[known] for known in names if known in splits), None)


def _triples(
    parts: Parts, settings: Hub, reading: cells.Reading
) -> dict[str, Callable[[int], Iterator[Row]]]:
    result: dict[str, Callable[[int], Iterator[Row]]] = {}
    for role, name in (("train", settings.train), ("eval", settings.eval)):
        if not name:
            continue
        opened = _choose(parts, name, role)
        if opened is None:
            raise InputError(
                f"data.hub.{role} is {name!r}, which is neither config nor split of"
                f" {settings.path!r}: there are {hub_splits.listing(parts)}"
            )
        dataset = hub_splits.undecoded(opened())
        for param in ("query", "image"):
            column = getattr(settings, param)
            if column not in dataset.features:
                raise InputError(
                    f"{settings.path!r} has no column {column!r} in {name}; it has"
                    f" {', '.join(dataset.features)}: name yours in data.hub.{param}"
                )
        # Without an eval part the whole is drawn: the rows then name no split of their own.
        split = role if settings.eval else None
        result[role] = functools.partial(_triple_rows, dataset, role, split, reading)
    return result


def _triple_rows(
    dataset: datasets.IterableDataset,
    part: str,
    split: str | None,
    reading: cells.Reading,
    start: int,
) -> Iterator[Row]:
    for number, row in enumerate(dataset.skip(start), start + 1):
        yield cells.items(hub_splits.with_bytes(row), f"{part}:{number}", split, reading)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
