"""Index on many machines with Ray Data: `python -m pagefinder.index FOLDER --engine ray`.

Tasks on the cores read chunks of pages, actors encode them, one for each GPU, and tasks write the
rows as Lance fragments, which the driver commits. So a run that was killed goes on behind its last
commit. Ray starts a process that died again and gives it the chunk that it had. Chunks, reading and
encoder are those of the local engine, and so are the vectors.
"""

import logging
import math
import pickle
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from tqdm import tqdm

from pagefinder.errors import InputError
from pagefinder.indexing import fragments
from pagefinder.indexing.addresses import local_folder
from pagefinder.indexing.cluster import Resources, resources
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
# The driver takes some 30 ms of a core for a task, whatever is in it, so a task has several chunks
# where each core gets so many tasks all the same: none works long on the last one. They are what
# a killed process loses.
TASKS, LARGEST_TASK = 32, 16
# Chunks that are given to Ray at a time: it keeps some kilobytes of each on the driver. A million
# pages take so long that the models, which are opened anew then, do not matter.
ROUND = 65_536
COMMIT_SECONDS = 1.0  # between two commits, at least
COUNTS = 1000  # tasks at most that hash files
SHOWN = 10  # files in the log that the next run has to read
NOT_COPIED = "it cannot be copied"

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


def engine(work: Work) -> Engine:
    """The engine that works on the cluster at hand, see `connected`."""
    import ray

    # The model is opened where there is room for it, not on the driver.
    task = ray.remote(num_gpus=1 if resources().gpus else 0)(_describe)
    wanted, reading = ray.get(task.remote(work))
    return Engine(
        wanted,
        reading,
        partial(count_pages, work),
        partial(_encode, work=work, wanted=wanted, reading=reading),
        fragments.tidy_table,
    )


def _describe(work: Work) -> tuple[pa.Schema, Reading]:
    encoder = work.encoder(work.models, ocr=work.ocr)
    return encoder.schema, encoder.reading


def count_pages(work: Work, files: Sequence[File]) -> Iterator[list[Chunk]]:
    """Hash files and count their pages, each file on one machine: the chunks of each, in order."""
    if not files:
        return
    chunks = {}
    counted = _dataset(files, COUNTS).map_batches(
        partial(_count, folder=work.folder), batch_size=None, batch_format="pyarrow"
    )
    for row in tqdm(counted.iter_rows(), "hashing", total=len(files), unit="file", disable=None):
        parts: list[Chunk] = pickle.loads(row["item"])
        chunks[parts[0].file.path] = parts
    folder = Path(work.folder)
    for file in files:  # what came back has a copy of both for each chunk
        yield [replace(chunk, folder=folder, file=file) for chunk in chunks.pop(file.path)]


def _dataset(items: Sequence[object], tasks: int) -> "Dataset":
    """A Ray dataset with a row for each item, which so many tasks share."""
    import ray.data

    rows = [{"item": pickle.dumps(item)} for item in items]
    return ray.data.from_items(rows, override_num_blocks=min(tasks, len(rows)))


def _count(batch: pa.Table, folder: str) -> pa.Table:
    """The chunks of each file of a task; in processes of their own if Ray runs the task again."""
    files = [pickle.loads(item) for item in batch["item"].to_pylist()]
    count, crashed = partial(_chunks, folder), partial(_chunks, folder, crashed=True)
    parts = pool.run(count, files, crashed, isolate=True) if _is_retried() else map(count, files)
    return pa.table({"item": [pickle.dumps(part) for part in parts]})


def _chunks(folder: str, file: File, crashed: bool = False) -> list[Chunk]:
    """The chunks of a file; `crashed`: its reader crashes."""
    try:
        here = local_folder(folder, file)
        chunks = crashed_file(here, file) if crashed else file_chunks(here, file)
    except OSError as error:
        chunks = [Chunk(Path(folder), file, "", (0,), 1, f"{NOT_COPIED}: {error}")]
    return [replace(chunk, folder=Path(folder)) for chunk in chunks]


def _is_retried() -> bool:
    """Whether Ray runs this task once more, since the task killed its process."""
    import ray

    worker = ray._private.worker.global_worker.core_worker
    return bool(worker.get_current_task_attempt_number())


