"""What may go wrong while a folder is indexed or searched, and what it may cost; stub models."""

import multiprocessing
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pypdfium2
import pytest
from PIL import Image
from sources import write_pdf
from test_indexing import MODELS, PLACE, content, paths, update
from test_search import Embedder, lines, root  # noqa: F401

from pagefinder import index
from pagefinder.commands import exit_status
from pagefinder.errors import InputError
from pagefinder.indexing import reading, schema, store, updating
from pagefinder.indexing.encoder import ANY_SIZE, Encoder
from pagefinder.indexing.files import CHANGED, file_chunks, list_files
from pagefinder.indexing.reading import Reading, read_chunk, read_each
from pagefinder.search import main as search
from pagefinder.serving.search import current_view
from pagefinder.serving.view import open_view
from pagefinder.sources import storing

COLOURS = {"red": (250, 20, 20), "blue": (20, 20, 250)}


def picture(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 40), colour).save(path)


@pytest.fixture
def folder(root, monkeypatch) -> Path:  # noqa: F811
    """A red page, and a blue one in a folder of its own; all is read in this process."""
    monkeypatch.setattr("pagefinder.runtime.pool.FEWEST", 1000)
    for name, path in (("red", "red.png"), ("blue", "more/blue.png")):
        picture(root / "pages" / path, COLOURS[name])
    return root / "pages"


def version() -> int:
    return store.open_table(PLACE).version


def test_a_file_that_could_not_be_read_is_read_once_it_can(folder, monkeypatch) -> None:
    digest = storing.file_digest

    def forbidden(path: Path) -> str:
        if path.name == "red.png":
            raise PermissionError(13, "Permission denied")
        return digest(path)

    with monkeypatch.context() as patch:
        patch.setattr(storing, "file_digest", forbidden)
        update(folder)
        assert [row["problem"] for row in content()] == [None, "unreadable file: Permission denied"]
        before = version()
        assert update(folder).endswith("2 unchanged; 0 pages read")
        assert version() == before
    assert update(folder).startswith("0 files new, 1 changed")
    assert [row["problem"] for row in content()] == [None, None]


def test_a_file_that_goes_before_it_is_hashed_keeps_its_pages(folder, monkeypatch, caplog) -> None:
    update(folder)
    before = content()
    picture(folder / "red.png", (1, 2, 3))
    count = updating.count_pages

    def gone(*arguments: object) -> object:
        (folder / "red.png").unlink()
        return count(*arguments)

    monkeypatch.setattr(updating, "count_pages", gone)
    update(folder)
    assert content() == before
    assert "red.png changed while it was read" in caplog.text


def test_a_pdf_that_goes_while_it_is_read_ends_no_run(tmp_path) -> None:
    write_pdf(tmp_path / "two.pdf", [["one"], ["two"]])
    (file,) = list_files(tmp_path).files
    (chunk,) = file_chunks(tmp_path, file)
    (tmp_path / "two.pdf").unlink()
    pages = read_chunk(Reading(ANY_SIZE, "image_text", False), chunk)
    assert [page.problem for page in pages] == [CHANGED] * 2


