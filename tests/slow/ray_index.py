"""Index on a local Ray and note what is encoded: `ray_index.py FOLDER MODELS INDEX LOG [MOMENT]`.

At the moment `actor` the first actor kills itself in its third chunk, at `driver` the driver kills
itself behind its third commit. Fragments are put together as soon as there are more than four, and
Ray gets nine chunks at a time. The cluster's address is in RAY_CLUSTER; without it one starts here.
TASK_CHUNKS sets the chunks of a task.
"""

import os
import signal
import sys
from functools import partial
from pathlib import Path

from pagefinder.indexing import cluster, fragments, ray_engine
from pagefinder.indexing.encoder import Encoder
from pagefinder.indexing.files import list_files
from pagefinder.indexing.updating import update

FOLDER, MODELS, PLACE, LOG, MOMENT = (*sys.argv[1:], "")[:5]


class NotingEncoder(Encoder):
    """Writes a line with the chunk to LOG when its rows are made."""

    chunks = 0

    def rows(self, pages):
        self.chunks += 1
        killed = Path(LOG).with_suffix(".killed")
        if MOMENT == "actor" and self.chunks == 3 and not killed.exists():
            killed.write_text(f"{pages[0].chunk.file.path} {pages[0].row}")
            os.kill(os.getpid(), signal.SIGKILL)
        table = super().rows(pages)
        with Path(LOG).open("a") as log:
            log.write(f"{pages[0].chunk.file.path} {pages[0].row}\n")
        return table


def main() -> None:
    commit, commits = fragments.commit, []

    def deadly(*arguments: object) -> None:
        commit(*arguments)
        commits.append(arguments)
        if MOMENT == "driver" and len(commits) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    fragments.commit, fragments.COMMITS = deadly, 4
    ray_engine.ROUND = 9
    if "TASK_CHUNKS" in os.environ:
        size = int(os.environ["TASK_CHUNKS"])
        ray_engine.sizes = lambda chunks, cores: (size, size)
    work = ray_engine.Work(FOLDER, Path(MODELS), ocr=False, actors=2, encoder=NotingEncoder)
    with cluster.connected(os.environ.get("RAY_CLUSTER")):
        update(partial(list_files, Path(FOLDER)), ray_engine.engine(work), PLACE, Path())


if __name__ == "__main__":
    main()
