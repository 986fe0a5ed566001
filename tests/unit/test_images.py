"""What a cell of a table or dataset may open, and what becomes of one that is no image."""

import io
import os
import zipfile
from functools import partial

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sources import page, with_params

from pagefinder.errors import InputError
from pagefinder.sources import hub, hub_splits, images, storing, table
from pagefinder.sources.images import Access, BadCellError

datasets.disable_progress_bars()


def dataset(root, paths, name="train.parquet"):
    """A dataset in the folder `root`/set whose images are {bytes: null, path} pairs."""
    (root / "set").mkdir(exist_ok=True)
    pair = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {
        "query": [f"question {n}" for n in range(len(paths))],
        "image": pa.array([{"bytes": None, "path": str(path)} for path in paths], pair),
    }
    pq.write_table(pa.table(columns), root / "set" / name)


def pages(source):
    """Image or problem of each page of a source."""
    rows = [row for part in source.parts.values() for row in part(0)]
    items = [item for row in rows for item in row if isinstance(item, storing.SourcePage)]
    return [item.problem or item.image for item in items]


def test_a_local_dataset_opens_files_of_its_folder_alone(tmp_path):
    """Also where the cell says that the library of the Hub should open the path."""
    (tmp_path / "secret.png").write_bytes(page(9))
    bad = {
        "/etc/hostname": "path leaves the folder",
        "/proc/self/cmdline": "path leaves the folder",
        "../secret.png": "path leaves the folder",
        str(tmp_path / "secret.png"): "path leaves the folder",
        "link.png": "path leaves the folder",
        "gone.png": "missing file",
        "folder.png": "missing file",
        "pipe.png": "missing file",
        "http://127.0.0.1:1/x.png": "URL not allowed",
        "file:///etc/hostname": "URL not allowed",
        "hf://datasets/who/what@main/1.png": "URL not allowed",
        "zip://1.png::/etc/passwd": "path leaves the folder",
        "zip://2.png::images.zip": "unreadable file",
        "zip://1.png::zip://x.zip::images.zip": "URL not allowed",
        "file:///etc/hostname::images.zip": "URL not allowed",
        "a\0b": "unreadable file",
        "x" * 5000: "unreadable file",
    }
    dataset(tmp_path, [*bad, "1.png", str(tmp_path / "set/1.png"), "zip://1.png::images.zip"])
    folder = tmp_path / "set"
    (folder / "1.png").write_bytes(page(1))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        archive.writestr("1.png", page(1))
    params = with_params("hub", {"path": "set/train.parquet", "eval": ""})
    found = pages(hub.open_source(params, tmp_path))
    assert found[-3:] == [page(1)] * 3
    for (path, reason), problem in zip(bad.items(), found[:-3], strict=True):
        assert str(problem).startswith(reason), (path, problem)


@pytest.mark.parametrize("archive", [False, True])
def test_an_image_folder_is_read(tmp_path, archive):
    (tmp_path / "set").mkdir()
    files = {"1.png": page(1), "metadata.jsonl": b'{"file_name": "1.png", "query": "what?"}\n'}
    if archive:
        with zipfile.ZipFile(tmp_path / "set" / "train.zip", "w") as target:
            for name, content in files.items():
                target.writestr(name, content)
    else:
        for name, content in files.items():
            (tmp_path / "set" / name).write_bytes(content)
    params = with_params("hub", {"path": "set", "eval": ""})
    assert pages(hub.open_source(params, tmp_path)) == [page(1)]


def stub_hub(monkeypatch, tmp_path, card=None):
    info = {"sha": "c0ffee", "siblings": (), "card_data": card}
    api = {"dataset_info": lambda self, path, **_: type("Info", (), info)}
    monkeypatch.setattr(hub, "HfApi", type("Api", (), api))
    opened = partial(hub_splits.local, tmp_path / "set")
    monkeypatch.setattr(hub_splits, "files", lambda *_: set())
    monkeypatch.setattr(hub_splits, "remote", lambda path, commit: opened())


def test_a_dataset_of_the_hub_opens_its_own_files_alone(tmp_path, monkeypatch):
    own = "hf://datasets/who/what@c0ffee"
    bad = {
        "/etc/hostname": "path not allowed",
        "1.png": "path not allowed",
        "hf://datasets/who/other@c0ffee/1.png": "path not allowed",
        "hf://datasets/who/what@c0ffeeee/1.png": "path not allowed",
        f"{own}/../../other/1.png": "path not allowed",
        f"{own}/1.png::/etc/hostname": "path not allowed",
        "zip://1.png::/etc/images.zip": "path not allowed",
        "zip://1.png::hf://datasets/who/other@c0ffee/images.zip": "path not allowed",
        "https://example.org/1.png": "URL not allowed",
        f"file:///etc/hostname::{own}/1.png": "URL not allowed",
        f"{own}/gone.png": "unreadable file",
    }
    good = [f"{own}/1.png", f"zip://1.png::{own}/images.zip"]
    dataset(tmp_path, [*bad, *good])
    stub_hub(monkeypatch, tmp_path)
    opened = []

    def xopen(path, mode):
        opened.append(path)
        if "gone" in path:
            raise RuntimeError("404")
        return io.BytesIO(page(1))

    monkeypatch.setattr(datasets.utils.file_utils, "xopen", xopen)
    params = with_params("hub", {"path": "who/what", "revision": "main", "eval": ""})
    found = pages(hub.open_source(params, tmp_path))
    assert found[-2:] == [page(1)] * 2
    for (path, reason), problem in zip(bad.items(), found[:-2], strict=True):
        assert str(problem).startswith(reason), (path, problem)
    assert opened == [f"{own}/gone.png", *good]


