"""Search of folders and of the last run's corpus, with stub models; the Hub is never called."""

import os
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from corpora import write_corpus
from PIL import Image

from pagefinder.data import pixels
from pagefinder.indexing import encoder, schema
from pagefinder.indexing.files import file_chunks, list_files
from pagefinder.indexing.reading import Page, Reading, open_page, read_chunk
from pagefinder.search import main
from tools import push

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


class Embedder:
    """Puts a page at its mean colour and a query at the colour it names."""

    encoded = 0

    def __init__(self, path: str, **keywords: object) -> None:
        assert (Path(path) / "config.json").is_file()

    def __getitem__(self, index: int) -> object:
        return object()

    def get_embedding_dimension(self) -> int:
        return 3

    def encode_document(self, images: list[Image.Image], **keywords: object) -> np.ndarray:
        Embedder.encoded += len(images)
        colours = np.stack([np.asarray(image, float).mean(axis=(0, 1)) + 1 for image in images])
        return colours / np.linalg.norm(colours, axis=1, keepdims=True)

    def encode_query(self, query: str, **keywords: object) -> np.ndarray:
        colour = np.array(COLOURS[query], float) + 1
        return colour / np.linalg.norm(colour)


class Reranker:
    """Prefers dark pages, whatever the question."""

    activation_fn = staticmethod(lambda logits: logits)

    def __init__(self, path: str, **keywords: object) -> None:
        pass

    def rank(
        self, query: str, images: list[Image.Image], **keywords: object
    ) -> list[dict[str, float]]:
        scores = [-float(np.asarray(image).mean()) for image in images]
        order = np.argsort(scores)[::-1]
        return [{"corpus_id": int(place), "score": scores[place]} for place in order]


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    for name in ("embedder", "reranker"):
        folder = tmp_path / "models/release" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    stub = types.ModuleType("sentence_transformers")
    stub.SentenceTransformer, stub.CrossEncoder = Embedder, Reranker
    monkeypatch.setitem(sys.modules, "sentence_transformers", stub)
    quiet = types.ModuleType("transformers.utils.logging")
    quiet.disable_progress_bar = lambda: None
    for name in ("transformers", "transformers.utils"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "transformers.utils.logging", quiet)
    monkeypatch.chdir(tmp_path)
    Embedder.encoded = 0
    return tmp_path


@pytest.fixture
def pages(tmp_path) -> Path:
    folder = tmp_path / "pages"
    (folder / "more").mkdir(parents=True)
    Image.new("RGB", (40, 40), (250, 20, 20)).save(folder / "red.png")
    Image.new("RGB", (40, 40), (20, 20, 250)).save(folder / "more/blue.JPG")
    Image.new("RGB", (40, 40), (10, 90, 10)).save(folder / "green.pdf")
    (folder / "notes.txt").write_text("no page")
    return folder


def lines(capsys) -> list[list[str]]:
    return [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]


def test_a_folder_is_ranked_by_score(root, pages, capsys) -> None:
    assert main(["blue", "--pages", "pages"]) == 0
    ranking = lines(capsys)
    assert [rank for rank, _, _ in ranking] == ["1", "2", "3"]
    assert ranking[0][2] == "more/blue.JPG"
    assert float(ranking[0][1]) > 0.99
    main(["green", "--pages", "pages", "--top", "1"])
    assert [label for _, _, label in lines(capsys)] == ["green.pdf, page 1"]


def test_a_folder_is_indexed_once_and_again_when_it_changes(root, pages, caplog) -> None:
    for _ in range(2):
        main(["red", "--pages", "pages"])
        assert Embedder.encoded == 3
    Image.new("RGB", (40, 40), (255, 0, 0)).save(pages / "redder.png")
    main(["red", "--pages", "pages"])
    assert Embedder.encoded == 4
    (root / "models/release/embedder/config.json").write_text('{"other": 1}')
    main(["red", "--pages", "pages"])
    assert Embedder.encoded == 8
    assert "holds vectors of the model" in caplog.text
    assert "it is built anew" in caplog.text
    assert len(list((root / ".work/index").iterdir())) == 1


def test_the_reranker_has_the_last_word(root, pages, capsys) -> None:
    main(["red", "--pages", "pages", "--rerank", "--top", "2"])
    ranking = lines(capsys)
    assert [label for _, _, label in ranking][0] == "green.pdf, page 1"
    assert len(ranking) == 2


