"""Name what DVC cannot read in a folder, by default `input`, before `make repro` starts it.

DVC opens every file of a dependency: on a pipe it waits without end and without a word, and on a
link to nothing it stops before the stage could put it into quarantine.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from pagefinder import params_file
from pagefinder.errors import InputError


def unreadable(folder: Path) -> Iterator[str]:
    """The path in the folder of each thing that is neither file nor folder, with what it is."""
    for parent, folders, files in os.walk(folder):
        for name in sorted([*folders, *files]):
            path = Path(parent, name)
            if not (path.is_file() or path.is_dir()):
                what = "a link to nothing" if path.is_symlink() else "a pipe, socket or device"
                yield f"{path.relative_to(folder)} ({what})"


def check(root: Path, folder: Path | None = None) -> None:
    """Raise InputError where a folder holds what DVC cannot read.

    Args:
        root: Holds params.yaml.
        folder: None: the folder `input` of the params.

    Raises:
        InputError: names the first five, or `folder` where it is none.
    """
    if folder and not folder.is_dir():
        raise InputError(f"INPUT is {str(folder)!r}, no folder: name the one that holds your PDFs")
    folder = folder or root / params_file.load(root / "params.yaml").input
    names = list(unreadable(folder))
    if names:
        raise InputError(
            f"input {str(folder)!r} holds {len(names)} things that are no files, and DVC would wait"
            f" for them or fail: move them away: {', '.join(names[:5])}"
        )


if __name__ == "__main__":
    try:
        check(Path(), *map(Path, sys.argv[1:2]))
    except InputError as error:
        sys.exit(f"error: {error}")