def test_a_folder_that_may_not_be_listed_keeps_its_pages(folder, monkeypatch, caplog) -> None:
    update(folder)
    before = content()
    scandir = os.scandir

    def forbidden(path: object = ".") -> object:
        if str(path).endswith("more"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    assert index.main(["pages", "--index", PLACE]) == 0
    assert content() == before
    assert caplog.text.count("more is passed over: Permission denied") == 1


def test_a_name_of_another_kind_is_read_anew(folder) -> None:
    frames = [Image.new("RGB", (40, 40), (200, shade, 20)) for shade in range(3)]
    frames[0].save(folder / "three.tif", save_all=True, append_images=frames[1:])
    update(folder)
    assert paths().count("three.tif") == 3
    (folder / "three.tif").rename(folder / "three.png")
    update(folder)
    grown = content()
    assert paths().count("three.png") == 1
    shutil.rmtree(PLACE)
    update(folder)
    assert content() == grown


def test_many_touched_or_moved_files_are_few_commits(folder) -> None:
    for number in range(30):
        picture(folder / f"many/{number}.png", (number, 5, 5))
    update(folder)
    before, encoded = content(), Embedder.encoded
    start = version()
    for number in range(30):
        os.utime(folder / f"many/{number}.png", ns=(number, number))
    assert update(folder).endswith("32 unchanged; 0 pages read")
    assert version() == start + 1
    assert content() == before
    assert update(folder).endswith("32 unchanged; 0 pages read")
    assert version() == start + 1
    (folder / "many").rename(folder / "moved")
    assert ", 30 moved or copied, 0 removed, 2 unchanged" in update(folder)
    assert version() <= start + 4
    assert Embedder.encoded == encoded
    moved = content()
    shutil.rmtree(PLACE)
    update(folder)
    assert content() == moved


@pytest.mark.parametrize(
    "words", ["Too many open files (os error 24)", "Commit conflict for version 5"]
)
def test_an_index_that_is_not_damaged_is_not_built_anew(folder, monkeypatch, caplog, words) -> None:
    from lancedb.table import LanceTable

    assert index.main(["pages"]) == 0
    (place,) = Path(".work/index").iterdir()
    picture(folder / "new.png", (1, 2, 3))

    def failing(self, *arguments: object, **keywords: object) -> None:
        raise RuntimeError(f"lance error: {words}")

    with monkeypatch.context() as patch:
        patch.setattr(LanceTable, "add", failing)
        assert index.main(["pages"]) == 1
        assert f"cannot be read or written now: lance error: {words}" in caplog.text
        patch.setattr("pagefinder.indexing.store.indexed_files", None, raising=False)
        patch.setattr(updating, "indexed_files", failing)
        assert index.main(["pages"]) == 1
    assert "built anew" not in caplog.text
    assert store.open_table(str(place)).count_rows() == 2
    assert index.main(["pages"]) == 0
    assert Embedder.encoded == 4  # the new page twice: its commit failed


def test_what_another_writer_indexed_meanwhile_stays(folder, monkeypatch) -> None:
    update(folder)
    writing, others = store.writing, [1]

    def after_another(*arguments: object, **keywords: object) -> object:
        if others:
            others.pop()
            picture(folder / "new.png", (9, 9, 9))
            update(folder)
        return writing(*arguments, **keywords)

    monkeypatch.setattr(store, "writing", after_another)
    assert update(folder).endswith("3 unchanged; 0 pages read")
    assert "new.png" in paths()


def test_a_page_that_crashes_its_reader_costs_itself(tmp_path) -> None:
    write_pdf(tmp_path / "four.pdf", [["one"], ["two"], ["three"], ["four"]])
    (file,) = list_files(tmp_path).files
    (chunk,) = file_chunks(tmp_path, file)
    deadly = replace(chunk, rows=(0, 1, Deadly(2), 3))
    pages = read_each(Reading(ANY_SIZE, "image_text", False), deadly)
    assert [page.problem for page in pages] == [
        None,
        None,
        "unreadable page: the reader crashed",
        None,
    ]
    assert [page.text for page in pages] == ["one", "two", "", "four"]
    assert {page.chunk for page in pages} == {deadly}


class Deadly(int):
    """A row that ends the process that reads its page."""

    def __add__(self, other: int) -> int:
        if multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return int(self) + other


def test_a_vector_that_is_not_finite_costs_its_page(folder, monkeypatch, capsys) -> None:
    def broken(self, images: list[Image.Image], **keywords: object) -> np.ndarray:
        vectors = np.eye(3)[[0] * len(images)]
        vectors[[np.asarray(image)[0, 0, 2] > 200 for image in images]] = np.nan
        return vectors

    monkeypatch.setattr(Embedder, "encode_document", broken)
    assert search(["red", "--pages", "pages", "--index", PLACE]) == 0
    assert [label for _, _, label in lines(capsys)] == ["red.png"]
    assert content()[0]["problem"] == "the model gives it a vector that is not finite"


def test_scans_that_no_ocr_left_are_read_when_ocr_may(folder, monkeypatch, caplog) -> None:
    monkeypatch.setattr("pagefinder.indexing.encoder.reads_text", lambda models: True)
    for module in (reading, updating):
        monkeypatch.setattr(module, "can_read_scans", lambda: True)
    monkeypatch.setattr(reading.ocr, "recognise", lambda image: "words on a scan")
    assert index.main(["pages", "--index", PLACE, "--no-ocr"]) == 0
    assert {row["text"] for row in content()} == {""}
    assert index.main(["pages", "--index", PLACE]) == 0
    assert {row["text"] for row in content()} == {"words on a scan"}
    for module in (reading, updating):
        monkeypatch.setattr(module, "can_read_scans", lambda: False)
    picture(folder / "new.png", (1, 2, 3))
    assert index.main(["pages", "--index", PLACE]) == 0
    assert "1 pages have no text and OCR is not installed: pip install" in caplog.text


def test_a_broken_corpus_is_a_page_with_a_problem(root, tmp_path, caplog) -> None:  # noqa: F811
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus/pages.arrow").write_bytes(b"no table")
    assert index.main(["corpus", "--index", PLACE]) == 0
    assert "no table of a corpus" in caplog.text


def test_a_pdf_with_a_password_says_so_and_the_next_file_does_not(tmp_path, monkeypatch) -> None:
    opened = pypdfium2.PdfDocument

    def locked(path: object, *arguments: object) -> object:
        if isinstance(path, Path):
            raise pypdfium2.PdfiumError("Failed to load document.", err_code=4)
        return opened(path, *arguments)

    write_pdf(tmp_path / "a.pdf", [["one"]])
    (file,) = list_files(tmp_path).files
    with monkeypatch.context() as patch:
        patch.setattr(pypdfium2, "PdfDocument", locked)
        assert file_chunks(tmp_path, file)[0].problem == "encrypted PDF: it needs a password"


def test_every_name_that_is_passed_over_is_logged_once(folder, caplog) -> None:
    os.mkfifo(folder / "pipe.png")
    assert index.main(["pages", "--index", PLACE]) == 0
    assert caplog.text.count("pipe.png is passed over") == 1


def test_an_index_that_may_not_be_written_is_searched(folder, monkeypatch, caplog, capsys) -> None:
    opened, made = Path.open, os.mkdir

    def forbidden(self: Path, mode: str = "r", *arguments: object, **keywords: object) -> object:
        if self.name == "lock":
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, mode, *arguments, **keywords)

    def not_made(path: str, *arguments: object) -> None:
        if f".{store.WORDS}-" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        made(path, *arguments)

    ask = ["red", "--pages", "pages", "--index", PLACE]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", forbidden)
        assert search(ask) == 1  # nothing is there yet
    assert f"the index {PLACE} cannot be written: Permission denied: let this user" in caplog.text
    update(folder)
    Path("models/release/fusion.json").write_text('{"first_stage": {"bm25": 0.5}}')
    monkeypatch.setattr(Path, "open", forbidden)
    monkeypatch.setattr(os, "mkdir", not_made)
    capsys.readouterr()
    assert search(ask) == 0
    assert lines(capsys)[0][2] == "red.png"
    assert "it is searched as it is" in caplog.text


