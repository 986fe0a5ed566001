"""Copy the originals that the source names into data/source, as found."""

from pathlib import Path

from pagefinder.layout import SOURCE
from pagefinder.params import Params
from pagefinder.runtime import outputs
from pagefinder.runtime.scratch import file_states
from pagefinder.sources import writing
from pagefinder.sources.opening import open_chosen_source
from stages import resume_folder, run


def main(params: Params, root: Path = Path()) -> None:
    """Write pages and queries of the source that params name to data/source."""
    source = open_chosen_source(params, root)
    files = sorted(source.folder.rglob("*")) if source.folder else []
    states = file_states(path for path in files if path.is_file())
    # Shards of an interrupted run are reused while params and the user's files are the same.
    knobs = (params.seed, params.data, source.provenance, states)
    resume = resume_folder("download", knobs, [], root)
    writing.write(source, resume)
    with outputs.output(root / SOURCE, root) as target:
        writing.publish(resume, target)


if __name__ == "__main__":
    run(main)
