"""Folders that an index must survive: odd names, links, broken files, a broken or locked index."""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image
from test_indexing import MODELS, PLACE, content, paths, update
from test_search import Embedder, lines, pages, root  # noqa: F401

from pagefinder import index
from pagefinder.errors import InputError
from pagefinder.indexing import reading, store
from pagefinder.indexing.encoder import Encoder
from pagefinder.search import main as search


def picture(path: Path, colour: tuple[int, int, int] = (250, 20, 20)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 40), colour).save(path, "PNG")


def test_names_with_any_character_are_kept_apart(root, tmp_path, capsys) -> None:  # noqa: F811
    folder = tmp_path / "odd"
    names = [
        "it's.png",
        "a\nb.png",
        'say "red".png',
        "' OR 1=1 --.png",
        "каталог/ü 日本.png",
        "%_.png",
    ]
    for number, name in enumerate(names):
        picture(folder / name, (200 + number, 20, 20))
    update(folder)
    assert paths() == sorted(names)
    (folder / "' OR 1=1 --.png").unlink()
    picture(folder / "it's.png", (1, 2, 3))
    assert update(folder).startswith("0 files new, 1 changed, 0 moved or copied, 1 removed, 4 unch")
    assert len(content()) == 5
    assert search(["red", "--pages", "odd", "--index", PLACE]) == 0
    assert len(lines(capsys)) == 5  # a page is a line, whatever its file is called


def test_a_name_that_is_no_unicode_is_passed_over(root, tmp_path, caplog) -> None:  # noqa: F811
    folder = tmp_path / "odd"
    picture(folder / "good.png")
    shutil.copy(folder / "good.png", os.fsdecode(os.fsencode(folder) + b"/bad\xff.png"))
    update(folder)
    assert paths() == ["good.png"]
    assert "bad\\udcff.png is passed over: its name is no Unicode" in caplog.text


def test_links_are_followed_inside_the_folder_alone(root, pages, tmp_path, caplog) -> None:  # noqa: F811
    picture(tmp_path / "secret/outside.png")
    (pages / "leaves.png").symlink_to(tmp_path / "secret/outside.png")
    (pages / "walks").symlink_to(tmp_path / "secret")
    (pages / "itself.png").symlink_to("itself.png")
    (pages / "inside.png").symlink_to("red.png")
    update(pages)
    assert paths() == ["green.pdf", "inside.png", "more/blue.JPG", "red.png"]
    for name in ("leaves.png", "walks", "itself.png"):
        assert f"{name} is passed over" in caplog.text


def test_scans_wait_for_ocr_and_are_read_when_it_is_there(root, pages, monkeypatch) -> None:  # noqa: F811
    monkeypatch.setattr("pagefinder.indexing.encoder.reads_text", lambda models: True)
    (pages / "green.pdf").unlink()  # read in other processes, which no test patches
    monkeypatch.setattr(reading, "can_read_scans", lambda: False)
    update(pages)
    assert {row["text_origin"] for row in content()} == {"unread"}
    monkeypatch.setattr(reading, "can_read_scans", lambda: True)
    monkeypatch.setattr("pagefinder.indexing.updating.can_read_scans", lambda: True)
    monkeypatch.setattr(reading.ocr, "recognise", lambda image: "words on a scan")
    update(pages)
    found = [(row["text"], row["text_origin"]) for row in content()]
    assert found == [("words on a scan", "ocr")] * 2
    assert update(pages).endswith("2 unchanged; 0 pages read")


def test_half_an_index_is_named_and_built_anew(root, pages, caplog) -> None:  # noqa: F811
    for victim in ("data", "_versions"):
        update(pages, rebuild=True)
        shutil.rmtree(Path(PLACE) / "pages.lance" / victim)
        with pytest.raises(InputError, match="index is damaged: .*index .* --rebuild"):
            update(pages)
        assert update(pages, rebuild=True).startswith("3 files new")
        assert len(content()) == 3
    assert search(["red", "--pages", "pages"]) == 0
    (default,) = (root / ".work/index").iterdir()
    shutil.rmtree(default / "pages.lance/data")
    caplog.clear()
    assert search(["red", "--pages", "pages"]) == 0  # nobody named it: it is ours to build anew
    assert "is damaged" in caplog.text


def test_a_reader_keeps_the_version_that_it_opened(root, pages) -> None:  # noqa: F811
    from pagefinder.serving.view import open_view, refreshed

    update(pages)
    wanted = Encoder(MODELS).schema
    view = open_view(PLACE, pages, wanted)
    (pages / "red.png").unlink()
    picture(pages / "azure.png", (20, 20, 250))
    update(pages)
    vector = Embedder(MODELS / "embedder").encode_query("red").astype("float32")
    assert view.pages(list(view.nearest(vector, 1)))[0]["path"] == "red.png"
    assert view.count() == 3
    newer = refreshed(view)
    assert {page["path"] for page in newer.pages(list(newer.nearest(vector, 9)))} == {
        *("azure.png", "green.pdf", "more/blue.JPG")
    }
    assert refreshed(newer) is newer


def test_a_full_disk_is_one_line(root, pages, monkeypatch, caplog) -> None:  # noqa: F811
    from lancedb.table import LanceTable

    def full(self, *arguments: object, **keywords: object) -> None:
        raise RuntimeError("lance error: LanceError(IO): No space left on device (os error 28)")

    update(pages)
    picture(pages / "new.png", (1, 2, 3))
    monkeypatch.setattr(LanceTable, "add", full)
    assert index.main(["pages", "--index", PLACE]) == 1
    assert f"the disk of {PLACE} is full: free some space, then run again" in caplog.text
    monkeypatch.undo()
    monkeypatch.chdir(root)
    assert len(content()) == 3


def test_many_small_commits_are_put_together(root, pages, monkeypatch) -> None:  # noqa: F811
    monkeypatch.setattr("pagefinder.indexing.tidying.COMMITS", 4)
    for number in range(9):
        picture(pages / f"{number}.png", (number, 0, 0))
        update(pages)
    stats = store.open_table(PLACE).stats()
    assert stats["fragment_stats"]["num_fragments"] <= 5
    assert len(content()) == 12
