"""Pages a second and memory of both engines of the index, on drawn PDFs; one JSON line each.

    python -m benchmarks.engines [--pages 500] [--models nano/models] [--engines local "ray 2"]
    python -m benchmarks.engines --memory [--pages 1000 10000 100000]
    python -m benchmarks.engines --reading FOLDER

Each engine indexes the same pages in a fresh process, with one thread for each process; the number
behind ray is that of its actors. `opening` are the seconds until it has opened the model, Ray's
start among them, `waiting` those from there until its first chunk is encoded, and `pages/s` are
those from the first chunk to the last: what many pages come to. `share` is that rate by the one of
the first engine, whose rows it compares with its own to the bit. `seconds` are all behind opening,
`cpu` the seconds of a core that all processes took, which other work on the machine hardly changes.

With --memory a stub takes the place of the model, since the encoder's memory does not depend on the
number of pages, and pages are small. The figures are the MiB at the peak of the process that was
started and of all processes together, shared memory counted once (PSS, Linux only).

With --reading the files of a folder are read as for a model of page images at 360,000 pixels,
without OCR: the seconds of a core for each page.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pyarrow as pa
from PIL import Image, ImageDraw

from pagefinder.indexing import cluster, ray_engine, store
from pagefinder.indexing.encoder import Encoder
from pagefinder.indexing.files import file_chunks, list_files
from pagefinder.indexing.reading import Page, Reading, read_chunk
from pagefinder.indexing.schema import page_schema
from pagefinder.indexing.updating import bring_up_to_date, update
from pagefinder.params import Pixels

ROOT = Path(__file__).parents[1]
A4, SMALL = (595, 842), (40, 30)  # points
FILE_PAGES = 50
STUB = "stub"
TIMES = "BENCHMARK_TIMES"  # variable with the file of the times at which chunks were encoded


class TimedEncoder(Encoder):
    """Notes when the rows of a chunk were made, in whichever process."""

    def rows(self, pages: Sequence[Page]) -> pa.Table:
        """See `Encoder.rows`."""
        table = super().rows(pages)
        if TIMES in os.environ:
            with Path(os.environ[TIMES]).open("a") as file:
                file.write(f"{time.time()} {len(pages)}\n")
        return table


class StubEncoder(TimedEncoder):
    """Makes rows with vectors of 512 numbers that no model computed."""

    def __init__(self, models: Path, *, ocr: bool = True) -> None:
        self.model = SimpleNamespace(encode_document=vectors)
        self.model_hash, self.page_content = STUB, "image"
        self.schema = page_schema(512, STUB)
        self.reading = Reading(Pixels(min=1, max=90_000, multiple=1), "image", ocr=False)


def vectors(pages: list[Image.Image], **_: object) -> np.ndarray:
    """A unit vector for each page, by its first pixel."""
    return np.eye(512, dtype=np.float32)[[sum(page.getpixel((0, 0))) % 512 for page in pages]]


def write_pdfs(folder: Path, pages: int, size: tuple[int, int]) -> None:
    """PDFs of FILE_PAGES pages with lines of text; they differ in a comment behind their end."""
    images = []
    for number in range(FILE_PAGES):
        image = Image.new("L", size, "white")
        draw = ImageDraw.Draw(image)
        for line in range(size[1] // 14 - 2):
            draw.text((20, 14 * line + 14), f"{number} {line} quarterly report", fill="black")
        images.append(image)
    images[0].save(folder / "first.pdf", save_all=True, append_images=images[1:])
    content = (folder / "first.pdf").read_bytes()
    (folder / "first.pdf").unlink()
    for number in range(pages // FILE_PAGES):
        (folder / f"{number:07}.pdf").write_bytes(content + f"\n% {number}\n".encode())


def index(engine: str, folder: Path, place: str, models: str) -> dict[str, float]:
    """Index the folder in this process; seconds of opening, and of all behind it."""
    encoder = StubEncoder if models == STUB else TimedEncoder
    started = time.time()
    if engine == "local":
        opened = encoder(Path(models), ocr=False)
        opening = time.time() - started
        bring_up_to_date(folder, opened, Path(), place)
    else:
        actors = int(engine.removeprefix("ray "))
        work = ray_engine.Work(str(folder), Path(models), False, actors, encoder)
        with cluster.connected(None):
            wanted = ray_engine.engine(work)
            opening = time.time() - started
            update(partial(list_files, folder), wanted, place, Path())
    found = {"opening": opening, "seconds": time.time() - started - opening}
    times = [line.split() for line in Path(os.environ[TIMES]).read_text().splitlines()]
    times.sort()
    first, last = float(times[0][0]), float(times[-1][0])
    pages = sum(int(count) for _, count in times[1:])
    found |= {"waiting": first - started - opening}
    return found | ({"rate": pages / (last - first)} if last > first else {})


def measured(engine: str, folder: Path, place: Path, models: str) -> dict[str, float]:
    """What `index` says in a process of its own, and that process's memory at its peak, in MiB."""
    command = [sys.executable, "-m", "benchmarks.engines", "--child", engine]
    command += ["--folder", str(folder), "--place", str(place), "--models", models]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "RAY_worker_niceness": "0",  # as the local engine
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "RAY_USAGE_STATS_ENABLED": "0",
        TIMES: f"{place}.times",
    }
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    alone = together = 0
    busy: dict[int, float] = {}
    while child.poll() is None:
        sizes = shares(child.pid)
        alone, together = max(alone, sizes[0]), max(together, sum(sizes))
        busy |= cpu_seconds(child.pid)
        time.sleep(1)
    assert child.stdout is not None
    said = json.loads(child.stdout.read().splitlines()[-1])
    memory = {"process_mib": alone >> 20, "all_mib": together >> 20}
    return said | {"cpu": sum(busy.values()), "command cpu": busy.get(child.pid, 0)} | memory


