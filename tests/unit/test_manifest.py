"""An index that a manifest names stays whole, however it goes on growing."""

from datetime import timedelta

import pytest

from pagefinder.errors import InputError
from pagefinder.indexing import store, tidying
from pagefinder.indexing.schema import page_schema
from tools import manifest

SCHEMA = page_schema(2, "a model")


def rows(*places: int):
    """Rows of one file."""
    row = {
        "page_id": "p",
        "path": "a.pdf",
        "rows": 3,
        "file_hash": "f",
        "size": 1,
        "modified": 1,
        "model_hash": "a model",
        "text": "",
        "text_origin": "none",
        "vector": [1.0, 0.0],
    }
    return SCHEMA.empty_table().from_pylist([row | {"row": place} for place in places], SCHEMA)


def test_tidying_keeps_a_version_that_has_a_tag(tmp_path, monkeypatch):
    place = str(tmp_path / "index")
    table = store.create_table(place, SCHEMA)
    for number in range(3):
        store.commit(table, [rows(number)], place)
    table.tags.create("manifest-4", table.version)
    store.remove(table, ["row = 0"], place)
    monkeypatch.setattr(tidying, "COMMITS", 1)
    monkeypatch.setattr(tidying, "KEPT", timedelta(0))
    tidying.tidy(table, place)
    assert table.stats()["fragment_stats"]["num_fragments"] == 1
    assert table.count_rows() == 2
    table.checkout("manifest-4")
    assert sorted(row["row"] for row in table.search().to_list()) == [0, 1, 2]


def test_what_is_no_index_or_no_manifest_is_named(tmp_path, capsys):
    assert manifest.main([str(tmp_path), str(tmp_path / "index.json"), "--check"]) == 1
    assert "is no manifest of an index" in capsys.readouterr().err
    (tmp_path / "index.json").write_text(
        '{"version": 4, "rows": 3, "bytes": 9, "fragments": [{"files": {"gone.lance": 9}}]}'
    )
    assert manifest.main([str(tmp_path), str(tmp_path / "index.json"), "--check"]) == 1
    assert "holds no index" in capsys.readouterr().err


def test_a_file_that_is_gone_is_named(tmp_path):
    place = str(tmp_path / "index")
    store.commit(store.create_table(place, SCHEMA), [rows(0)], place)
    about = {"version": 2, "rows": 1, "bytes": 9, "fragments": [{"files": {"gone.lance": 9}}]}
    with pytest.raises(InputError, match="1 files of version 2 are not in .*, gone.lance among"):
        manifest.check(place, about)
    about["fragments"] = []
    assert manifest.check(place, about).endswith("version 2: 1 pages, 0 fragments, 0.0 MB")
