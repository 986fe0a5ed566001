"""Copy the originals that the source names into data/source, as found."""

from pathlib import Path

from pagefinder.layout import SOURCE
from pagefinder.params import Params
from pagefinder.runtime import outputs
from pagefinder.sources import writing
from pagefinder.sources.opening import open_chosen_source
from stages import resume_folder, run


def main(params: Params, root: Path = Path()) -> None:
    """Store pages and queries of the chosen source; an interrupted run goes on where it was."""
    source = open_chosen_source(params, root)
    files = _states(source.folder) if source.folder else []
    knobs = (params.seed, params.data, source.provenance, files)
    scratch = resume_folder("download", knobs, [], root)
    writing.write(source, scratch)
    with outputs.output(root / SOURCE, root) as target:
        writing.publish(scratch, target)


def _states(folder: Path) -> list[tuple[str, int, int]]:
    """Path, bytes and time of change of every file in the user's folder, now."""
    files = [(path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [(path.as_posix(), stat.st_size, stat.st_mtime_ns) for path, stat in files]


if __name__ == "__main__":
    run(main)
