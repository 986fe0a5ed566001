"""The search page in Chromium: what two users see and do, on a desktop and a phone."""

import contextlib
import io
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from PIL import Image
from sources import write_pdf
from tiny import write_text_model, write_tiny_corpus

from pagefinder.serving import uploads

pytest.importorskip("streamlit")
playwright = pytest.importorskip("playwright.sync_api")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on the path"),
    # Playwright's loop is still open when its fixture ends.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

ROOT = Path(__file__).parents[2]
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
MINUTES = 600_000  # ms: a machine that does other things is waited for
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 375, "height": 800}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A project's folder after a run: 40 pages with text, a text model, BM25 and a threshold."""
    folder = tmp_path_factory.mktemp("project")
    write_tiny_corpus(folder / "data/corpus")
    release = folder / "models/release"
    write_text_model(release / "embedder")
    config = release / "embedder/config_sentence_transformers.json"
    config.write_text(config.read_text().replace("{", '{"page_content": "text", ', 1))
    (release / "fusion.json").write_text(
        '{"first_stage": {"embedder": 0.1, "bm25": 0.9}, "answers": {"rules": '
        '{"first_stage": {"weights": {"bm25": 1.0}, "threshold": 0.5}}}}'
    )
    return folder


@pytest.fixture(scope="module")
def address(folder):
    """Where the page is served, as the program says."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    log = folder / "log.txt"
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", "pagefinder.app", "--port", str(port)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        with server:
            while f"open http://127.0.0.1:{port}" not in log.read_text() and server.poll() is None:
                time.sleep(0.1)
            assert server.poll() is None, log.read_text()
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
            server.terminate()
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, address):
    """Open the page as another user; nothing that it loads may lie outside the server."""
    contexts, elsewhere = [], []
    inside = (address, address.replace("http", "ws"), "data:", "blob:")

    def visit(size=DESKTOP, **options):
        context = browser.new_context(viewport=size, **options)
        context.set_default_timeout(MINUTES)
        contexts.append(context)
        page = context.new_page()

        def check(request) -> None:
            if not request.url.startswith(inside):
                elsewhere.append(request.url)

        page.on("request", check)
        page.goto(address)
        page.get_by_label("Question").wait_for()
        return page

    yield visit
    for context in contexts:
        context.close()
    assert elsewhere == []


def ask(page, question: str) -> None:
    box = page.get_by_label("Question")
    box.fill(question)
    box.press("Enter")
    wait_for_pages(page, question)


def wait_for_pages(page, question: str) -> None:
    """Until all pages of an answer are there, which come one by one."""
    page.locator(".seconds", has_text=f"for “{question}”").wait_for()
    page.wait_for_function("document.querySelectorAll('figure img').length === 12")


def text_of(folder: Path, number: int) -> str:
    """The words of a page of the tiny corpus."""
    from pagefinder.data.corpus import Corpus

    return " ".join(Corpus(folder / "data/corpus").text(number).split())


def first(page):
    return page.locator("figure").first


def visit_to_add(visit):
    page = visit()
    page.get_by_text("Add a PDF or images").click()
    page.locator("input[type=file]").wait_for(state="attached")
    return page


def wait_for_image(page) -> None:
    """Until the page that is enlarged is there to read."""
    page.get_by_role("dialog").wait_for()
    page.wait_for_function(
        "() => [...document.querySelectorAll('[role=dialog] img')]"
        ".some(i => i.complete && i.naturalWidth && i.getBoundingClientRect().width > 250)"
    )


def upload(page, name: str, data: bytes, shown: str = "") -> str:
    """Send a file; the sentence that says what became of it, once it is there."""
    file = {"name": name, "mimeType": "application/pdf", "buffer": data}
    page.locator("input[type=file]").set_input_files(file)
    sentence = page.locator(".upload.ended", has_text=shown or name)
    sentence.wait_for()
    return sentence.inner_text()


def test_a_question_finds_its_page_and_a_click_enlarges_it(visit, folder) -> None:
    page = visit()
    page.get_by_text("40 pages").wait_for()
    page.get_by_text("Also by words (BM25)").wait_for()
    assert not page.get_by_text("Rerank").is_visible()  # the release has no reranker
    ask(page, f"Where is {text_of(folder, 6)}?")
    assert first(page).inner_text().startswith("1. d1\npage 3 · score")
    assert not page.get_by_text("No page answers this").is_visible()
    page.get_by_role("button", name="Enlarge page 1", exact=True).click()
    wait_for_image(page)
    dialog = page.get_by_role("dialog")
    assert "d1, page 3" in dialog.inner_text()
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert first(page).is_visible()


def test_the_page_says_when_nothing_fits(visit) -> None:
    page = visit()
    ask(page, "zzz qqq")  # the nearest pages are there all the same
    page.get_by_text("No page answers this").wait_for()


def test_an_example_is_asked_by_a_click(visit) -> None:
    page = visit()
    example = page.locator(".st-key-examples button").first
    question = example.inner_text()
    assert question.startswith("Where is")
    example.click()
    wait_for_pages(page, question)
    assert page.get_by_label("Question").input_value() == question


def test_a_pdf_is_found_by_everybody_once_it_is_added(visit, tmp_path) -> None:
    name = "<img src=x onerror=alert(1)> ![i](http://evil.example/a.png) *b*.pdf"
    write_pdf(tmp_path / "new.pdf", [["sapphire umbrella"]])
    adds, other = visit_to_add(visit), visit()
    adds.on("dialog", lambda dialog: pytest.fail(dialog.message))
    shown = "a.png) *b*.pdf"  # what stands before the last slash is a path
    sentence = upload(adds, name, (tmp_path / "new.pdf").read_bytes(), shown)
    assert sentence == f"{shown}: 1 page can be found now."
    for page in (adds, other):
        ask(page, "sapphire umbrella")
        assert first(page).inner_text().startswith(f"1. {shown}\npage 1 · score")
    adds.get_by_role("button", name="Enlarge page 1", exact=True).click()
    wait_for_image(adds)


def test_a_page_stays_enlarged_while_a_file_is_read(visit, tmp_path, folder) -> None:
    write_pdf(tmp_path / "long.pdf", [[f"granite {number}"] for number in range(600)])
    page = visit_to_add(visit)
    ask(page, f"Where is {text_of(folder, 6)}?")
    page.locator("input[type=file]").set_input_files(tmp_path / "long.pdf")
    page.locator(".upload").wait_for()
    page.get_by_role("button", name="Enlarge page 1", exact=True).click()
    wait_for_image(page)
    page.wait_for_timeout(3000)  # some looks at the upload
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    page.get_by_text("long.pdf: 600 pages can be found now.").wait_for()


def test_a_broken_file_is_one_plain_sentence(visit) -> None:
    page = visit_to_add(visit)
    assert "broken.pdf was not added: it is broken, or no PDF" in upload(
        page, "broken.pdf", b"%PDF-1.4 nothing"
    )
    buffer = io.BytesIO()
    Image.new("RGB", (60, 80), "white").save(buffer, "PNG")
    # A picture without OCR has no text for a model of texts.
    sentence = upload(page, "white.png", buffer.getvalue())
    assert "white.png was not added: it has no text" in sentence
    ask(page, "still there")
    assert "Traceback" not in page.content()


def test_a_file_that_is_too_large_is_one_plain_sentence(visit, tmp_path) -> None:
    with (tmp_path / "large.pdf").open("wb") as file:
        file.truncate(uploads.FILE_MB * 2**20 + 1)
    page = visit_to_add(visit)
    page.locator("input[type=file]").set_input_files(tmp_path / "large.pdf")
    page.get_by_text(f"File must be {uploads.FILE_MB}.0MB or smaller.").wait_for()
    assert not page.locator(".upload").count()


def test_a_switch_searches_again(visit, folder) -> None:
    page = visit()
    ask(page, f"Where is {text_of(folder, 12)}?")
    fused = first(page).inner_text()
    page.get_by_text("Also by words (BM25)").click()
    page.wait_for_function(
        "fused => document.querySelector('figure').innerText !== fused", arg=fused
    )
    score = float(first(page).inner_text().rpartition(" ")[2])
    assert -1 <= score <= 1  # a cosine
    page.get_by_text("Also by words (BM25)").click()
    page.wait_for_function(
        "fused => document.querySelector('figure').innerText === fused", arg=fused
    )


def test_two_users_at_once_get_their_own_pages(visit, folder) -> None:
    pages = [visit() for _ in range(2)]
    questions = [f"Where is {text_of(folder, number)}?" for number in (3, 30)]
    for page, question in zip(pages, questions, strict=True):
        page.get_by_label("Question").fill(question)
    for page in pages:
        page.get_by_label("Question").press("Enter")
    for page, question, document in zip(pages, questions, ("d0", "d7"), strict=True):
        wait_for_pages(page, question)
        assert first(page).inner_text().startswith(f"1. {document}\n")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it(visit, folder, scheme) -> None:
    page = visit(PHONE, color_scheme=scheme, has_touch=True)
    ask(page, f"Where is {text_of(folder, 9)}?")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    widths = [box.bounding_box()["width"] for box in page.locator("figure").all()[:4]]
    assert min(widths) > 140
    dark = page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    assert (max(map(int, dark[4:-1].split(","))) < 80) == (scheme == "dark")
    page.get_by_role("button", name="Enlarge page 1", exact=True).tap()
    wait_for_image(page)


def test_the_server_serves_pages_and_nothing_else(address, folder) -> None:
    for path in (
        "/data/corpus/pages.arrow",
        "/app/static/../../log.txt",
        "/media/../../../log.txt",
        "/static/..%2f..%2f..%2flog.txt",
        f"/media/{folder}/log.txt",
    ):
        request = urllib.request.Request(address + path)
        try:
            with urllib.request.urlopen(request) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            content = error.read()
        assert b"ARROW" not in content
        assert b"pages to search" not in content
