"""Images as pages of source pdf: documents, order, TIFF files of several pages, broken files."""

import io
import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sources import page, with_params, write_pdf

from pagefinder.data import pixels
from pagefinder.data.corpus import Corpus
from pagefinder.errors import InputError
from pagefinder.layout import CORPUS, QUARANTINE
from pagefinder.runtime import pool
from pagefinder.sources import pictures
from stages import download, prepare


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """Read files without processes of their own, whose start takes seconds."""
    monkeypatch.setattr(pool, "run", lambda function, tasks, *_, **__: map(function, tasks))


def write_tiff(path, numbers):
    first, *others = (Image.open(io.BytesIO(page(number))) for number in numbers)
    first.save(path, "TIFF", save_all=True, append_images=others)


@pytest.fixture
def folder(tmp_path):
    """PDFs with questions, scans of two folders, a TIFF of three pages and its copy."""
    raw = tmp_path / "raw"
    (raw / "scans/old").mkdir(parents=True)
    for number in range(6):
        titles = [f"Subject {number}{n} of machines" for n in range(4)]
        texts = [[(title, 20), *[f"{title} line {n}" for n in range(9)]] for title in titles]
        write_pdf(raw / f"{number}.pdf", texts, [(0, title, n) for n, title in enumerate(titles)])
    for number in (10, 9, 100):
        (raw / f"scans/page {number}.png").write_bytes(page(number))
    (raw / "scans/old/a.JPG").write_bytes(page(7, kind="JPEG"))
    (raw / "cover.webp").write_bytes(page(8, kind="WEBP"))
    for name in ("fax.tif", "scans/copy of fax.tiff"):
        write_tiff(raw / name, (21, 22, 23))
    return tmp_path


def prepared(root):
    params = with_params("pdf", input="raw", max_quarantined=0.5)
    download.main(params, root)
    prepare.main(params, root)
    return Corpus(root / CORPUS)


def test_the_images_of_a_folder_are_a_document_in_natural_order(folder):
    found = [(p.name, p.document, p.number, p.pages) for p in pictures.find(folder / "raw")]
    assert found == [
        ("cover.webp", "raw", 1, 1),
        ("fax.tif", "fax.tif", 1, 3),
        ("scans/page 9.png", "scans", 1, 1),
        ("scans/page 10.png", "scans", 2, 1),
        ("scans/page 100.png", "scans", 3, 1),
        ("scans/old/a.JPG", "scans/old", 1, 1),
    ]


def test_pages_of_images_and_of_tiff_files_are_pages_of_the_corpus(folder):
    corpus = prepared(folder)
    table = corpus.pages.set_index(["document_id", "page_number"])
    assert {"scans", "scans/old", "raw", "fax.tif", "0.pdf"} <= set(corpus.pages["document_id"])
    for place, number in {("scans", 2): 10, ("fax.tif", 1): 21, ("fax.tif", 3): 23}.items():
        image = corpus.image(corpus.page_row[table.loc[place, "page_id"]])
        original = pixels.fit(pixels.decode(page(number)), with_params("pdf").pixels)
        assert np.array_equal(image, original), place
    # A document stays in one split.
    assert (corpus.pages.groupby("document_id")["split"].nunique() == 1).all()


def test_a_second_download_has_the_same_bytes(folder):
    prepared(folder)
    first = (folder / CORPUS / "pages.arrow").read_bytes()
    prepared(folder)
    assert (folder / CORPUS / "pages.arrow").read_bytes() == first


def test_a_broken_page_fails_alone(folder):
    raw = folder / "raw"
    (raw / "scans/page 11.png").write_bytes(page(11)[:99])
    (raw / "torn.tif").write_bytes((raw / "fax.tif").read_bytes()[:900])
    outside = folder / "outside.png"
    outside.write_bytes(page(1))
    (raw / "scans/link.png").symlink_to(outside)
    write_tiff(folder / "outside.tif", (31, 32))
    (raw / "scans/link.tif").symlink_to(folder / "outside.tif")
    corpus = prepared(folder)
    reasons = pd.read_parquet(folder / QUARANTINE).set_index("origin")["reason"].to_dict()
    assert "unreadable image" in reasons["scans/page 11.png"]
    for link in ("scans/link.png", "scans/link.tif"):
        assert reasons[link].startswith("path leaves the folder"), link
    assert any(origin.startswith("torn.tif") for origin in reasons)
    assert len(corpus.pages.query("document_id == 'scans'")) == 3


def test_what_is_no_image_of_the_folder_is_said(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    write_tiff(tmp_path / "outside.tiff", (1, 2, 3))
    (raw / "a.tiff").symlink_to(tmp_path / "outside.tiff")
    (raw / "b.png").symlink_to(raw / "nothing")
    os.mkfifo(raw / "c.tif")
    found = pictures.find(raw)
    assert [(picture.name, picture.stored) for picture in found] == [
        ("a.tiff", ""),
        ("b.png", ""),
        ("c.tif", ""),
    ]
    problems = [row[0].problem.partition(":")[0] for row in pictures.rows(found, 0)]
    assert problems == ["path leaves the folder", "missing file", "missing file"]


def test_a_folder_of_images_alone_says_that_it_has_no_questions(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/1.png").write_bytes(page(1))
    with pytest.raises(InputError, match="1 usable pages but no queries"):
        prepared(tmp_path)


def test_an_empty_folder_is_named(tmp_path):
    (tmp_path / "raw").mkdir()
    with pytest.raises(InputError, match="holds no PDF and no image"):
        prepared(tmp_path)


def test_images_beside_a_subfolder_of_the_same_name_are_a_document_of_their_own(tmp_path):
    (tmp_path / "scans/scans").mkdir(parents=True)
    for name in ("a.png", "scans/b.png"):
        (tmp_path / "scans" / name).write_bytes(page(1))
    found = {picture.name: picture.document for picture in pictures.find(tmp_path / "scans")}
    assert found == {"a.png": "./scans", "scans/b.png": "scans"}
