"""Index a folder of images and PDFs for search: `python -m pagefinder.index FOLDER`.

What is new, changed or removed since the last run costs that alone, and an interrupted run goes on.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pagefinder.commands import exit_status
from pagefinder.errors import InputError
from pagefinder.indexing import store
from pagefinder.indexing.addresses import is_address, list_address
from pagefinder.indexing.files import list_files
from pagefinder.indexing.planning import Summary
from pagefinder.layout import RELEASE
from pagefinder.serving.search import check_models

log = logging.getLogger("pagefinder.index")  # also where it runs as __main__


def main(arguments: Sequence[str] | None = None) -> int:
    """Index as the command line says; a line at the end says what was done.

    Returns:
        The exit status: 1 after a user's mistake, which the log names.
    """
    parser = argparse.ArgumentParser(prog="python -m pagefinder.index", description=__doc__)
    parser.add_argument(
        "folder", help="images and PDFs, at any depth; with --engine ray also an address"
    )
    parser.add_argument("--models", type=Path, default=RELEASE, help="the release's folder")
    parser.add_argument(
        "--index",
        metavar="PLACE",
        help="where the index is: a folder, or an address such as s3://bucket/index; default: one "
        "below .work/index for each folder",
    )
    parser.add_argument(
        "--rebuild",
        action="store_true",
        help="build the index at PLACE anew where it is damaged or another model's",
    )
    parser.add_argument(
        "--no-ocr", action="store_true", help="leave pages without text as they are"
    )
    parser.add_argument(
        "--engine",
        choices=["local", "ray"],
        default="local",
        help="who reads and encodes: this machine, or a Ray cluster (docs/scale.md)",
    )
    parser.add_argument(
        "--address", help="of the Ray cluster, such as auto; default: one on this machine"
    )
    parser.add_argument(
        "--actors",
        type=int,
        default=0,
        help="processes that encode on the Ray cluster; default: one for each GPU or two cores",
    )
    options = parser.parse_args(arguments)
    return exit_status(lambda: _index(options), log)


def _index(options: argparse.Namespace) -> int:
    """Do what the options say; the exit status."""
    check_models(options.models, rerank=False)
    place = options.index or store.default_place(Path(options.folder), Path())
    summary = _on_cluster(options, place) if options.engine == "ray" else _here(options)
    store.log_problems(place)
    log.info("%s: %s", place, summary)
    return 0


def _here(options: argparse.Namespace) -> Summary | None:
    """Index on this machine."""
    if is_address(options.folder) or options.address or options.actors:
        raise InputError("an address, --address and --actors are for --engine ray: add that")
    folder = Path(options.folder)
    list_files(folder, silent=True)  # a wrong folder is named before the models are opened
    from pagefinder.indexing.encoder import Encoder
    from pagefinder.indexing.updating import bring_up_to_date

    encoder = Encoder(options.models, ocr=not options.no_ocr)
    return bring_up_to_date(folder, encoder, Path(), options.index, rebuild=options.rebuild)


def _on_cluster(options: argparse.Namespace, place: str) -> Summary | None:
    """Index on a Ray cluster, whose machines see the folders by the same paths."""
    folder = options.folder
    if is_address(folder):
        listing = partial(list_address, folder)
    else:
        list_files(Path(folder), silent=True)  # a wrong one is named before the cluster starts
        listing, folder = partial(list_files, Path(folder)), str(Path(folder).resolve())
    from pagefinder.indexing import cluster, ray_engine
    from pagefinder.indexing.updating import update

    work = ray_engine.Work(
        folder, options.models.resolve(), not options.no_ocr, max(options.actors, 0)
    )
    rebuild = options.rebuild or options.index is None
    if not store.is_address(place):
        place = str(Path(place).resolve())
    with cluster.connected(options.address):
        return update(listing, ray_engine.engine(work), place, Path(), rebuild=rebuild)


if __name__ == "__main__":
    sys.exit(main())
