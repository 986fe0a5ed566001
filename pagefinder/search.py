"""Search pages with the released models: `python -m pagefinder.search "query" --pages FOLDER`.

A folder that is not indexed, or has changed since, is indexed first, as `pagefinder.index` does it;
without --pages the corpus of the last run is searched, or the index at --index as it is.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from pagefinder.commands import exit_status
from pagefinder.errors import InputError
from pagefinder.indexing.files import printable
from pagefinder.layout import RELEASE
from pagefinder.serving.search import (
    NO_ANSWER,
    Found,
    check_models,
    current_view,
    find,
    open_models,
    pages_folder,
)

log = logging.getLogger("pagefinder.search")  # also where it runs as __main__


def main(arguments: Sequence[str] | None = None) -> int:
    """Search as the command line says, and print rank, score and label of each page.

    Returns:
        The exit status: 1 after a user's mistake, which the log names.
    """
    parser = argparse.ArgumentParser(prog="python -m pagefinder.search", description=__doc__)
    parser.add_argument("query", help="the question")
    parser.add_argument("--pages", type=Path, help="folder of images and PDFs; default: last run's")
    parser.add_argument("--rerank", action="store_true", help="order the first pages once more")
    parser.add_argument(
        "--no-fusion",
        action="store_true",
        help="the embedder's or, with --rerank, the reranker's scores alone, without the words",
    )
    parser.add_argument(
        "--top", type=int, default=10, help="pages to print (10; at most 100 where fused)"
    )
    parser.add_argument("--models", type=Path, default=RELEASE, help="their folder")
    parser.add_argument("--index", metavar="PLACE", help="where the index is")
    parser.add_argument(
        "--no-ocr", action="store_true", help="leave pages without text as they are"
    )
    options = parser.parse_args(arguments)
    return exit_status(lambda: _search(options), log, again="next search")


def _search(options: argparse.Namespace) -> int:
    """Search and print as the options say; the exit status."""
    if options.top < 1 or not options.query.strip():
        raise InputError("give a query that is not empty, and --top of at least 1")
    if any("\ud800" <= c <= "\udfff" for c in options.query):
        raise InputError("the query is no text in the terminal's encoding: type it as UTF-8")
    found = _found(options)
    if not found.answered:
        log.warning(NO_ANSWER)
    for rank, hit in enumerate(found.hits, 1):
        sys.stdout.write(f"{rank:3d}  {hit.score:7.4f}  {printable(hit.label)}\n")
    sys.stdout.flush()
    return 0


def _found(options: argparse.Namespace) -> Found:
    """The pages that the options ask for."""
    # What is wrong is named before the models are opened.
    check_models(options.models, rerank=options.rerank)
    folder = pages_folder(options.pages, Path(), options.index)
    if folder is None and options.rerank:
        raise InputError("--rerank reads the pages' files: name their folder by --pages")
    models = open_models(options.models, rerank=options.rerank, ocr=not options.no_ocr)
    view = current_view(models.encoder, folder, Path(), options.index)
    return find(
        options.query,
        models,
        view,
        options.top,
        rerank=options.rerank,
        fusion=not options.no_fusion,
    )


if __name__ == "__main__":
    sys.exit(main())
