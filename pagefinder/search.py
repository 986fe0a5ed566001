"""Search pages with the released models: `python -m pagefinder.search "query" --pages FOLDER`.

The vectors of a folder of images and PDFs are kept under .work/index, so that only the first search
waits for them; without --pages the corpus of the last run is searched.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from pagefinder.errors import InputError
from pagefinder.layout import RELEASE
from pagefinder.runtime import running
from pagefinder.serving.search import search

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
    options = parser.parse_args(arguments)
    running.configure_logging()
    try:
        if options.top < 1 or not options.query.strip():
            raise InputError("give a query that is not empty, and --top of at least 1")
        ranking = search(
            options.query,
            options.models,
            options.pages,
            options.top,
            rerank=options.rerank,
            fusion=not options.no_fusion,
        )
    except InputError as error:
        log.error("error: %s", error)
        return 1
    for rank, (score, label) in enumerate(ranking, 1):
        sys.stdout.write(f"{rank:3d}  {score:7.4f}  {label}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
