"""Files below an address: fsspec's file system in memory stands for object storage."""

import logging
import shutil
from dataclasses import replace
from datetime import UTC, datetime

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image
from sources import write_pdf

from pagefinder.errors import InputError
from pagefinder.indexing import addresses
from pagefinder.indexing.addresses import list_address, local_folder
from pagefinder.indexing.files import CHANGED, file_chunks, list_files
from pagefinder.indexing.reading import Reading, read_chunk
from pagefinder.params import Pixels

ADDRESS = "memory://scans/2026"
READING = Reading(Pixels(min=1, max=90_000, multiple=1), "image", ocr=False)


@pytest.fixture
def bucket(tmp_path):
    """A PDF of 20 pages, a picture, and what is no page; the same files in a folder."""
    system = fsspec.filesystem("memory")
    (tmp_path / "more").mkdir()
    write_pdf(tmp_path / "report.pdf", [[f"page {number}"] for number in range(20)])
    Image.new("RGB", (30, 20), "red").save(tmp_path / "more/red.PNG")
    (tmp_path / "notes.txt").write_text("no page")
    for path in tmp_path.rglob("*.*"):
        system.pipe_file(f"/scans/2026/{path.relative_to(tmp_path)}", path.read_bytes())
    system.pipe_file("/scans/2026/../secret.pdf", b"outside")
    system.pipe_file("/scans/2027/other.pdf", b"elsewhere")
    yield tmp_path
    system.rm("/scans", recursive=True)


def test_files_below_an_address(bucket, caplog):
    files = list_address(ADDRESS).files
    assert [file.path for file in files] == ["more/red.PNG", "report.pdf"]
    assert [file.size for file in files] == [file.size for file in list_files(bucket).files]
    assert "secret.pdf is passed over: its path leaves" in caplog.text
    assert list_address(ADDRESS + "/").files == files


def test_pages_are_read_as_those_of_a_folder(bucket):
    for remote, local in zip(list_address(ADDRESS).files, list_files(bucket).files, strict=True):
        chunks = file_chunks(local_folder(ADDRESS, remote), remote)
        expected = file_chunks(bucket, local)
        assert [chunk.rows for chunk in chunks] == [chunk.rows for chunk in expected]
        for chunk, other in zip(chunks, expected, strict=True):
            for page, twin in zip(
                read_chunk(READING, chunk), read_chunk(READING, other), strict=True
            ):
                assert page.problem is None
                assert page.image.tobytes() == twin.image.tobytes()
                assert (page.page_id, page.text) == (twin.page_id, twin.text)


def test_a_file_is_copied_once_and_one_at_a_time(bucket):
    picture, report = list_address(ADDRESS).files
    folder = local_folder(ADDRESS, report)
    assert local_folder(ADDRESS, report) == folder
    local_folder(ADDRESS, picture)
    assert not folder.exists()


def test_a_file_that_changed_since_it_was_listed_is_noticed(bucket):
    _, report = list_address(ADDRESS).files
    chunk = file_chunks(local_folder(ADDRESS, report), report)[0]
    system = fsspec.filesystem("memory")
    write_pdf(bucket / "report.pdf", [["another"]])
    system.pipe_file("/scans/2026/report.pdf", (bucket / "report.pdf").read_bytes())
    for path in addresses._scratch().iterdir():
        shutil.rmtree(path)  # as on another machine, which copies it later
    chunk = replace(chunk, folder=local_folder(ADDRESS, report))
    assert {page.problem for page in read_chunk(READING, chunk)} == {CHANGED}


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("memory://nothing", "holds no image"),
        ("nosuch://bucket", "cannot be listed"),
        ("file:///tmp", "is a folder of this machine: give its path, /tmp"),
    ],
)
def test_what_cannot_be_listed_is_named(address, words):
    with pytest.raises(InputError, match=words):
        list_address(address)


class Storage(MemoryFileSystem):
    """Object storage that tells times in its listing, as S3 does, or makes trouble."""

    protocol = "storage"
    trouble: Exception | None = None
    asked = 0

    @classmethod
    def _strip_protocol(cls, path):
        return MemoryFileSystem._strip_protocol(path.removeprefix("storage:/"))

    def find(self, path, *arguments, **keywords):
        found = super().find(path, *arguments, **keywords)
        for entry in found.values():
            entry["LastModified"] = datetime(2026, 1, 2, tzinfo=UTC)
        return found

    def modified(self, path):
        Storage.asked += 1
        if isinstance(self.trouble, NotImplementedError):
            raise self.trouble
        return super().modified(path)

    def get_file(self, *arguments, **keywords):
        if self.trouble:
            raise self.trouble
        super().get_file(*arguments, **keywords)


@pytest.fixture
def storage(bucket, monkeypatch):
    fsspec.register_implementation("storage", Storage, clobber=True)
    monkeypatch.setattr(Storage, "asked", 0)
    monkeypatch.setattr(Storage, "trouble", None)
    return "storage://scans/2026"


def test_packages_of_a_storage_log_warnings_alone(storage, monkeypatch, caplog):
    find = Storage.find

    def telling(*arguments, **keywords):
        logging.getLogger("aiobotocore.credentials").info("Found credentials")
        return find(*arguments, **keywords)

    monkeypatch.setattr(Storage, "find", telling)
    with caplog.at_level(logging.INFO):
        list_address(storage)
    assert "Found credentials" not in caplog.text


def test_times_come_with_the_listing(storage):
    files = list_address(storage).files
    assert {file.modified for file in files} == {1767312000 * 10**9}
    assert Storage.asked == 0  # or a million files would be a million questions


def test_storage_without_times_is_named(storage, monkeypatch):
    monkeypatch.setattr(Storage, "find", MemoryFileSystem.find)
    monkeypatch.setattr(Storage, "trouble", NotImplementedError())
    with pytest.raises(InputError, match="it tells no times of change"):
        list_address(storage)


class NoCredentialsError(Exception):
    """Not an OSError, as botocore's is none."""


def test_errors_of_a_storage_are_one_line(storage, monkeypatch):
    (picture, *_) = list_address(storage).files
    error = NoCredentialsError("Unable to locate\ncredentials")
    monkeypatch.setattr(Storage, "trouble", error)
    with pytest.raises(OSError, match="NoCredentialsError: Unable to locate credentials"):
        local_folder(storage, picture)

    def find(*arguments: object, **keywords: object) -> None:
        raise error

    monkeypatch.setattr(Storage, "find", find)
    with pytest.raises(InputError, match="cannot be listed: NoCredentialsError: Unable to locate"):
        list_address(storage)


def test_an_object_that_vanished_is_no_crash(storage, bucket):
    picture, report = list_address(storage).files
    fsspec.filesystem("memory").rm("/scans/2026/report.pdf")
    with pytest.raises(FileNotFoundError):
        local_folder(storage, report)
    assert local_folder(storage, picture).is_dir()  # what was begun is in no one's way


def test_a_name_that_would_be_an_absolute_path_is_passed_over(bucket, caplog):
    fsspec.filesystem("memory").store["/scans/2026//etc/page.pdf"] = fsspec.filesystem(
        "memory"
    ).store["/scans/2026/report.pdf"]
    assert [file.path for file in list_address(ADDRESS).files] == ["more/red.PNG", "report.pdf"]
    assert "page.pdf is passed over: its path leaves" in caplog.text
