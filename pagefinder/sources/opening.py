"""Open the source that `data.source` names: its pages and queries, ready to be stored."""

from pathlib import Path

from pagefinder.params import Params
from pagefinder.sources.storing import Source


def open_chosen_source(params: Params, root: Path) -> Source:
    """The pages and queries of the source that params name.

    Only the module of that source is imported: the library of the Hub alone takes seconds.

    Args:
        params: Params of the run; a source reads its section of `data`, and `input` or `seed`.
        root: The folder that relative paths in params start from.

    Raises:
        InputError: the source is missing, or lacks a file, split or column that params name.
    """
    source = params.data.source
    if source == "generated":
        from pagefinder.sources.generated.source import open_source
    elif source == "hub":
        from pagefinder.sources.hub import open_source
    elif source == "table":
        from pagefinder.sources.table import open_source
    elif source == "pdf":
        from pagefinder.sources.pdf import open_source
    else:
        raise ValueError(f"source {source!r} is opened by no module: add its import here")
    return open_source(params, root)
