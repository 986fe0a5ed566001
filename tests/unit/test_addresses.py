"""Files below an address: fsspec's file system in memory stands for object storage."""

import shutil
from dataclasses import replace

import fsspec
import pytest
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