CONFIG = (
    "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: {}\n---\n"
)


@pytest.mark.parametrize("place", ["../secret.jsonl", "{}/secret.jsonl", "http://127.0.0.1:1/x"])
def test_a_datasets_card_names_no_file_outside(tmp_path, monkeypatch, place):
    (tmp_path / "set").mkdir()
    (tmp_path / "secret.jsonl").write_text('{"query": "what?", "image": "1.png"}\n')
    place = place.format(tmp_path)
    (tmp_path / "set/README.md").write_text(CONFIG.format(place))
    params = with_params("hub", {"path": "set", "eval": ""})
    with pytest.raises(InputError, match="as its data, which is not in it"):
        hub.open_source(params, tmp_path)
    (tmp_path / "set/README.md").rename(tmp_path / "set/.huggingface.yaml")
    (tmp_path / "set/.huggingface.yaml").write_text(CONFIG.format(place).strip("-\n"))
    with pytest.raises(InputError, match="as its data, which is not in it"):
        hub.open_source(params, tmp_path)
    files = [{"split": "train", "path": place}]
    card = type("Card", (), {"to_dict": lambda self: {"configs": [{"data_files": files}]}})()
    stub_hub(monkeypatch, tmp_path, card)
    params = with_params("hub", {"path": "who/what", "revision": "main", "eval": ""})
    with pytest.raises(InputError, match="as its data, which is not in it"):
        hub.open_source(params, tmp_path)


@pytest.mark.parametrize("file", ["/etc/x.parquet", "hf://datasets/who/other@c0ffee/x.parquet"])
def test_the_files_of_a_dataset_of_the_hub_are_its_own(monkeypatch, file):
    config = type("Config", (), {"data_files": {"train": [file]}})
    builder = type("Builder", (), {"config": config})
    monkeypatch.setattr(datasets, "get_dataset_config_names", lambda *_, **__: ["default"])
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda *_, **__: ["train"])
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda *_, **__: builder)
    with pytest.raises(InputError, match=f"{file}' as its data, which is not in it"):
        hub_splits.remote("who/what", "c0ffee")
    config.data_files = {"train": ["hf://datasets/who/what@c0ffee/x.parquet"]}
    assert set(hub_splits.remote("who/what", "c0ffee")["default"]) == {"train"}


def test_a_dataset_that_breaks_off_is_named(tmp_path):
    dataset(tmp_path, ["1.png"] * 3)
    (tmp_path / "set/1.png").write_bytes(page(1))
    lines = ['{"query": "q", "image": "1.png"}'] * 20
    for name, content in {
        "stray.csv": 'query,image\n"a,1.png\nb,1.png\nc",1.png\n',
        "torn.jsonl": "\n".join([*lines, "{torn"]),
    }.items():
        (tmp_path / "set" / name).write_text(content)
        params = with_params("hub", {"path": f"set/{name}", "eval": ""})
        with pytest.raises(InputError, match="stray.csv line 2: broken row|torn|does not open"):
            pages(hub.open_source(params, tmp_path))