def test_an_index_without_its_folder_is_searched_as_it_is(folder, capsys, caplog) -> None:
    update(folder)
    before = content()
    shutil.rmtree(folder)  # as on a machine that has not the files
    caplog.set_level("INFO")
    capsys.readouterr()
    assert search(["red", "--index", PLACE]) == 0
    assert [line[2] for line in lines(capsys)] == ["red.png", "more/blue.png"]
    assert f"{PLACE} is searched as it is: --pages FOLDER" in caplog.text
    assert content() == before  # the last run's corpus did not take its place
    assert search(["red", "--index", PLACE, "--rerank"]) == 1
    assert "--rerank reads the pages' files: name their folder by --pages" in caplog.text


def test_an_index_as_it_is_that_cannot_be_searched_says_what_to_do(folder, caplog) -> None:
    update(folder)
    config = MODELS / "embedder/config.json"
    config.write_text(config.read_text() + " ")  # as after another training
    assert search(["red", "--index", PLACE]) == 1
    mend = f"run `python -m pagefinder.index FOLDER --index {PLACE} --rebuild`"
    assert "holds vectors of the model" in caplog.text
    assert mend in caplog.text
    caplog.clear()
    for manifest in Path(PLACE).rglob("*.manifest"):
        manifest.write_bytes(b"")
    assert search(["red", "--index", PLACE]) == 1
    assert "is damaged" in caplog.text
    assert mend in caplog.text


