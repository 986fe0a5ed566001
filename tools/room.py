"""Look whether the pipeline fits on the disk before it begins: `python -m tools.room [PROFILE]`.

`make repro` runs it first. DVC goes on where its cache is full, with an error among its lines, and
ends as if all were well.
"""

import logging
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from pagefinder import params_file
from pagefinder.errors import InputError
from pagefinder.params import Params
from pagefinder.runtime import disk, running
from pagefinder.runtime.disk import Need, Weights, in_words
from stages import dvc_cache, dvc_copies

log = logging.getLogger(__name__)


def main(root: Path = Path(), profile: str | None = None) -> None:
    """Log what the run may need; end with one line where the disk has too little room.

    Args:
        root: Holds params.yaml.
        profile: The run will have it; None: the one in params.yaml.
    """
    running.configure_logging()
    try:
        changes = {"profile": profile} if profile else {}
        check(params_file.load(root / "params.yaml", **changes), root)
    except InputError as error:
        log.error("error: %s", error)
        sys.exit(1)


def check(params: Params, root: Path) -> None:
    """Compare what the outputs that are not there yet need with the free space.

    Raises:
        InputError: too little room, or an output that cannot be replaced.
    """
    needs = disk.needs(params, disk.amounts_of(params, root), disk.models_of(params, root))
    recorded = recorded_sizes(params.profile, root)
    outputs = {name: size for need in needs.values() for name, size in need.outputs.items()}
    sizes = {name: max(size, recorded.get(name, 0)) for name, size in (recorded | outputs).items()}
    missing = sum(size for name, size in sizes.items() if not (root / name).exists())
    work = max(sum(need.work.values()) for need in needs.values())
    _check_free(root, missing * (2 if dvc_copies(root) else 1) + work, "the run")
    _check_free(dvc_cache(root), missing, "DVC's cache of the outputs")
    for path in locked(root / name for name in sizes):
        raise InputError(
            f"{path} cannot be replaced: allow this user to write there (chmod, chattr)"
        )


def _check_free(folder: Path, needed: int, what: str) -> None:
    """Raise an InputError where the disk of a folder has less than `needed` bytes free."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    log.info("%s may need %s, %s are free", what, in_words(needed), in_words(free))
    if needed > free:
        raise InputError(
            f"{what} may need {in_words(needed)}, but {in_words(free)} are free in "
            f"{folder.resolve()}: make room (`dvc gc -w` drops what only earlier runs wrote)"
        )


def recorded_sizes(profile: str, root: Path) -> dict[str, int]:
    """Output -> bytes, as dvc.lock records them of the last run, if it was of this profile."""
    path = root / "dvc.lock"
    lock: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {
        out["path"]: out["size"]
        for stage in lock.get("stages", {}).values()
        if stage.get("params", {}).get("params.yaml", {}).get("profile", profile) == profile
        for out in stage.get("outs", ())
    }


def locked(paths: Iterable[Path]) -> Iterator[Path]:
    """The folders, and for root the files, among outputs that this user may not change."""
    for path in paths:
        for one in (path, *(path.rglob("*") if path.is_dir() else ())):
            # A file without write permission can be replaced, unless it is immutable, which shows
            # for root alone.
            counts = one.is_dir() or (one.exists() and os.geteuid() == 0)
            if counts and not os.access(one, os.W_OK):
                yield one


def lines(needs: dict[str, Need], models: dict[str, Weights], root: Path) -> Iterator[str]:
    """What a run takes of the disk, for `tools.plan` to log."""
    copied = dvc_copies(root)
    left = {name: size for need in needs.values() for name, size in need.outputs.items()}
    for name, size in left.items():
        yield f"{name} {in_words(size)}"
    for stage, need in needs.items():
        for name, size in need.work.items():
            yield f"meanwhile, {name} of {stage}: {in_words(size)}"
    kept = sum(left.values())
    yield f"DVC's cache of these outputs {in_words(kept if copied else 0)}" + (
        "" if copied else ": outputs are links to it, share its blocks, or it is on another disk"
    )
    whole = disk.together(needs, copied)
    yield (
        f"a whole run needs {in_words(whole)} at its peak and leaves "
        f"{in_words(kept * (2 if copied else 1))}; {in_words(shutil.disk_usage(root).free)} are "
        f"free; the models it starts from take "
        f"{in_words(sum(model.file_bytes for model in models.values()))} elsewhere"
    )


if __name__ == "__main__":
    main(Path(), *sys.argv[1:2])
