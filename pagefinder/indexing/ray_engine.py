"""Index on many machines with Ray Data: `python -m pagefinder.index FOLDER --engine ray`.

Tasks on the cores read chunks of pages, actors encode them, one for each GPU, and tasks write the
rows as Lance fragments, which the driver commits. So a run that was killed goes on behind its last
commit. Ray starts a process that died again and gives it the chunk that it had. Chunks, reading and
encoder are those of the local engine, and so are the vectors.
"""

import contextlib
import importlib.util
import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
from tqdm import tqdm

from pagefinder.errors import InputError
from pagefinder.indexing import fragments
from pagefinder.indexing.addresses import local_folder
from pagefinder.indexing.encoder import Encoder
from pagefinder.indexing.files import CHANGED, Chunk, File, crashed_file, file_chunks
from pagefinder.indexing.planning import Plan
from pagefinder.indexing.reading import Page, Reading, crashed_chunk, read_chunk, read_each
from pagefinder.indexing.updating import Engine
from pagefinder.runtime import pool

if TYPE_CHECKING:
    from lancedb.table import Table
    from ray.data import Dataset

log = logging.getLogger(__name__)

# An update writes so many fragments at most, as long as none holds more than MOST chunks: the table
# stays quick to open, and a killed driver loses little beside the chunks at hand.
FRAGMENTS, MOST = 1000, 1024
COMMIT_SECONDS = 1.0  # between two commits, at least
COUNTS = 1000  # tasks at most that hash files

Task = TypeVar("Task")
Result = TypeVar("Result")
Row = dict[str, Any]  # of a Ray dataset


