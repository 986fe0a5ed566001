"""The search page without its server: uploads, the joined index, what users see; stub models."""

import io
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from corpora import write_corpus
from PIL import Image
from sources import write_pdf
from test_search import Embedder, pages, root  # noqa: F401

from pagefinder import app
from pagefinder.errors import InputError
from pagefinder.indexing import store
from pagefinder.indexing.encoder import ANY_SIZE, Encoder
from pagefinder.indexing.files import Chunk, File
from pagefinder.indexing.reading import Page
from pagefinder.release.fusion import FUSION
from pagefinder.serving import adding, uploads
from pagefinder.serving.adding import FOUND, REFUSED, Upload
from pagefinder.serving.desk import Desk, Options
from pagefinder.serving.joined import JoinedView
from pagefinder.serving.search import current_view
from pagefinder.serving.view import View

RED, GREEN, BLUE = (250, 20, 20), (10, 90, 10), (20, 20, 250)


def image_bytes(colour: tuple[int, int, int], kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), colour).save(buffer, kind)
    return buffer.getvalue()


def open_desk(folder: Path | None) -> Desk:
    """The desk of a folder, whose models are stubs."""
    return Desk(Options(Path("models/release"), folder, None, ocr=False))


def wait(upload: Upload) -> Upload:
    while not upload.ended:
        time.sleep(0.01)
    return upload


@pytest.fixture
def colours(monkeypatch) -> None:
    """A question that names no colour is as far from all of them."""

    def encode_query(self, query: str, **keywords: object) -> np.ndarray:
        colour = {"red": RED, "green": GREEN, "blue": BLUE}.get(query, (1, 1, 1))
        return np.array(colour, float) / np.linalg.norm(colour)

    monkeypatch.setattr(Embedder, "encode_query", encode_query)


def test_an_upload_is_stored_by_its_content_and_its_name_is_no_path(tmp_path) -> None:
    folder = tmp_path / uploads.FOLDER
    data = image_bytes(RED)
    names = ("../../evil.png", "C:\\temp\\evil.PNG", "/etc/evil.png", "a\n\x00<b>/evil.png")
    paths = {uploads.store(name, data, folder, tmp_path) for name in names}
    assert len(paths) == 1
    (path,) = paths
    assert path == f"{Path(path).stem}.png"
    assert (folder / path).read_bytes() == data
    assert not list(tmp_path.rglob("*evil*"))
    assert uploads.read_names(folder) == {path: "evil.png"}
    assert uploads.shown_name("x" * 200 + ".pdf").endswith("xxx.pdf")
    assert len(uploads.shown_name("x" * 200 + ".pdf")) == 80
    uploads.discard(path, folder, tmp_path)
    assert uploads.read_names(folder) == {}
    assert [file.name for file in folder.iterdir()] == [uploads.NAMES]


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("notes.txt", b"text", "no PDF and no image"),
        (".pdf", b"%PDF-1.4", "no PDF and no image"),
        ("empty.pdf", b"", "is empty"),
        ("word.pdf", b"PK\x03\x04" * 40, "though its name ends in .pdf"),
        ("large.png", b"x" * 1001, "is larger than"),
        ("next.png", b"x" * 900, "no room for next.png"),
    ],
)
def test_what_may_not_be_stored_is_one_sentence(tmp_path, monkeypatch, name, data, problem) -> None:
    monkeypatch.setattr(uploads, "FILE_MB", 1000 / 2**20)
    monkeypatch.setattr(uploads, "ALL_MB", 1500 / 2**20)
    folder = tmp_path / uploads.FOLDER
    uploads.store("first.png", b"y" * 900, folder, tmp_path)
    with pytest.raises(InputError, match=problem) as caught:
        uploads.store(name, data, folder, tmp_path)
    assert "\n" not in str(caught.value)
    assert len(uploads.read_names(folder)) == 1