def family(pid: int) -> list[psutil.Process]:
    """A process and all below it."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(pid: int) -> dict[int, float]:
    """The seconds that a process and each below it took of a core, by their numbers."""
    found = {}
    for process in family(pid):
        with contextlib.suppress(psutil.Error):
            found[process.pid] = sum(process.cpu_times()[:2])
    return found


def shares(pid: int) -> list[int]:
    """The bytes of a process and of each below it, what they share counted once."""
    sizes = []
    for process in family(pid):
        try:
            sizes.append(process.memory_full_info().pss)
        except (psutil.Error, FileNotFoundError):
            sizes.append(0)
    return sizes or [0]


def rows(place: Path) -> object:
    """The rows of an index, sorted, without the times of the files."""
    table = store.open_table(str(place))
    assert table is not None
    content = table.to_arrow().drop_columns("modified")
    return content.sort_by([("path", "ascending"), ("row", "ascending")]).combine_chunks()


def read(folder: Path) -> None:
    """Print the seconds of a core that reading a page of a folder's files takes."""
    reading = Reading(Pixels(min=4096, max=360_000, multiple=32), "image", ocr=False)
    files = list_files(folder).files
    chunks = [chunk for file in files for chunk in file_chunks(folder, file)]
    started, pages = time.process_time(), 0
    for chunk in chunks:
        pages += sum(page.problem is None for page in read_chunk(reading, chunk))
    seconds = (time.process_time() - started) / pages
    print(json.dumps({"files": len(files), "pages": pages, "seconds a page": round(seconds, 4)}))


def compare(pages: int, engines: list[str], models: str, size: tuple[int, int]) -> None:
    """Print a line for each engine."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "pages"
        folder.mkdir()
        write_pdfs(folder, pages, size)
        first = rates = None
        for engine in engines:
            place = Path(scratch) / engine.replace(" ", "-")
            result = measured(engine, folder, place, models)
            rate = result.pop("rate", pages / result["seconds"])
            first, rates = first or place, rates or rate
            line = {"pages": pages, "engine": engine, "same": rows(place).equals(rows(first))}
            line |= {"pages/s": round(rate, 2), "share": round(rate / rates, 2)}
            print(
                json.dumps(line | {key: round(value, 1) for key, value in result.items()}),
                flush=True,
            )


def main() -> None:
    """Print one JSON line for each number of pages and engine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pages", type=int, nargs="+", help="default: 500; 1k to 100k of memory")
    parser.add_argument("--models", default=str(ROOT / "nano/models"), help="a release's folder")
    parser.add_argument("--engines", nargs="+", default=["local", "ray 1", "ray 2"])
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--reading", type=Path, metavar="FOLDER", help="of PDFs and images")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--place", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(index(options.child, options.folder, options.place, options.models)))
        return
    if options.reading:
        read(options.reading)
        return
    for pages in options.pages or ([1000, 10_000, 100_000] if options.memory else [500]):
        models, size = (STUB, SMALL) if options.memory else (options.models, A4)
        compare(pages, options.engines, models, size)


if __name__ == "__main__":
    main()
