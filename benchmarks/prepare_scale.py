"""Pages per second and peak memory of download and prepare, on a table of many small pages.

Run it as `python -m benchmarks.prepare_scale [--pages 100000] [--kill]`. The ratio compares both
stages with the least they could do in one process: decode every page and encode it again.
"""

import argparse
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image, ImageDraw

import stages
from pagefinder.data import pixels
from pagefinder.sources import table

ROOT = Path(__file__).parents[1]
SIZE = (128, 160)
CHUNK = 500


def draw(number: int) -> Image.Image:
    """A page of words on white that no other page has."""
    image = Image.new("RGB", SIZE, "white")
    pen = ImageDraw.Draw(image)
    rng = np.random.default_rng(number)
    for row in range(10):
        pen.text((6, 4 + 15 * row), "".join(map(chr, rng.integers(97, 123, 18))), "black")
    pen.text((80, 148), str(number), "black")
    return image


def write_table(path: Path, count: int) -> float:
    """A Parquet table with a query and a page a row; returns the reference's pages per second."""
    schema = table.ROWS_SCHEMA
    seconds = 0.0
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, count, CHUNK):
            images = [
                pixels.encode_png(draw(number))
                for number in range(start, min(start + CHUNK, count))
            ]
            if start < 10 * CHUNK:
                began = time.perf_counter()
                for data in images:
                    pixels.encode_png(pixels.decode(data))
                seconds += time.perf_counter() - began
            rows = [
                {
                    "query": f"question {start + place}",
                    "image": [data],
                    "document_id": f"document {(start + place) // 20}",
                    "page_number": (start + place) % 20 + 1,
                    "text": f"words of page {start + place} " * 5,
                }
                for place, data in enumerate(images)
            ]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    return min(count, 10 * CHUNK) / seconds


def run(stage: str, root: Path, kill_after: float | None = None) -> tuple[float, float]:
    """Seconds of a stage and the peak memory of all its processes together, in MiB."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", *stages.command(stage)],
        cwd=root,
        env=environment,
        start_new_session=True,
    )
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            peak[0] = max(peak[0], resident(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        process.wait(kill_after)
        if process.returncode:
            raise SystemExit(f"{stage} failed")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    finally:
        done.set()
        watcher.join()
    return time.perf_counter() - began, peak[0]


def resident(session: int) -> float:
    """Memory of all processes of a session, MiB; pages mapped from files count where they are."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rsplit(")", 1)[1].split()[3]) == session:
                total += int((folder / "statm").read_text().split()[1])
        except (OSError, IndexError, ValueError):
            continue
    return total * resource.getpagesize() / 2**20


def main() -> None:
    """Draw the table, run both stages, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, default=100_000)
    parser.add_argument("--kill", action="store_true", help="kill each stage once, then rerun it")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="prepare-scale-"))
    try:
        (root / "raw").mkdir()
        content = yaml.safe_load((ROOT / "params.yaml").read_text())
        content |= {"profile": "cpu", "input": "raw"}
        content["profiles"]["cpu"]["data"]["source"] = "table"
        (root / "params.yaml").write_text(yaml.safe_dump(content))
        reference = write_table(root / "raw" / "pages.parquet", options.pages)
        print(f"reference (decode and encode, one process): {reference:.0f} pages/s")
        total = 0.0
        for stage in ("download", "prepare"):
            if options.kill:
                run(stage, root, kill_after=15)
                count = len(list((root / ".work").glob(f"{stage}-*/pages-*.arrow")))
                print(f"{stage}: killed after 15 s, {count} files are kept")
            seconds, peak = run(stage, root)
            total += seconds
            print(
                f"{stage}: {options.pages / seconds:.0f} pages/s ({seconds:.0f} s),"
                f" peak {peak:.0f} MiB"
            )
        rate = options.pages / total
        print(f"both: {rate:.0f} pages/s, {rate / reference:.2f} of the reference")
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