def test_two_indexes_are_searched_as_one(root, pages, colours) -> None:  # noqa: F811
    rest = root / "rest"
    rest.mkdir()
    (pages / "green.pdf").rename(rest / "green.pdf")
    whole = root / "whole"
    whole.mkdir()
    for number, text in enumerate(("kestrel rail", "rail rail", "marble")):
        write_pdf(pages / f"a{number}.pdf", [[text]])
        (whole / f"a{number}.pdf").write_bytes((pages / f"a{number}.pdf").read_bytes())
    write_pdf(rest / "z.pdf", [["kestrel media"], ["rail"]])
    for file in (pages / "red.png", pages / "more/blue.JPG", rest / "green.pdf", rest / "z.pdf"):
        (whole / file.name).write_bytes(file.read_bytes())
    desk = open_desk(pages)
    encoder = desk._models.encoder
    encoder.reading = type(encoder.reading)(ANY_SIZE, "image", ocr=False)
    first, second, one = (current_view(encoder, folder, root) for folder in (pages, rest, whole))
    joined = JoinedView(first, second)
    assert joined.count() == one.count() == 8

    def named(view, scores: dict[int, float]) -> dict[str, float]:
        rows = view.pages(list(scores))
        names = [f"{Path(row['path']).name} {row['row']}" for row in rows]
        return dict(zip(names, scores.values(), strict=True))

    vector = np.array([1, 2, 3], np.float32) / np.sqrt(14, dtype=np.float32)
    for ask in (lambda view: view.nearest(vector, 9), lambda view: view.with_words("kestrel", 9)):
        assert named(joined, ask(joined)) == pytest.approx(named(one, ask(one)), abs=1e-6)
    assert list(joined.with_words("kestrel", 1).values())[0] > 0
    green = [row for row in joined.pages(list(joined.nearest(vector, 9))) if "green" in row["path"]]
    assert joined.open_page(green[0], ANY_SIZE).size[0] > 10


def test_a_page_of_an_index_as_it_is_says_what_enlarges_it(root, pages, colours) -> None:  # noqa: F811
    place = str(root / "kept")
    Desk(Options(Path("models/release"), pages, place, ocr=False))
    desk = Desk(Options(Path("models/release"), None, place, ocr=False))
    best = desk.search("red").results[0]
    assert best.document == "red.png"
    assert Image.open(io.BytesIO(best.thumbnail)).size
    with pytest.raises(InputError, match="start with --pages FOLDER"):
        desk.enlarge(best.page)
    wait(desk.adding.add("new.png", image_bytes(GREEN)))
    added = next(r for r in desk.search("green").results if r.document == "new.png")
    assert Image.open(io.BytesIO(desk.enlarge(added.page))).size


def test_an_upload_is_found_enlarged_and_still_there_after_a_restart(
    root,  # noqa: F811
    pages,  # noqa: F811
    colours,
) -> None:
    (pages / "green.pdf").unlink()
    desk = open_desk(pages)
    assert desk.has_reranker
    assert not desk.has_fusion
    answer = desk.search("green")
    assert answer.answered
    assert [result.document for result in answer.results] == ["red.png", "more/blue.JPG"]
    assert [result.number for result in answer.results] == [None, None]
    data = image_bytes(GREEN, "PDF")
    upload = wait(desk.adding.add("../my <b>green.pdf", data))
    assert upload.sentence() == "my <b>green.pdf: 1 page can be found now."
    for later in (desk, open_desk(pages)):
        best = later.search("green").results[0]
        assert (best.rank, best.document, best.number) == (1, "my <b>green.pdf", 1)
        assert best.score > 0.99
        assert later.count() == 3
        for image in (best.thumbnail, later.enlarge(best.page)):
            red, green, blue = Image.open(io.BytesIO(image)).convert("RGB").getpixel((9, 9))
            assert green > red + 50
            assert green > blue + 50
    # The reranker, which prefers dark pages, reads uploads too.
    assert later.search("red", rerank=True).results[0].document == "my <b>green.pdf"
    assert later.search("red", rerank=False).results[0].document == "red.png"
    encoded = Embedder.encoded
    again = wait(desk.adding.add("copy.pdf", data))
    assert (again.state, again.pages) == (FOUND, 1)
    assert Embedder.encoded == encoded
    assert desk.search("green").results[0].document == "copy.pdf"
    (pages / "red.png").unlink()
    with pytest.raises(InputError, match="cannot be shown any more"):
        desk.enlarge(desk.search("red").results[0].page)


def test_a_broken_upload_is_refused_in_one_sentence_and_the_next_one_goes_on(
    root,  # noqa: F811
    pages,  # noqa: F811
    colours,
    monkeypatch,
) -> None:
    monkeypatch.setattr(uploads, "MAX_PAGES", 2)
    desk = open_desk(pages)
    long = root / "long.pdf"
    write_pdf(long, [["one"], ["two"], ["three"]])
    sent = [
        desk.adding.add("broken.pdf", b"%PDF-1.4 broken"),
        desk.adding.add("long.pdf", long.read_bytes()),
        desk.adding.add("cut.png", image_bytes(RED)[:60]),
        desk.adding.add("notes.txt", b"text"),
        desk.adding.add("fine.png", image_bytes(RED)),
    ]
    sentences = [wait(upload).sentence() for upload in sent]
    assert [upload.state for upload in sent] == [REFUSED] * 4 + [FOUND]
    assert sentences[0].startswith("broken.pdf was not added: it is broken, or no PDF")
    assert "long.pdf was not added: it has 3 pages, more than 2" in sentences[1]
    assert sentences[2].startswith("cut.png was not added: not a readable image")
    assert sentences[3].startswith("notes.txt was not added: is no PDF and no image")
    assert not any("\n" in sentence or "Traceback" in sentence for sentence in sentences)
    assert list(uploads.read_names(root / uploads.FOLDER).values()) == ["fine.png"]
    assert desk.count() == 4


