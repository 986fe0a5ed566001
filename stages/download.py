"""Copy the originals that the source names into data/source, as found."""

from pathlib import Path

from pagefinder.layout import SOURCE
from pagefinder.params import Params
from pagefinder.runtime import outputs
from pagefinder.sources import storing, writing
from stages import resume_folder, run


def main(params: Params, root: Path = Path()) -> None:
    """Store pages and queries of the chosen source; an interrupted run goes on where it was."""
    source = _open(params, root)
    named = params.data.hub.path if params.data.source == "hub" else params.input
    knobs = (params.seed, params.data, source.provenance, _files(root / named))
    scratch = resume_folder("download", knobs, [], root)
    writing.write(source, scratch)
    with outputs.output(root / SOURCE, root) as target:
        writing.publish(scratch, target)


def _files(folder: Path) -> list[tuple[str, int, int]]:
    """Your files as they are now: an interrupted run goes on only while none has changed."""
    found = [(path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [(path.as_posix(), stat.st_size, stat.st_mtime_ns) for path, stat in found]


def _open(params: Params, root: Path) -> storing.Source:
    """Import only what the source needs: opening the Hub's library takes seconds."""
    folder = root / params.input
    if params.data.source == "generated":
        from pagefinder.sources.generated import source

        return source.open_source(params.data.generated, params.seed)
    if params.data.source == "hub":
        from pagefinder.sources import hub

        return hub.open_source(params.data.hub, root)
    if params.data.source == "table":
        from pagefinder.sources import table

        return table.open_source(params.data.table, folder)
    from pagefinder.sources import pdf

    return pdf.open_source(folder)


if __name__ == "__main__":
    run(main)
