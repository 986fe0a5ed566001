"""OCR in prepare: which pages are read, what is kept for the next run, and how well it reads."""

import importlib.util
import logging
import shutil

import pytest
from PIL import Image, ImageDraw, ImageFont
from sources import page, with_params, write_pdf

from pagefinder.data.corpus import Corpus
from pagefinder.errors import InputError
from pagefinder.layout import CORPUS
from pagefinder.preparing import ocr
from pagefinder.runtime import pool
from stages import download, prepare

needs_rapidocr = pytest.mark.skipif(
    importlib.util.find_spec("rapidocr") is None, reason="the extra ocr is not installed"
)


@pytest.fixture
def rows(tmp_path):
    """A table of 20 questions and pages, and a page that no image library opens."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.png").write_bytes(page(number))
    (folder / "torn.png").write_bytes(page(99)[:200])
    lines = [f"question {n},{n}.png" for n in range(20)]
    text = "\n".join(["query,image", *lines, "torn one,torn.png"]) + "\n"
    (folder / "train.csv").write_text(text)
    return tmp_path


@pytest.fixture
def reader(monkeypatch):
    """A recogniser that counts its calls; in this process, whatever the number of pages."""
    images = []

    def recognise(image):
        images.append(image.size)
        return f"line {len(images)}\nof  text"

    monkeypatch.setattr(ocr, "recognise", recognise)
    monkeypatch.setattr(ocr.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(pool, "FEWEST", 1000)
    return images


def run(root, **changes):
    params = with_params("table", input="raw", max_quarantined=0.5, **changes)
    if not (root / "data/source").exists():
        download.main(params, root)
    prepare.main(params, root)
    return Corpus(root / CORPUS).pages


def test_pages_without_text_are_read_once_and_say_so(rows, reader):
    assert run(rows)["text_origin"].isna().all()
    assert not reader
    pages = run(rows, ocr="auto")
    assert len(reader) == 20
    assert (pages["text_origin"] == "ocr").all()
    assert sorted(pages["text"])[0] == "line 1\nof  text"
    # Another pixel budget changes the pages and not their text.
    first = pages.set_index("page_id")["text"]
    params = with_params("table", input="raw", max_quarantined=0.5, ocr="auto")
    smaller = params.pixels.model_copy(update={"max": 4096})
    prepare.main(params.model_copy(update={"pixels": smaller}), rows)
    again = Corpus(rows / CORPUS).pages.set_index("page_id")["text"]
    assert len(reader) == 20
    assert again.to_dict() == first.to_dict()


def test_an_interrupted_run_reads_only_the_rest(rows, reader, monkeypatch, caplog):
    counting = ocr.recognise

    def interrupted(image):
        if len(reader) == 7:
            raise KeyboardInterrupt
        return counting(image)

    monkeypatch.setattr(ocr, "recognise", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(rows, ocr="auto")
    monkeypatch.setattr(ocr, "recognise", counting)
    with caplog.at_level(logging.INFO):
        pages = run(rows, ocr="auto")
    assert len(reader) == 20
    assert "OCR: 7 of 21 pages are read" in caplog.text
    assert pages["text"].nunique() == 20


def test_texts_that_an_earlier_run_read_are_not_used_where_ocr_is_off(rows, reader):
    assert run(rows, ocr="auto")["text_origin"].notna().all()
    assert run(rows)["text_origin"].isna().all()


def test_a_file_more_reads_its_page_alone(rows, reader):
    first = run(rows, ocr="auto").set_index("page_id")["text"]
    shutil.rmtree(rows / "data/source")
    raw = rows / "raw"
    (raw / "new.png").write_bytes(page(77))
    lines = (raw / "train.csv").read_text().splitlines()
    (raw / "train.csv").write_text("\n".join([lines[0], "the new one,new.png", *lines[1:]]) + "\n")
    second = run(rows, ocr="auto").set_index("page_id")["text"]
    assert len(reader) == 21
    assert second[first.index].to_dict() == first.to_dict()


def test_nothing_is_read_where_there_are_no_questions(tmp_path, reader):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/scan.png").write_bytes(page(1))
    params = with_params("pdf", input="raw", ocr="auto")
    download.main(params, tmp_path)
    with pytest.raises(InputError, match="no queries"):
        prepare.main(params, tmp_path)
    assert not reader
    assert not (tmp_path / ".work/ocr").exists()


def test_text_of_the_source_is_left_alone(tmp_path, reader):
    folder = tmp_path / "raw"
    folder.mkdir()
    lines = [("A heading of its own", 24), *[f"words of line {n}" for n in range(9)]]
    outline = [(0, f"Part number {n}", n) for n in range(12)]
    texts = [lines if n % 2 else None for n in range(12)]
    write_pdf(folder / "a.pdf", texts, outline)
    params = with_params("pdf", input="raw", ocr="auto")
    download.main(params, tmp_path)
    # Pages of PDFs are read in processes of their own, where the counting reader is not.
    source = tmp_path / "data/source"
    scans = list(ocr._scans(source, tmp_path / "texts"))
    assert [scan.row for scan in scans] == [0, 2, 4, 6, 8, 10]
    ocr.read_scans(source, tmp_path / "texts", isolate=False)
    assert len(reader) == 6
    assert all(width * height > 1_000_000 for width, height in reader)


def test_a_missing_package_is_named_before_any_page_is_rendered(rows, monkeypatch):
    monkeypatch.setattr(ocr.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"21 pages have no text.*pagefinder\[ocr\].*ocr to none"):
        run(rows, ocr="auto")


def test_onnxruntime_is_asked_for_too(rows, monkeypatch):
    monkeypatch.setattr(ocr.importlib.util, "find_spec", lambda name: name == "rapidocr" or None)
    with pytest.raises(InputError, match="but onnxruntime is not installed"):
        run(rows, ocr="auto")


@needs_rapidocr
def test_reads_a_clean_page():
    words = "The quarterly report shows that revenue grew by twelve percent".split()
    image = Image.new("RGB", (900, 500), "white")
    drawing = ImageDraw.Draw(image)
    for number in range(3):
        line = " ".join(words[3 * number : 3 * number + 3])
        drawing.text((60, 60 + 90 * number), line, "black", ImageFont.load_default(40))
    assert ocr.recognise(image).split() == words[:9]


@needs_rapidocr
@pytest.mark.parametrize("size", [(1, 1), (3, 400), (400, 3)])
def test_an_odd_page_has_no_text(size):
    assert ocr.recognise(Image.new("RGB", size, "white")) == ""