def test_what_waits_is_checked_at_its_own_turn(root, pages, colours, monkeypatch) -> None:  # noqa: F811
    monkeypatch.setattr(uploads, "MAX_PAGES", 2)
    desk = open_desk(pages)
    write_pdf(root / "long.pdf", [["one"], ["two"], ["three"]])
    index, go_on = desk.adding._index, threading.Event()

    def held(upload: Upload) -> None:
        go_on.wait()
        index(upload)

    monkeypatch.setattr(desk.adding, "_index", held)
    sent = [desk.adding.add("fine.png", image_bytes(RED))]
    # Two people add the same files: the first refusal takes nothing from the second.
    for name in ("long.pdf", "again.pdf"):
        sent.append(desk.adding.add(name, (root / "long.pdf").read_bytes()))
    go_on.set()
    sentences = [wait(upload).sentence() for upload in sent]
    assert sentences[0] == "fine.png: 1 page can be found now."
    for name, sentence in zip(("long.pdf", "again.pdf"), sentences[1:], strict=True):
        assert sentence.startswith(f"{name} was not added: it has 3 pages, more than 2")
    assert desk.count() == 4
    assert list(uploads.read_names(root / uploads.FOLDER).values()) == ["fine.png"]


def test_what_waited_at_a_restart_is_checked_like_a_new_file(
    root,  # noqa: F811
    pages,  # noqa: F811
    colours,
    monkeypatch,
) -> None:
    monkeypatch.setattr(uploads, "MAX_PAGES", 2)
    folder = root / uploads.FOLDER
    write_pdf(root / "long.pdf", [["one"], ["two"], ["three"]])
    uploads.store("long.pdf", (root / "long.pdf").read_bytes(), folder, root)
    path = uploads.store("fine.png", image_bytes(RED), folder, root)
    desk = open_desk(pages)
    while desk.adding.waiting() or desk.count() < 4:
        time.sleep(0.01)
    assert desk.search("red").results[0].document == "fine.png"
    wait(desk.adding.add("next.png", image_bytes(BLUE)))  # behind the long one, which is gone
    assert uploads.read_names(folder)[path] == "fine.png"
    assert sorted(uploads.read_names(folder).values()) == ["fine.png", "next.png"]
    assert desk.count() == 5
    encoded = Embedder.encoded
    assert open_desk(pages).count() == 5
    assert Embedder.encoded == encoded
    (folder / path).unlink()
    assert open_desk(pages).count() == 4


def test_a_retrained_model_reads_what_was_added_again_and_deletes_nothing(
    root,  # noqa: F811
    pages,  # noqa: F811
    colours,
    monkeypatch,
) -> None:
    def no_text(self: Encoder, page: Page) -> str | None:
        return "it has no text" if page.chunk.folder.name == uploads.FOLDER.name else None

    folder, config = root / uploads.FOLDER, root / "models/release/embedder/config.json"
    wait(open_desk(pages).adding.add("fine.png", image_bytes(RED)))
    config.write_text('{"retrained": 1}')
    with monkeypatch.context() as blind:
        blind.setattr(Encoder, "_problem", no_text)
        desk = open_desk(pages)
        assert wait(desk.adding.add("next.png", image_bytes(BLUE))).state == REFUSED
    assert desk.count() == 3
    assert list(uploads.read_names(folder).values()) == ["fine.png"]
    config.write_text('{"retrained": 2}')
    desk = open_desk(pages)
    while desk.count() < 4:
        time.sleep(0.01)
    assert desk.search("red").results[0].score > 0.99


def test_a_pdf_with_a_password_says_so() -> None:
    file = File("a.pdf", 1, 1)
    problem = "unreadable PDF: Failed to load document (PDFium: Incorrect password error)."
    with pytest.raises(InputError, match="asks for a password"):
        uploads.check_chunks([Chunk(Path(), file, "", (0,), 1, problem)])