def test_a_place_that_is_a_file_is_one_line(folder, caplog) -> None:
    Path("taken").write_text("not an index")
    assert index.main(["pages", "--index", "taken"]) == 1
    assert "the index taken cannot be written" in caplog.text


def test_a_model_that_does_not_open_is_one_line(folder, monkeypatch, caplog) -> None:
    def broken(self, path: str, **keywords: object) -> None:
        raise OSError("no file named model.safetensors")

    monkeypatch.setattr(Embedder, "__init__", broken)
    assert index.main(["pages", "--index", PLACE]) == 1
    assert "embedder does not open (no file named model.safetensors): run `dvc repro" in caplog.text


def test_a_query_in_another_encoding_is_one_line(folder, caplog) -> None:
    assert search(["r\udce9d", "--pages", "pages"]) == 1
    assert "type it as UTF-8" in caplog.text


def test_errors_of_the_disk_and_closed_pipes_are_no_traceback(caplog, monkeypatch) -> None:
    def denied() -> int:
        raise PermissionError(13, "Permission denied", ".work")

    def closed() -> int:
        raise BrokenPipeError

    monkeypatch.setattr(os, "dup2", lambda *files: None)
    assert exit_status(denied, index.log) == 1
    assert "error: .work: Permission denied: allow this user to write there" in caplog.text
    assert exit_status(closed, index.log) == 0


def test_a_search_waits_for_the_first_pages_of_another_writer(folder, monkeypatch) -> None:
    bring = updating.bring_up_to_date
    waits = []

    def busy(*arguments: object, wait: bool = True, **keywords: object) -> object:
        waits.append(wait)
        return bring(*arguments, wait=wait, **keywords) if wait else None

    monkeypatch.setattr("pagefinder.serving.search.bring_up_to_date", busy)
    assert current_view(Encoder(MODELS), folder, Path(), PLACE).count() == 2
    assert current_view(Encoder(MODELS), folder, Path(), PLACE).count() == 2
    assert waits == [False, True, False]


def write_texts(texts: list[str]) -> None:
    """An index of pages with these texts, without files."""
    wanted = page_rows([]).schema
    table = store.create_table(PLACE, wanted)
    store.commit(table, [page_rows(texts)], PLACE)


def page_rows(texts: list[str]) -> pa.Table:
    wanted = schema.page_schema(3, "model")
    rng = np.random.default_rng(len(texts))
    vectors = rng.standard_normal((len(texts), 3))
    rows = [
        {
            name: "" if field.type == pa.string() else 0
            for name, field in zip(wanted.names, wanted, strict=True)
        }
        | {"page_id": f"p{row}", "path": f"{row:04}.png", "text": text, "model_hash": "model"}
        | {"thumbnail": b"", "problem": None, "vector": vector / np.linalg.norm(vector)}
        for row, (text, vector) in enumerate(zip(texts, vectors, strict=True))
    ]
    return pa.Table.from_pylist(rows, schema=wanted)