def _encode(
    table: "Table", plan: Plan, place: str, *, work: Work, wanted: pa.Schema, reading: Reading
) -> None:
    """Read, encode and commit the chunks of a plan on the cluster."""
    import lance

    uri = fragments.uri_of(place)
    total = sum(len(chunk.rows) for chunk in plan.chunks)
    pending: list[Any] = []
    committed = monotonic()
    with tqdm(total=total, desc="indexing", unit="page", disable=None) as progress:
        try:
            for row in _written(plan.chunks, uri, work, wanted, reading):
                pending += map(lance.FragmentMetadata.from_json, row["fragments"])
                for path, reason in zip(row["again"], row["reasons"], strict=True):
                    _note(path, reason, plan)
                plan.summary.encoded += row["pages"]
                progress.update(row["pages"])
                if monotonic() - committed > COMMIT_SECONDS:
                    fragments.commit(uri, pending, place)
                    committed = monotonic()
        finally:
            fragments.commit(uri, pending, place)
    if plan.chunks:
        table.checkout_latest()


def _written(
    chunks: Sequence[Chunk], uri: str, work: Work, wanted: pa.Schema, reading: Reading
) -> Iterator[Row]:
    """The rows of `fragments.write` for all chunks, as they come."""
    import ray.data

    has = resources()
    actors = work.actors or has.gpus or max(has.cores // 2, 1)
    task, fragment = sizes(len(chunks), has.cores)
    for start in range(0, len(chunks), ROUND):
        part = chunks[start : start + ROUND]
        rows = _dataset(part, math.ceil(len(part) / task))
        rows = rows.map(partial(_read, folder=work.folder, reading=reading))
        rows = rows.map(
            _Encode,
            fn_constructor_args=(work, wanted),
            compute=ray.data.ActorPoolStrategy(size=actors),
            **share(actors, has),
        )
        rows = rows.map_batches(
            partial(fragments.write, uri=uri),
            batch_size=fragment,
            batch_format="pyarrow",
            num_cpus=0,
        )
        yield from rows.iter_rows()


def sizes(chunks: int, cores: int) -> tuple[int, int]:
    """The chunks of a task, and those of a fragment, which whole tasks fill."""
    task = min(max(chunks // (TASKS * cores), 1), LARGEST_TASK)
    fragment = min(max(chunks // FRAGMENTS, 1), MOST)
    return task, math.ceil(fragment / task) * task


def share(actors: int, has: Resources) -> dict[str, float]:
    """What each of so many actors takes of a cluster, so that all of them find a place.

    On one machine at least a core is left to read. If an actor took what a task takes, Ray would
    let it read its chunks itself, one after another.
    """
    if has.gpus:
        # A share of a GPU lies on one GPU: it is what the fullest one leaves to each.
        return {"num_gpus": 1 / math.ceil(actors / has.gpus)}
    return {"num_cpus": min(max(has.cores - has.nodes, 0) / actors, 0.9)}


def _read(row: Row, folder: str, reading: Reading) -> Row:
    """The pages of a chunk; in a process of its own if Ray runs the task again."""
    chunk: Chunk = pickle.loads(row["item"])
    try:
        chunk = replace(chunk, folder=local_folder(folder, chunk.file))
    except OSError as error:
        return {"item": pickle.dumps(crashed_chunk(chunk, f"{NOT_COPIED}: {error}"))}
    read = partial(read_chunk, reading)
    if _is_retried():
        apart = pool.run(read, [chunk], partial(read_each, reading), isolate=True)
        return {"item": pickle.dumps(next(apart))}
    return {"item": pickle.dumps(read(chunk))}


class _Encode:
    """An actor with the model, which makes the rows of a chunk."""

    def __init__(self, work: Work, wanted: pa.Schema) -> None:
        self.encoder = work.encoder(work.models, ocr=work.ocr)
        if not self.encoder.schema.equals(wanted, check_metadata=True):
            raise InputError(
                f"{work.models} on {socket.gethostname()} holds another model than on the machine "
                "that was asked first: let all machines see the same folder"
            )

    def __call__(self, row: Row) -> Row:
        pages: list[Page] = pickle.loads(row["item"])
        again = next((p.problem for p in pages if p.problem and _is_postponed(p.problem)), "")
        if again:
            path = pages[0].chunk.file.path
            return {"rows": b"", "pages": len(pages), "again": path, "reason": again}
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.encoder.schema) as stream:
            stream.write_table(self.encoder.rows(pages))
        rows = sink.getvalue().to_pybytes()
        return {"rows": rows, "pages": len(pages), "again": "", "reason": ""}


def _is_postponed(problem: str) -> bool:
    """Whether a page with a problem is left to the next run."""
    return problem.startswith((CHANGED, NOT_COPIED))


def _note(path: str, reason: str, plan: Plan) -> None:
    """Note that the next run has to read a file; a line in the log for the first ones."""
    if path not in plan.summary.again:
        plan.summary.again.append(path)
        if len(plan.summary.again) <= SHOWN:
            log.warning("%s: %s: the next run reads it", path, " ".join(reason.split()))