def test_a_retrained_model_or_a_removed_file_stops_no_upload(
    root,  # noqa: F811
    pages,  # noqa: F811
    colours,
    monkeypatch,
) -> None:
    desk = open_desk(pages)

    def another_model(view: object) -> None:
        raise InputError("the index is of another model")

    monkeypatch.setattr("pagefinder.serving.desk.refreshed", another_model)
    assert wait(desk.adding.add("fine.png", image_bytes(RED))).state == FOUND
    assert desk.search("red").results[0].score > 0.99
    gone = {"path": "pages.arrow", "row": 0}  # a corpus, which the pipeline builds anew
    with pytest.raises(InputError, match="cannot be shown any more"):
        desk.enlarge(gone)


def test_an_index_that_lost_the_version_at_hand_is_opened_anew(
    root,  # noqa: F811
    pages,  # noqa: F811
    colours,
    monkeypatch,
    caplog,
) -> None:
    desk = open_desk(pages)
    pages_of, failed = View.pages, []

    def deleted(self: View, *arguments: object) -> object:
        if not failed:
            failed.append(True)
            raise store.DamagedError("the index is damaged: a file of the version is gone")
        return pages_of(self, *arguments)

    monkeypatch.setattr(View, "pages", deleted)
    assert desk.search("red").results[0].score > 0.99
    assert "its newest version is opened" in caplog.text


def test_uploads_that_wait_are_bounded(root, pages, colours, monkeypatch) -> None:  # noqa: F811
    desk = open_desk(pages)
    go_on = threading.Event()
    monkeypatch.setattr(adding.Adding, "_index", lambda self, upload: go_on.wait())
    sent = [desk.adding.add("a.png", image_bytes(RED)) for _ in range(adding.WAITING + 2)]
    go_on.set()
    assert f"{adding.WAITING} files wait already" in sent[-1].sentence()


def test_no_page_answers_and_the_release_says_which_switches_there_are(
    root,  # noqa: F811
    pages,  # noqa: F811
    colours,
) -> None:
    rules = {"embedder": {"weights": {"embedder": 1.0}, "threshold": 0.9}}
    rules["first_stage"] = rules["embedder"]
    fusion = {"first_stage": {"embedder": 0.5, "bm25": 0.5}, "answers": {"rules": rules}}
    (root / "models/release" / FUSION).write_text(json.dumps(fusion))
    (root / "models/release/reranker/config.json").unlink()
    (root / "models/release/reranker").rmdir()
    desk = open_desk(pages)
    assert desk.has_fusion
    assert not desk.has_reranker
    assert not desk.search("what?").answered
    assert desk.search("what?").results
    assert desk.search("red", rerank=True).answered


def test_examples_are_questions_of_the_corpus(root, pages, colours) -> None:  # noqa: F811
    buffer = image_bytes(RED)
    write_corpus(
        root / "data/corpus",
        [{"page_id": "p", "split": "eval", "image": {"bytes": buffer, "path": None}}],
        [{"query_id": f"q{n}", "text": f"Which is page {n}?"} for n in range(20)]
        + [{"query_id": "long", "text": "Why? " * 30}],
        [],
    )
    examples = open_desk(None).examples
    assert examples == [f"Which is page {n}?" for n in (0, 5, 10, 15)]
    assert open_desk(pages).examples == []


def test_the_command_names_what_is_wrong_in_one_line(tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(app.importlib.util, "find_spec", lambda name: None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert app.main(["--port", str(port)]) == 1
        assert f"cannot listen at 127.0.0.1, port {port}" in caplog.messages[-1]
    assert app.main(["--port", "99999"]) == 1
    assert app.main(["--port", str(port)]) == 1
    assert "streamlit is not installed" in caplog.messages[-1]
    monkeypatch.setattr(app.importlib.util, "find_spec", lambda name: object())
    assert app.main(["--port", str(port)]) == 1
    assert "models/release/embedder is not there: run `make repro`" in caplog.messages[-1]


def test_the_server_stays_on_this_machine_and_sends_nothing_elsewhere() -> None:
    options = app.parse([])
    settings = app.server_settings(options.host, options.port)
    assert settings["server.address"] == "127.0.0.1"
    assert settings["browser.gatherUsageStats"] is False
    assert settings["server.maxUploadSize"] == uploads.FILE_MB
    assert settings["server.enableStaticServing"] is False
    assert "evil.example" not in settings["server.allowedHosts"]
    assert app.server_settings("0.0.0.0", 1)["server.allowedHosts"] == []


def test_make_app_says_what_is_missing_before_it_installs_anything(tmp_path) -> None:
    shutil.copy(Path(app.__file__).parents[1] / "Makefile", tmp_path)
    # Without the variables by which a make around the tests would have this one print more.
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    environment.pop("MFLAGS", None)
    done = subprocess.run(
        ["make", "app"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode
    assert done.stdout == (
        "no models to search with: run make repro, or make repro INPUT=DIR, first\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Makefile"]