def test_unreadable_files_are_passed_over_by_name(root, pages, caplog, capsys) -> None:
    (pages / "broken.png").write_bytes(b"no image")
    (pages / "broken.pdf").write_bytes(b"no PDF")
    assert main(["red", "--pages", "pages", "--top", "9"]) == 0
    assert len(lines(capsys)) == 3
    assert "broken.png is passed over" in caplog.text
    assert "broken.pdf, page 1 is passed over" in caplog.text


def read(folder: Path) -> list[Page]:
    """All pages of a folder, without their text by OCR."""
    reading = Reading(pixels.Pixels(min=1, max=10**6, multiple=1), "image", ocr=False)
    chunks = [chunk for file in list_files(folder).files for chunk in file_chunks(folder, file)]
    return [page for chunk in chunks for page in read_chunk(reading, chunk)]


def test_odd_files_are_said_and_cost_no_other_page(root, pages, caplog) -> None:
    os.mkfifo(pages / "pipe.png")
    (pages / "folder.pdf").mkdir()
    (pages / "nothing.pdf").symlink_to("nowhere")
    (pages / "bomb.pdf").write_bytes(
        b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
        b"2 0 obj<</Type/Pages/Kids[9 0 R]/Count 100000>>endobj\n"
        b"trailer<</Root 1 0 R/Size 3>>\n%%EOF"
    )
    listed = [file.path for file in list_files(pages).files]
    assert listed == ["bomb.pdf", "green.pdf", "more/blue.JPG", "red.png"]
    for name in ("pipe.png", "folder.pdf", "nothing.pdf"):
        assert f"{name} is passed over" in caplog.text
    found = {page.chunk.file.path: page.problem for page in read(pages)}
    assert found.pop("bomb.pdf") == "unreadable PDF: 100000 of 100000 pages are missing"
    assert set(found.values()) == {None}
    (pages / "red.png").unlink()
    (pages / "red.png").mkdir()
    with pytest.raises(pixels.BadImageError, match="missing file"):
        open_page(pages, "red.png", 0, encoder.ANY_SIZE)


def test_every_page_of_a_pdf_counts(pages) -> None:
    with pypdfium2.PdfDocument.new() as document:
        for _ in range(3):
            document.new_page(200, 100)
        document.save(pages / "three.pdf")
    found = read(pages)[-3:]
    assert [(page.chunk.file.path, page.number) for page in found] == [
        ("three.pdf", number) for number in (1, 2, 3)
    ]
    assert found[-1].image.size == (400, 200)  # at 144 dpi


def corpus(root: Path) -> np.ndarray:
    rows = [
        {
            "page_id": f"p{number}",
            "split": "eval",
            "document_id": "report" if number else None,
            "page_number": 7 if number else None,
            "image": {"bytes": pixels.encode_png(Image.new("RGB", (32, 32), colour)), "path": None},
        }
        for number, colour in enumerate(COLOURS.values())
    ]
    opened = write_corpus(root / "data/corpus", rows, [], [])
    images = [opened.image(row) for row in range(3)]
    vectors = Embedder(str(root / "models/release/embedder")).encode_document(images)
    Embedder.encoded = 0
    (root / "data/embeddings/tuned").mkdir(parents=True)
    # A fourth dimension, which the release cuts off.
    return np.hstack([vectors * 0.6, np.full((3, 1), 0.8)]).astype(np.float32)


def test_the_corpus_is_searched_in_the_runs_own_vectors(root, capsys) -> None:
    np.save(root / "data/embeddings/tuned/pages.npy", corpus(root))
    assert main(["blue"]) == 0
    ranking = lines(capsys)
    assert ranking[0][1:] == ["1.0000", "report, page 7 (p2)"]
    assert ranking[-1][2] == "p0" or ranking[-2][2] == "p0"
    assert Embedder.encoded == 3  # to see whose vectors they are; none is encoded for the index


@pytest.mark.parametrize("kind", ["none", "other model", "other corpus"])
def test_vectors_of_another_model_are_not_trusted(root, kind, capsys) -> None:
    vectors = corpus(root)
    if kind == "other model":
        np.save(root / "data/embeddings/tuned/pages.npy", vectors[::-1])
    elif kind == "other corpus":
        np.save(root / "data/embeddings/tuned/pages.npy", vectors[:2])
    main(["blue", "--top", "1"])
    assert lines(capsys)[0][2] == "report, page 7 (p2)"
    assert Embedder.encoded == {"none": 3, "other model": 6, "other corpus": 3}[kind]


