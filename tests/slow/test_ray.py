"""The Ray engine on this machine: the local engine's vectors, and what a kill costs."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image
from sources import write_pdf
from test_dvc import documented

from pagefinder.indexing import store, tidying

pytest.importorskip("ray")
pytest.importorskip("lance")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
MODELS = str(ROOT / "nano/models")
# Sums depend on the number of threads, and Ray gives each of its processes one.
ENVIRONMENT = os.environ | {
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # or other work on the machine starves them
}
PAGES = 40  # of each report: chunks of 16, 16 and 8
CHUNKS = 4 * 3 + 3 + 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four reports, three pictures and two broken PDFs, and their index by the local engine."""
    root = tmp_path_factory.mktemp("ray")
    (root / "pages/more").mkdir(parents=True)
    for number in range(4):
        texts = [[f"report {number}", f"page {page}"] for page in range(PAGES)]
        write_pdf(root / f"pages/report {number}.pdf", texts)
    for number in range(3):
        Image.new("RGB", (320, 200), (0, 80 * number, 40)).save(root / f"pages/more/{number}.png")
    (root / "pages/broken.pdf").write_bytes(b"%PDF-1.4 and no more")
    whole = (root / "pages/report 1.pdf").read_bytes()
    (root / "pages/cut.pdf").write_bytes(whole[: len(whole) // 3])
    index(root, "local")
    return root


def run(root: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python in `root`, with more variables in its environment."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env=ENVIRONMENT | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )


def index(root: Path, place: str, *options: str) -> str:
    """Index the folder by the command; what it printed."""
    command = ["-m", "pagefinder.index", "pages", "--models", MODELS, "--index", place]
    done = run(root, *command, "--no-ocr", *options)
    assert done.returncode == 0, done.stdout
    return done.stdout


def noted(root: Path, place: str, moment: str = "", **variables: str) -> tuple[int, str, list[str]]:
    """Index by ray_index.py: its exit status, its output, and the chunks that it encoded."""
    # Not the log of a driver that was killed: its actors go on for a moment.
    log = root / f"{place} {moment}.log"
    script = str(Path(__file__).with_name("ray_index.py"))
    # A cluster's processes run in another folder.
    paths = [str(root / "pages"), MODELS, str(root / place), str(log)]
    done = run(root, script, *paths, moment, **variables)
    return done.returncode, done.stdout, log.read_text().splitlines()


def content(root: Path, place: str) -> pa.Table:
    """The rows of an index, sorted."""
    rows = store.open_table(str(root / place)).to_arrow()
    return rows.sort_by([("path", "ascending"), ("row", "ascending")]).combine_chunks()


def test_two_actors_make_the_index_of_the_local_engine(folder, monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    said = documented(
        folder,
        "python -m pagefinder.index FOLDER --engine ray --index INDEX",
        upto=f"--actors 2 --no-ocr --models {MODELS}",
        FOLDER="pages",
        INDEX="cluster",
    )
    assert "broken.pdf, page 1 is passed over: unreadable PDF" in said
    assert "cut.pdf, page 1 is passed over: unreadable PDF" in said
    assert "constructor arguments" not in said  # Ray's own lines
    rows = content(folder, "cluster")
    assert rows.num_rows == 4 * PAGES + 3 + 2
    assert rows["vector"].null_count == 2
    assert rows.equals(content(folder, "local"), check_metadata=True)  # vectors to the bit
    assert index(folder, "cluster", "--engine", "ray").strip().endswith("; 0 pages read")


def test_an_actor_that_dies_costs_its_chunk(folder):
    status, said, chunks = noted(folder, "actor", "actor")
    assert status == 0, said
    # What it had in hand was not encoded, and everything was encoded once.
    assert (folder / "actor actor.killed").read_text() in chunks
    assert len(chunks) == len(set(chunks)) == CHUNKS
    table = store.open_table(str(folder / "actor"))
    assert table.stats()["fragment_stats"]["num_fragments"] == 1  # put together
    assert content(folder, "actor").equals(content(folder, "local"), check_metadata=True)


def test_an_actor_that_dies_costs_the_chunks_of_its_task(folder):
    status, said, chunks = noted(folder, "task", "actor", TASK_CHUNKS="3")
    assert status == 0, said
    assert (folder / "task actor.killed").read_text() in chunks
    assert len(set(chunks)) == CHUNKS
    assert len(chunks) <= CHUNKS + 2
    assert content(folder, "task").equals(content(folder, "local"), check_metadata=True)


def test_a_driver_that_dies_goes_on_behind_its_last_commit(folder):
    check_killed_driver(folder, "driver")


def check_killed_driver(folder: Path, place: str, **variables: str) -> None:
    """A driver that is killed and started again loses nothing, and repeats what was at hand."""
    status, said, before = noted(folder, place, "driver", **variables)
    assert status == -signal.SIGKILL, said
    rows = content(folder, place).select(["path", "row"]).to_pylist()
    committed = {f"{row['path']} {row['row']}" for row in rows if row["row"] % 16 == 0}
    assert 0 < len(committed) < CHUNKS
    status, said, chunks = noted(folder, place, **variables)
    assert status == 0, said
    assert committed.isdisjoint(chunks)
    assert len(chunks) == len(set(chunks)) == CHUNKS - len(committed)
    # Beside what was on its way from each actor, nothing was encoded twice.
    assert len(set(before) & set(chunks)) <= 4
    assert content(folder, place).equals(content(folder, "local"), check_metadata=True)


TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a-token-of-the-tests-" + 20 * "x"}


@pytest.fixture(scope="module")
def address(folder):
    """Of a cluster that another command started, and that asks for a token."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    scratch = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # names of sockets are short
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    command += [f"--port={port}", "--node-ip-address=127.0.0.1", "--num-cpus=2"]
    command += ["--object-store-memory=200000000", "--include-dashboard=false"]
    with (folder / "head.log").open("w") as log:
        head = subprocess.Popen(
            [*command, f"--temp-dir={scratch}"], env=ENVIRONMENT | TOKEN, stdout=log, stderr=log
        )
    while "Ray runtime started" not in (folder / "head.log").read_text():
        assert head.poll() is None, (folder / "head.log").read_text()
        time.sleep(1)
    yield f"127.0.0.1:{port}"
    head.terminate()  # it ends what it started
    head.wait(60)
    shutil.rmtree(scratch, ignore_errors=True)


def test_a_cluster_that_runs_already(folder, address):
    command = ["-m", "pagefinder.index", "pages", "--models", MODELS, "--index", "elsewhere"]
    command += ["--no-ocr", "--engine", "ray", "--address", address]
    done = run(folder, *command, **TOKEN)
    assert done.returncode == 0, done.stdout
    assert content(folder, "elsewhere").equals(content(folder, "local"), check_metadata=True)
    assert run(folder, *command, **TOKEN).stdout.strip().endswith("; 0 pages read")

    def error(*interpreter: str, **variables: str) -> str:
        done = run(folder, *interpreter, *command[1:], **variables)
        assert done.returncode == 1, done.stdout
        # Ray has lines of its own about what went wrong.
        (line,) = [line for line in done.stdout.splitlines() if "pagefinder.index: error" in line]
        return line

    assert "If it asks for its token, set RAY_AUTH_MODE=token" in error(
        "-m", RAY_AUTH_MODE="disabled"
    )
    (folder / "older.py").write_text(
        "import ray, runpy\nray.__version__ = '2.40.0'\n"
        "runpy.run_module('pagefinder.index', run_name='__main__')\n"
    )
    del command[1]
    line = error("older.py", **TOKEN)
    assert "has another Ray or Python than this machine" in line
    assert "Ray: 2.40.0" in line


def test_a_killed_driver_of_a_cluster_that_goes_on(folder, address):
    check_killed_driver(folder, "elsewhere-driver", **TOKEN, RAY_CLUSTER=address)


def test_what_fails_on_the_cluster_is_one_line(folder):
    script = """
from pathlib import Path
from pagefinder.errors import InputError
from pagefinder.indexing import cluster, ray_engine
from pagefinder.indexing.encoder import Encoder
from pagefinder.indexing.files import list_files
from pagefinder.indexing.updating import update

class Encoder(Encoder):
    def __init__(self, models, *, ocr):
        super().__init__(models, ocr=ocr)
        if Path("asked").exists():
            raise OSError("no such folder here")
        Path("asked").touch()

def die(work):
    raise InputError("a line")

if __name__ == "__main__":
    work = ray_engine.Work(str(Path("pages").resolve()), Path(MODELS), False, 2, Encoder)
    for describe in (ray_engine._describe, die):
        ray_engine._describe = describe
        try:
            with cluster.connected(None):
                update(lambda: list_files(Path("pages")), ray_engine.engine(work), "failed", Path())
        except InputError as error:
            print(f"error: {error}")
"""
    (folder / "fails.py").write_text(script.replace("MODELS", repr(MODELS)))
    lines = run(folder, "fails.py").stdout.splitlines()
    told = [line for line in lines if line.startswith("error: ")]
    assert len(told) == 2, lines
    assert "OSError: no such folder here" in told[0]
    assert told[1] == "error: on the cluster: a line"


def test_a_file_that_kills_its_reader_is_read_in_a_process_of_its_own(folder):
    script = """
import os, signal
from pathlib import Path
from pagefinder.indexing import cluster, ray_engine
from pagefinder.indexing.files import list_files

ray_engine_count = ray_engine._count

def count(batch, folder):
    def die(here, file):
        os.kill(os.getpid(), signal.SIGKILL)

    ray_engine.file_chunks = die  # in this process, and in none that it starts
    return ray_engine_count(batch, folder)

if __name__ == "__main__":
    ray_engine._count = count
    with cluster.connected(None):
        files = list_files(Path("pages")).files
        parts = list(ray_engine.count_pages(ray_engine.Work("pages", Path(), False), files))
    print([(parts[0].file.path, parts[0].total) for parts in parts])
"""
    (folder / "die.py").write_text(script)
    done = run(folder, "die.py")
    counts = [("broken.pdf", 1), ("cut.pdf", 1), *((f"more/{n}.png", 1) for n in range(3))]
    counts += [(f"report {number}.pdf", PAGES) for number in range(4)]
    assert str(counts) in done.stdout, done.stdout


def test_dvc_tracks_an_index_by_its_manifest(folder, monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    repository, place = folder / "repository", folder / "tracked"
    shutil.copytree(folder / "local", place)
    repository.mkdir()
    for setting in ("init -q", "config user.name test", "config user.email test@example.org"):
        run_in(repository, f"git {setting}")
    run_in(repository, "dvc init -q")

    def track() -> str:
        said = documented(repository, "python -m tools.manifest INDEX index.json", INDEX=place)
        documented(repository, "dvc add index.json")
        run_in(repository, "git add -A && git commit -qm index")
        return said

    whole = content(folder, "tracked")
    assert f": {whole.num_rows} pages, " in track()
    table = store.open_table(str(place))
    store.remove(table, ["path LIKE 'more/%'"], str(place))
    table.optimize(cleanup_older_than=tidying.TAGGED_KEPT)
    assert f": {whole.num_rows - 3} pages, " in track()
    run_in(repository, "git checkout -q HEAD~1 && dvc checkout -q")
    said = documented(repository, "python -m tools.manifest INDEX index.json --check", INDEX=place)
    assert f": {whole.num_rows} pages, " in said
    documented(repository, "python -m tools.manifest INDEX index.json --restore", INDEX=place)
    assert content(folder, "tracked").equals(whole, check_metadata=True)
    for path in (place / "pages.lance/data").iterdir():
        path.unlink()
    command = f"python -m tools.manifest {place} index.json --check"
    said = run_in(repository, command, status=1)
    assert "files of version" in said


def run_in(repository: Path, command: str, status: int = 0) -> str:
    """Run a line of the shell in a folder; what it printed."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=repository,
        env=ENVIRONMENT
        | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == status, done.stdout
    return done.stdout