@dataclass(frozen=True)
class Work:
    """What the machines of a cluster have to know.

    Attributes:
        folder: Of the files, as every machine sees it, or their address.
        models: The release's folder, as every machine sees it.
        ocr: See `Encoder`.
        actors: Processes that encode; 0: one for each GPU or, without any, for two cores.
        encoder: Opens the embedder of the release.
    """

    folder: str
    models: Path
    ocr: bool
    actors: int = 0
    encoder: type[Encoder] = Encoder


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Use the Ray cluster at an address within the block; None: one on this machine.

    Raises:
        InputError: the extra `ray` is not installed, or there is no cluster at the address.
    """
    for name in ("ray", "lance"):
        if importlib.util.find_spec(name) is None:
            raise InputError(f"--engine ray needs {name}: pip install 'pagefinder[ray]'")
    import ray.data

    # On few cores Ray would end a process that idles for a second, and start it again for the next.
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", "60000")
    here = {} if address else {"include_dashboard": False}
    try:
        ray.init(address or "local", logging_level=logging.WARNING, log_to_driver=False, **here)
    except (ConnectionError, RuntimeError, ValueError) as error:
        words = " ".join(str(error).split())[:200]
        raise InputError(f"no Ray cluster answers at --address {address!r}: {words}") from error
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield
    finally:
        ray.shutdown()


def engine(work: Work) -> Engine:
    """The engine that works on the cluster at hand, see `connected`."""
    import ray

    # The model is opened where there is room for it, not on the driver.
    task = ray.remote(num_gpus=1 if _resources()[0] else 0)(_describe)
    wanted, reading = ray.get(task.remote(work))
    return Engine(
        wanted,
        reading,
        partial(count_pages, work),
        partial(_encode, work=work, reading=reading),
        fragments.tidy_table,
    )


def _resources() -> tuple[int, int]:
    """The GPUs and the cores of the cluster."""
    import ray

    total = ray.cluster_resources()
    return int(total.get("GPU", 0)), int(total.get("CPU", 1))


def _describe(work: Work) -> tuple[pa.Schema, Reading]:
    encoder = work.encoder(work.models, ocr=work.ocr)
    return encoder.schema, encoder.reading


def count_pages(work: Work, files: Sequence[File]) -> Iterator[list[Chunk]]:
    """Hash files and count their pages, each file on one machine: the chunks of each, in order."""
    chunks = {}
    rows = (
        _dataset(files, COUNTS).map(partial(_count, folder=work.folder)).iter_rows()
        if files
        else []
    )
    for row in tqdm(rows, "hashing", total=len(files), unit="file", disable=None):
        parts: list[Chunk] = pickle.loads(row["item"])
        chunks[parts[0].file.path] = parts
    yield from (chunks[file.path] for file in files)


def _dataset(items: Sequence[object], tasks: int) -> "Dataset":
    """A Ray dataset with a row for each item, which so many tasks share."""
    import ray.data

    rows = [{"item": pickle.dumps(item)} for item in items]
    return ray.data.from_items(rows, override_num_blocks=min(tasks, len(rows)))


def _count(row: Row, folder: str) -> Row:
    file: File = pickle.loads(row["item"])
    try:
        here = local_folder(folder, file)
        chunks = _isolated(partial(file_chunks, here), file, partial(crashed_file, here))
    except OSError:
        chunks = [Chunk(Path(folder), file, "", (0,), 1, CHANGED)]
    return {"item": pickle.dumps([replace(chunk, folder=Path(folder)) for chunk in chunks])}


def _isolated(
    function: Callable[[Task], Result], task: Task, crashed: Callable[[Task], Result]
) -> Result:
    """Do a task; in a process of its own if Ray runs it again, since it killed the first one."""
    import ray

    if not ray._private.worker.global_worker.core_worker.get_current_task_attempt_number():
        return function(task)
    return next(pool.run(function, [task], crashed, isolate=True))


def _encode(table: "Table", plan: Plan, place: str, *, work: Work, reading: Reading) -> None:
    """Read, encode and commit the chunks of a plan on the cluster."""
    import lance

    if not plan.chunks:
        return
    uri = fragments.uri_of(place)
    rows = _dataset(plan.chunks, len(plan.chunks)).map(
        partial(_read, folder=work.folder, reading=reading)
    )
    rows = rows.map(_Encode, fn_constructor_args=(work,), **_actors(work))
    rows = rows.map_batches(
        partial(fragments.write, uri=uri),
        batch_size=min(max(len(plan.chunks) // FRAGMENTS, 1), MOST),
        batch_format="pyarrow",
        num_cpus=0,
    )
    total = sum(len(chunk.rows) for chunk in plan.chunks)
    pending: list[Any] = []
    committed = monotonic()
    with tqdm(total=total, desc="indexing", unit="page", disable=None) as progress:
        try:
            for row in rows.iter_rows():
                pending += map(lance.FragmentMetadata.from_json, row["fragments"])
                for path in row["changed"]:
                    _note(path, plan)
                plan.summary.encoded += row["pages"]
                progress.update(row["pages"])
                if monotonic() - committed > COMMIT_SECONDS:
                    fragments.commit(uri, pending, place)
                    committed = monotonic()
        finally:
            fragments.commit(uri, pending, place)
    table.checkout_latest()


def _actors(work: Work) -> dict[str, Any]:
    """The number of actors and what each takes, as arguments of `map`; a core is left to read.

    If an actor took what a task takes, Ray would let it read its chunks itself, one after another.
    """
    import ray.data

    gpus, cores = _resources()
    count = work.actors or gpus or max(cores // 2, 1)
    share = (
        {"num_gpus": min(gpus / count, 1)} if gpus else {"num_cpus": min((cores - 1) / count, 0.9)}
    )
    return {"compute": ray.data.ActorPoolStrategy(size=count), **share}


def _read(row: Row, folder: str, reading: Reading) -> Row:
    chunk: Chunk = pickle.loads(row["item"])
    try:
        chunk = replace(chunk, folder=local_folder(folder, chunk.file))
        pages = _isolated(partial(read_chunk, reading), chunk, partial(read_each, reading))
    except OSError:
        pages = crashed_chunk(chunk, CHANGED)
    return {"item": pickle.dumps(pages)}


class _Encode:
    """An actor with the model, which makes the rows of a chunk."""

    def __init__(self, work: Work) -> None:
        self.encoder = work.encoder(work.models, ocr=work.ocr)

    def __call__(self, row: Row) -> Row:
        pages: list[Page] = pickle.loads(row["item"])
        if any(page.problem == CHANGED for page in pages):
            return {"rows": b"", "pages": len(pages), "changed": pages[0].chunk.file.path}
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.encoder.schema) as stream:
            stream.write_table(self.encoder.rows(pages))
        return {"rows": sink.getvalue().to_pybytes(), "pages": len(pages), "changed": ""}


def _note(path: str, plan: Plan) -> None:
    """Note that a file changed, or went, while it was read."""
    if path not in plan.summary.again:
        log.warning("%s changed while it was read: the next run reads it", path)
        plan.summary.again.append(path)