def test_mistakes_are_named_in_one_line(root, pages, caplog) -> None:
    (root / "empty").mkdir()
    for arguments, message in (
        (["red"], "run `make repro`, or name a folder by --pages"),
        (["red", "--pages", "gone"], "'gone' is no folder"),
        (["red", "--pages", "empty"], "holds no image and no PDF"),
        (["red", "--models", "gone"], "gone/embedder is not there"),
        ([" "], "not empty"),
        (["red", "--top", "0"], "at least 1"),
    ):
        caplog.clear()
        assert main(arguments) == 1
        assert message in caplog.text
        assert len(caplog.text.splitlines()) == 1


def test_a_folder_without_one_readable_page_fails(root, caplog) -> None:
    (root / "bad").mkdir()
    (root / "bad/x.png").write_bytes(b"?")
    for _ in range(2):
        caplog.clear()
        assert main(["red", "--pages", "bad"]) == 1
        assert "x.png is passed over: not a readable image" in caplog.text
        assert "no page could be read" in caplog.text


def test_the_budget_is_the_processors() -> None:
    image = types.SimpleNamespace(
        size={"shortest_edge": 1024, "longest_edge": 81920}, patch_size=16, merge_size=2
    )
    part = types.SimpleNamespace(processor=types.SimpleNamespace(image_processor=image))
    budget = encoder.pixel_budget([part])
    assert (budget.min, budget.max, budget.multiple) == (1024, 81920, 32)
    assert encoder.pixel_budget([object()]) is encoder.ANY_SIZE


def test_push_only_lists_unless_told_otherwise(root, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # an import would fail
    assert push.main([], root) == 0
    output = capsys.readouterr().out
    assert "embedder -> REPO_PREFIX-embedder" in output
    assert "config.json" in output
    assert "nothing was sent" in output
    shutil.rmtree(root / "models/release/reranker")  # as where params name none
    assert push.main([], root) == 0
    assert "reranker" not in capsys.readouterr().out
    shutil.rmtree(root / "models/release/embedder")
    assert push.main([], root) == 1
    assert "run `make repro`" in capsys.readouterr().err


def test_what_the_hub_refuses_is_one_line(root, capsys, monkeypatch) -> None:
    class Api:
        def create_repo(self, name: str, **keywords: object) -> None:
            raise OSError("401 Client Error\nInvalid token")

    hub = types.ModuleType("huggingface_hub")
    hub.HfApi = Api
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert push.main(["--yes", "me/pages"], root) == 1
    message = capsys.readouterr().err
    assert message == "error: me/pages-embedder was not uploaded: 401 Client Error Invalid token\n"


def test_push_uploads_both_models_privately(root, capsys, monkeypatch) -> None:
    calls = []

    class Api:
        def create_repo(self, name: str, **keywords: object) -> types.SimpleNamespace:
            calls.append((name, keywords))
            return types.SimpleNamespace(repo_id=name)

        def upload_folder(self, **keywords: object) -> None:
            calls.append((keywords["repo_id"], keywords["folder_path"]))

    hub = types.ModuleType("huggingface_hub")
    hub.HfApi = Api
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert push.main(["--yes", "me/pages"], root) == 0
    private = {"private": True, "exist_ok": True}
    assert calls == [
        ("me/pages-embedder", private),
        ("me/pages-embedder", root / "models/release/embedder"),
        ("me/pages-reranker", private),
        ("me/pages-reranker", root / "models/release/reranker"),
    ]


def test_every_page_of_a_tiff_file_and_of_a_pdf_in_capitals_is_opened(tmp_path):
    pages = [Image.new("RGB", (64, 64), colour) for colour in COLOURS.values()]
    pages[0].save(tmp_path / "fax.tif", save_all=True, append_images=pages[1:])
    pages[0].copy().save(tmp_path / "MANUAL.PDF", "PDF", save_all=True, append_images=pages[1:])
    found = read(tmp_path)
    rows = [
        {"page_id": "", "path": page.chunk.file.path, "document": page.document} for page in found
    ]
    labels = [
        schema.label(row | {"page_number": page.number, "rows": page.chunk.total})
        for row, page in zip(rows, found, strict=True)
    ]
    assert labels == [
        f"{name}, page {number}" for name in ("MANUAL.PDF", "fax.tif") for number in (1, 2, 3)
    ]
    for row, page in enumerate(found):
        mean = np.asarray(page.image, float).mean(axis=(0, 1))
        assert np.abs(mean - list(COLOURS.values())[row % 3]).max() < 9, labels[row]
        assert page.text == ""
