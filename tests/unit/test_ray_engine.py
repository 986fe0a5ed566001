"""What the engine for clusters does and says where no Ray is needed, or where it is missing."""

import importlib.util
import math
import pickle
import socket
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from PIL import Image
from sources import write_pdf

from pagefinder import index
from pagefinder.errors import InputError
from pagefinder.indexing import cluster, ray_engine
from pagefinder.indexing.cluster import Resources
from pagefinder.indexing.files import CHANGED, Chunk, File, list_files
from pagefinder.indexing.planning import Plan
from pagefinder.indexing.reading import Reading
from pagefinder.indexing.schema import page_schema
from pagefinder.params import Pixels

READING = Reading(Pixels(min=1, max=90_000, multiple=1), "image", ocr=False)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs ray: pip install 'pagefinder\[ray\]'"):
        cluster.connected(None).__enter__()


@pytest.mark.parametrize(
    "options", [["s3://bucket/scans"], ["pages", "--address", "auto"], ["pages", "--actors", "2"]]
)
def test_options_of_a_cluster_need_the_engine(tmp_path, monkeypatch, caplog, options):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models/embedder").mkdir(parents=True)
    (tmp_path / "pages").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "pages/one.png")
    assert index.main([*options, "--models", "models"]) == 1
    assert "--address and --actors are for --engine ray: add that" in caplog.text


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_an_address_where_nothing_listens_is_named_at_once(monkeypatch, host):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but it does not listen
        address = f"{host}:{taken.getsockname()[1]}"
        with pytest.raises(InputError, match=f"no Ray cluster answers at --address '{address}': "):
            cluster.connected(address).__enter__()


@pytest.mark.parametrize(
    ("actors", "has"),
    [
        (1, Resources(gpus=0, cores=1, nodes=1)),
        (2, Resources(gpus=0, cores=2, nodes=1)),
        (4, Resources(gpus=0, cores=4, nodes=2)),
        (8, Resources(gpus=0, cores=8, nodes=2)),
        (30, Resources(gpus=0, cores=64, nodes=4)),
    ],
)
def test_actors_leave_a_core_to_read_however_they_are_spread(actors, has):
    taken = ray_engine.share(actors, has)["num_cpus"]
    assert 0 <= taken < 1  # or Ray would take an actor for a task
    a_node = has.cores // has.nodes
    most = math.floor(a_node / taken) if taken else actors
    full, rest = divmod(actors, most)
    # Even where machines are filled one after the other.
    last = 0 if full + bool(rest) < has.nodes else rest or most
    assert a_node - last * taken >= 1


@pytest.mark.parametrize("cores", [1, 2, 16, 1024])
@pytest.mark.parametrize("chunks", [1, 17, 100, 8_000, 65_536, 6_250_000])
def test_tasks_are_few_for_the_driver_and_many_for_the_cores(chunks, cores):
    task, fragment = ray_engine.sizes(chunks, cores)
    assert 1 <= task <= 16
    assert task == 1 or chunks / task >= 32 * cores  # no core waits long for the last one
    assert task == 16 or chunks / (task + 1) < 32 * cores  # nor has the driver more than it needs
    assert fragment % task == 0
    assert fragment <= 1024
    assert chunks / fragment <= 1000 or fragment == 1024


@pytest.mark.parametrize(("actors", "gpus"), [(8, 8), (3, 8), (16, 8), (4, 3), (5, 2)])
def test_all_actors_find_room_on_the_gpus(actors, gpus):
    taken = ray_engine.share(actors, Resources(gpus=gpus, cores=64, nodes=1))["num_gpus"]
    assert taken <= 1
    assert gpus * math.floor(1 / taken + 1e-9) >= actors


def test_a_machine_with_another_model_is_named():
    wanted, other = (page_schema(2, name) for name in ("one", "another"))

    def encoder(models: Path, *, ocr: bool) -> SimpleNamespace:
        return SimpleNamespace(schema=other)

    work = ray_engine.Work("pages", Path("models"), ocr=False, encoder=encoder)
    assert ray_engine._Encode(work, other).encoder.schema == other
    with pytest.raises(InputError, match="models on .* holds another model than on the machine"):
        ray_engine._Encode(work, wanted)


def counted(folder: Path, files: list[File]) -> list[list[Chunk]]:
    batch = pa.table({"item": [pickle.dumps(file) for file in files]})
    return [
        pickle.loads(item) for item in ray_engine._count(batch, str(folder))["item"].to_pylist()
    ]


def test_a_task_that_ray_runs_again_counts_in_other_processes(tmp_path, monkeypatch):
    for number in range(3):
        write_pdf(tmp_path / f"{number}.pdf", [["a page"]] * (number + 1))
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4 and no more")
    files = list_files(tmp_path).files
    monkeypatch.setattr(ray_engine, "_is_retried", lambda: False)
    here = counted(tmp_path, files)
    assert [parts[0].total for parts in here] == [1, 2, 3, 1]
    monkeypatch.setattr(ray_engine, "_is_retried", lambda: True)
    monkeypatch.setattr(ray_engine, "file_chunks", None)  # of this process
    assert counted(tmp_path, files) == here


def test_a_file_that_cannot_be_copied_is_left_to_the_next_run_with_the_reason(monkeypatch, caplog):
    def forbidden(folder: str, file: File) -> Path:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(ray_engine, "local_folder", forbidden)
    monkeypatch.setattr(ray_engine, "_is_retried", lambda: False)
    ((chunk,),) = counted(Path("s3://bucket"), [File("a.pdf", 1, 1)])
    row = ray_engine._read({"item": pickle.dumps(chunk)}, "s3://bucket", READING)
    encode = object.__new__(ray_engine._Encode)
    told = encode(row)
    assert (told["rows"], told["again"]) == (b"", "a.pdf")
    plan = Plan()
    for path in ("a.pdf", "a.pdf", *map(str, range(ray_engine.SHOWN))):
        ray_engine._note(path, told["reason"], plan)
    assert caplog.text.count("a.pdf: it cannot be copied: Access Denied: the next run reads") == 1
    assert len(caplog.records) == ray_engine.SHOWN
    assert str(plan.summary).endswith(f"; {ray_engine.SHOWN + 1} files are left to the next run")


def test_pages_of_a_changed_file_are_not_encoded(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_engine, "_is_retried", lambda: False)
    write_pdf(tmp_path / "a.pdf", [["a page"]])
    ((chunk,),) = counted(tmp_path, list_files(tmp_path).files)
    write_pdf(tmp_path / "a.pdf", [["another page"]] * 2)
    row = ray_engine._read({"item": pickle.dumps(chunk)}, str(tmp_path), READING)
    told = object.__new__(ray_engine._Encode)(row)
    assert (told["rows"], told["again"], told["reason"]) == (b"", "a.pdf", CHANGED)