def best_by_words(query: str) -> str:
    view = open_view(PLACE, Path(), page_rows([]).schema)
    return view.pages([next(iter(view.with_words(query, 3)))])[0]["path"]


def test_words_of_an_index_that_is_gone_are_not_taken(root) -> None:  # noqa: F811
    write_texts(["apple", "pear", "plum"])
    assert best_by_words("plum") == "0002.png"
    shutil.rmtree(Path(PLACE) / "pages.lance")
    write_texts(["plum", "apple", "pear"])  # of the same version number
    assert best_by_words("plum") == "0000.png"


def test_words_that_are_damaged_are_counted_anew(root, caplog) -> None:  # noqa: F811
    write_texts(["apple", "pear", "plum"])
    assert best_by_words("plum") == "0002.png"
    for path in (Path(PLACE) / store.WORDS).glob("*.npy"):
        path.write_bytes(path.read_bytes()[:40])
    assert best_by_words("plum") == "0002.png"
    assert "the words are counted anew" in caplog.text
    leftover = Path(PLACE) / f".{store.WORDS}-killed"
    leftover.mkdir()
    os.utime(leftover, (0, 0))
    shutil.rmtree(Path(PLACE) / store.WORDS)
    best_by_words("plum")
    assert not leftover.exists()


def test_an_earlier_format_is_named(root) -> None:  # noqa: F811
    wanted = page_rows([]).schema
    older = wanted.remove(wanted.get_field_index("vector")).with_metadata(
        wanted.metadata | {schema.FORMAT_KEY: b"0"}
    )
    table = store.create_table(PLACE, older)
    with pytest.raises(InputError, match="is of another format, 0 and not 1"):
        store.check(table, wanted, PLACE)


def test_a_scanned_page_of_a_pdf_is_read_among_pages_with_text(tmp_path, monkeypatch) -> None:
    read = []

    def recognise(image: Image.Image) -> str:
        read.append(image.size)
        return "words on a scan"

    monkeypatch.setattr(reading, "can_read_scans", lambda: True)
    monkeypatch.setattr(reading.ocr, "recognise", recognise)
    write_pdf(tmp_path / "mixed.pdf", [["typed words"], []])
    (file,) = list_files(tmp_path).files
    (chunk,) = file_chunks(tmp_path, file)
    pages = read_chunk(Reading(ANY_SIZE, "text", True), chunk)
    assert [(page.text, page.text_origin) for page in pages] == [
        ("typed words", "source"),
        ("words on a scan", "ocr"),
    ]
    assert len(read) == 1
    pages = read_chunk(Reading(ANY_SIZE, "text", False), chunk)
    assert [(page.text, page.text_origin) for page in pages] == [
        ("typed words", "source"),
        ("", "unread"),
    ]


def test_a_search_reads_neither_thumbnails_nor_texts_of_all_pages(root, monkeypatch) -> None:  # noqa: F811
    from lancedb.query import LanceQueryBuilder

    write_texts(["apple", "pear", "plum"] * 50)
    wanted = page_rows([]).schema
    open_view(PLACE, Path(), wanted).with_words("plum", 3)  # counts the words, and keeps them
    columns = []
    select = LanceQueryBuilder.select

    def spied(self, names: list[str]) -> object:
        columns.extend(names)
        return select(self, names)

    monkeypatch.setattr(LanceQueryBuilder, "select", spied)
    view = open_view(PLACE, Path(), wanted)
    found = view.nearest(np.array([1, 0, 0], np.float32), 3) | view.with_words("plum", 3)
    assert len(view.pages(list(found), ["thumbnail"])) == len(found)  # of these alone
    assert "vector" in columns
    assert not {"text", "thumbnail"} & set(columns)
