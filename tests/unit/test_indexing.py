"""The index of a folder: what is new, changed, moved or removed costs that alone; stub models."""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image
from sources import write_pdf
from test_search import Embedder, pages, root  # noqa: F401

from pagefinder.errors import InputError
from pagefinder.indexing import schema, store, updating
from pagefinder.indexing.encoder import Encoder
from pagefinder.indexing.updating import bring_up_to_date

MODELS = Path("models/release")
PLACE = "index"


def update(folder: Path, **keywords: object) -> str:
    """Index the folder; what was done, as the command says it."""
    return str(bring_up_to_date(folder, Encoder(MODELS), Path(), PLACE, **keywords))


def content() -> list[dict[str, object]]:
    """The rows of the index, sorted, without times."""
    rows = store.open_table(PLACE).search().to_list()
    rows.sort(key=lambda row: (row["path"], row["row"]))
    return [{name: value for name, value in row.items() if name != "modified"} for row in rows]


def paths() -> list[str]:
    return [row["path"] for row in content()]


def test_a_page_is_a_row_with_all_that_a_search_shows(root, pages) -> None:  # noqa: F811
    write_pdf(pages / "two.pdf", [["the blue whale"], ["a red herring"]])
    assert update(pages).startswith("4 files new, ")
    rows = {schema.label(row): row for row in content()}
    names = ["green.pdf, page 1", "more/blue.JPG", "red.png", "two.pdf, page 1", "two.pdf, page 2"]
    assert list(rows) == names
    page = rows["two.pdf, page 2"]
    assert (page["text"], page["text_origin"]) == ("a red herring", "source")
    assert (page["row"], page["rows"], page["page_number"]) == (1, 2, 2)
    assert page["thumbnail"].startswith(b"\xff\xd8")
    assert len({row["page_id"] for row in rows.values()}) == 5
    for row in rows.values():
        assert sum(number**2 for number in row["vector"]) == pytest.approx(1)
        assert len(row["model_hash"]) == 20


def test_a_file_costs_itself_alone(root, pages) -> None:  # noqa: F811
    write_pdf(pages / "long.pdf", [[f"page {number}"] for number in range(40)])
    update(pages)
    assert Embedder.encoded == 43
    assert update(pages) == (
        "0 files new, 0 changed, 0 moved or copied, 0 removed, 4 unchanged; 0 pages read"
    )
    os.utime(pages / "red.png")  # touched: hashed, and not read again
    Image.new("RGB", (40, 40), (255, 255, 0)).save(pages / "more/yellow.png")
    write_pdf(pages / "long.pdf", [["another"], ["text"]])
    (pages / "green.pdf").unlink()
    (pages / "more/blue.JPG").rename(pages / "azure's.jpg")
    assert update(pages) == (
        "1 files new, 1 changed, 1 moved or copied, 1 removed, 1 unchanged; 3 pages read"
    )
    assert Embedder.encoded == 46
    grown = content()
    assert paths() == ["azure's.jpg", "long.pdf", "long.pdf", "more/yellow.png", "red.png"]
    assert update(pages).endswith("4 unchanged; 0 pages read")
    shutil.rmtree(PLACE)
    update(pages)
    assert content() == grown  # to the bit, as if built anew


def test_an_index_never_mixes_models(root, pages) -> None:  # noqa: F811
    update(pages)
    before = content()
    (MODELS / "embedder/README.md").write_text("a card changes no vector")
    update(pages)
    (MODELS / "embedder/config.json").write_text('{"other": 1}')
    with pytest.raises(InputError, match="of the model .*, not of .*index .* --rebuild"):
        update(pages)
    assert content() == before
    assert update(pages, rebuild=True).endswith("3 pages read")
    assert {row["model_hash"] for row in content()}.isdisjoint(row["model_hash"] for row in before)


def test_ctrl_c_keeps_what_is_encoded(root, pages, monkeypatch) -> None:  # noqa: F811
    write_pdf(pages / "long.pdf", [[f"page {number}"] for number in range(40)])
    rows = Encoder.rows

    def interrupted(self, chunk_pages):
        if chunk_pages[0].row == 32:
            raise KeyboardInterrupt
        return rows(self, chunk_pages)

    monkeypatch.setattr(Encoder, "rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        update(pages)
    assert paths() == ["green.pdf"] + ["long.pdf"] * 32
    monkeypatch.setattr(Encoder, "rows", rows)
    assert update(pages).endswith("10 pages read")
    assert Embedder.encoded == 43
    whole = content()
    shutil.rmtree(PLACE)
    update(pages)
    assert content() == whole


def test_a_file_that_changes_while_it_is_read_is_left_to_the_next_run(
    root,  # noqa: F811
    pages,  # noqa: F811
    monkeypatch,
    caplog,
) -> None:
    hashed = updating.make_plan

    def changing(*arguments, **keywords):
        plan = hashed(*arguments, **keywords)
        Image.new("RGB", (40, 40), (1, 2, 3)).save(pages / "red.png")
        return plan

    monkeypatch.setattr(updating, "make_plan", changing)
    update(pages)
    assert paths() == ["green.pdf", "more/blue.JPG"]
    assert "red.png changed while it was read" in caplog.text
    monkeypatch.setattr(updating, "make_plan", hashed)
    assert update(pages).startswith("1 files new")
    assert len(content()) == 3


def test_an_empty_folder_takes_nothing_from_the_index(root, pages) -> None:  # noqa: F811
    update(pages)
    before = content()
    shutil.move(pages, "elsewhere")
    pages.mkdir()
    with pytest.raises(InputError, match="holds no image and no PDF"):
        update(pages)
    assert content() == before