def test_one_number_among_the_questions_changes_no_other(tmp_path):
    """The library calls such a column JSON; undecoded, its texts are in quotes."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set/1.png").write_bytes(page(1))
    rows = ['"a", "image": "1.png"', '7, "image": "1.png"', 'null, "image": ["1.png", "1.png"]']
    (tmp_path / "set/t.jsonl").write_text("".join(f'{{"query": {row}}}\n' for row in rows))
    source = hub.open_source(with_params("hub", {"path": "set", "eval": ""}), tmp_path)
    queries = [row[-1] for row in source.parts["train"](0)]
    assert [(query.text, query.problem) for query in queries] == [
        ("a", None),
        ("7", "wrong type: query is int"),
        ("", None),
    ]
    assert pages(source) == [page(1)] * 4


@pytest.mark.parametrize(
    ("grade", "expected"),
    [
        *(("high", None), (0.5, None), (float("nan"), None), (float("inf"), None), (2**40, None)),
        *((2, 2), (1.0, 1), (True, 1), ("3", 3), (None, 0), (-1, -1)),
    ],
)
def test_the_relevance_of_a_judgement_is_a_whole_number(tmp_path, grade, expected):
    """A column that nobody reads, with a date out of range, stands beside it."""
    for name, columns in {
        "corpus": {"_id": ["1", "2"], "image": ["1.png"] * 2},
        "queries": {"_id": ["a"], "text": ["what?"]},
        "qrels": {"query-id": ["a"], "corpus-id": ["1"], "score": [grade]}
        | {"when": pa.array([2**50], pa.timestamp("ms"))},
    }.items():
        (tmp_path / "set" / name).mkdir(parents=True)
        pq.write_table(pa.table(columns), tmp_path / "set" / name / "test.parquet")
    params = with_params("hub", {"path": "set"})
    if expected is None:
        with pytest.raises(InputError, match=f"qrels test:1 has the relevance '?{grade}'?: write"):
            hub.open_source(params, tmp_path)
    else:
        rows = list(hub.open_source(params, tmp_path).parts["queries"](0))
        assert dict(rows[0][0].relevance) == {"1": expected}


def test_a_card_that_is_no_yaml_is_named(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/t.jsonl").write_text('{"query": "a", "image": "1.png"}\n')
    (tmp_path / "set/README.md").write_text("---\nconfigs: [\n---\n")
    with pytest.raises(InputError, match="'set' does not open: while parsing") as error:
        hub.open_source(with_params("hub", {"path": "set"}), tmp_path)
    assert "\n" not in str(error.value)


def test_a_date_out_of_range_in_a_column_that_nobody_reads(tmp_path):
    """PyArrow cannot turn it into a Python date."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set/1.png").write_bytes(page(1))
    columns = {
        "query": ["a", "b"],
        "image": ["1.png"] * 2,
        "when": pa.array([1, 2**50], pa.timestamp("ms")),
    }
    pq.write_table(pa.table(columns), tmp_path / "set/t.parquet")
    for source, params in (
        (table, with_params("table", input="set")),
        (hub, with_params("hub", {"path": "set", "eval": ""})),
    ):
        assert pages(source.open_source(params, tmp_path)) == [page(1)] * 2
    pq.write_table(
        pa.table({**columns, "document_id": columns["when"]}), tmp_path / "set/t.parquet"
    )
    rows = list(table.open_source(with_params("table", input="set"), tmp_path).parts["train"](0))
    assert [row[-1].problem for row in rows][0] is None
    assert rows[1][-1].problem.startswith("broken row: ")


@pytest.mark.parametrize("mode", ["F", "I", "I;16", "CMYK", "HSV", "YCbCr", "1", "RGBA"])
def test_images_of_every_mode_become_bytes(mode):
    data = images.read(Image.new(mode, (5, 5)), Access())
    assert Image.open(io.BytesIO(data)).size == (5, 5)


def test_images_that_cannot_be_written_are_named(tmp_path):
    for image in (Image.new("RGB", (0, 5)), Image.fromarray(np.full((4, 4), np.nan, np.float32))):
        with pytest.raises(BadCellError, match="unreadable image"):
            images.read(image, Access())
        with pytest.raises(InputError, match="row 0: unreadable image"):
            table.save_rows([{"query": "q", "image": image}], tmp_path / "t.parquet")


def test_what_is_called_like_a_table_and_is_no_file(tmp_path, caplog):
    (tmp_path / "t.csv").mkdir()
    os.mkfifo(tmp_path / "u.csv")
    (tmp_path / "v.jsonl").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"holds no table: .*t.csv, u.csv, v.jsonl: no file"):
        table.open_source(with_params("table", input="."), tmp_path)
    (tmp_path / "1.png").write_bytes(page(1))
    (tmp_path / "w.csv").write_text("query,image\nx,1.png\n")
    source = table.open_source(with_params("table", input="."), tmp_path)
    assert pages(source) == [page(1)]
    assert "t.csv, u.csv, v.jsonl" in caplog.text
    with pytest.raises(InputError, match=r"table.file is 'u.csv', .* is missing or no"):
        table.open_source(with_params("table", {"file": "u.csv"}, input="."), tmp_path)
    for name in ("t.csv", "u.csv"):
        with pytest.raises(InputError, match="does not open|neither file nor folder"):
            hub.open_source(with_params("hub", {"path": name}), tmp_path)


def test_a_key_that_stands_twice_in_a_row_is_named(tmp_path):
    (tmp_path / "1.png").write_bytes(page(1))
    (tmp_path / "t.jsonl").write_text(
        '{"query": "a", "image": "1.png"}\n{"query": "b", "image": "2.png", "image": "1.png"}\n'
    )
    rows = list(table.open_source(with_params("table", input="."), tmp_path).parts["train"](0))
    assert rows[1][0].problem == "broken row: the key 'image' stands 2 times"
