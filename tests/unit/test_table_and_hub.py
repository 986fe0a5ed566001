"""Tables of one's own and datasets that `load_dataset` opens, in every layout."""

import io
import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import report_inputs
from PIL import Image
from sources import page, with_params

from pagefinder.data.corpus import Corpus
from pagefinder.errors import InputError
from pagefinder.layout import CORPUS, SOURCE
from pagefinder.reporting.inputs import read_inputs
from pagefinder.reporting.sections import provenance
from pagefinder.sources import hub, hub_splits, storing, table, writing
from stages import download, prepare

datasets.disable_progress_bars()


def run(root, source, data=None, **changes):
    params = with_params(source, data, **changes)
    download.main(params, root)
    prepare.main(params, root)
    return Corpus(root / CORPUS)


def counts(corpus):
    return corpus.queries["split"].value_counts().to_dict()


def image(number):
    return Image.open(io.BytesIO(page(number)))


def test_list_of_dicts_becomes_a_table(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "on-disk.png").write_bytes(page(50))
    rows = [{"query": f"q {n}", "image": image(n), "negative": [page(n + 30)]} for n in range(12)]
    rows[0]["image"] = [image(0), tmp_path / "on-disk.png"]
    rows[1]["document_id"], rows[1]["page_number"], rows[1]["text"] = "a book", 7, "its words"
    table.save_rows(rows, tmp_path / "raw" / "mine.parquet")
    corpus = run(tmp_path, "table", input="raw")
    assert len(corpus.pages) == 25
    assert (corpus.qrels.groupby("query_id")["relevance"].sum() == 2).sum() == 1
    described = corpus.pages.dropna(subset="document_id").iloc[0]
    assert tuple(described[["document_id", "page_number", "text"]]) == ("a book", 7, "its words")
    with pytest.raises(InputError, match="row 0 has 'picture'"):
        table.save_rows([{"picture": 1}], tmp_path / "raw" / "bad.parquet")
    with pytest.raises(InputError, match="row 0: missing file"):
        table.save_rows([{"query": "q", "image": "nowhere.png"}], tmp_path / "raw" / "bad.parquet")
    with pytest.raises(InputError, match="row 0 has no query"):
        table.save_rows([{"image": page(1)}], tmp_path / "raw" / "bad.parquet")


def test_saved_rows_are_written_in_groups_of_bounded_size(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "GROUP_ROWS", 5)
    monkeypatch.setattr(table, "GROUP_BYTES", 10_000)
    rows = [{"query": f"q {n}", "image": b"x" * (9_000 if n == 6 else 1)} for n in range(13)]
    file = pq.ParquetFile(table.save_rows(iter(rows), tmp_path / "mine.parquet"))
    groups = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert groups == [5, 5, 3]
    monkeypatch.setattr(table, "GROUP_BYTES", 9_000)
    file = pq.ParquetFile(table.save_rows(iter(rows), tmp_path / "mine.parquet"))
    groups = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert groups == [5, 2, 5, 1]
    assert file.read()["query"].to_pylist() == [row["query"] for row in rows]


def test_csv_with_an_eval_file(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    for name, first in (("train", 0), ("held-out", 20)):
        lines = [f'"question, {n}",{n}.png,{n + 40}.png' for n in range(first, first + 8)]
        (folder / f"{name}.csv").write_text("\n".join(["query,image,negative_a", *lines, "torn"]))
        for n in range(first, first + 8):
            (folder / f"{n}.png").write_bytes(page(n))
            (folder / f"{n + 40}.png").write_bytes(page(n + 40))
    corpus = run(tmp_path, "table", {"eval": "held-out.csv"}, input="raw", max_quarantined=0.5)
    assert counts(corpus) == {"train": 7, "dev": 1, "eval": 8}
    assert set(corpus.qrels["relevance"]) == {0, 1}


def test_parquet_cells_may_be_bytes_pairs_paths_and_lists(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "7.png").write_bytes(page(7))
    pair = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {
        "query": [f"q {n}" for n in range(12)],
        "image": pa.array([page(n) for n in range(12)], pa.binary()),
        "negative_a": pa.array([{"bytes": page(n + 20), "path": None} for n in range(12)], pair),
        "negative_b": pa.array([[page(n + 40), page(n + 60)] for n in range(12)]),
        "negative_c": pa.array(["7.png"] + [None] * 11),
    }
    pq.write_table(pa.table(columns), folder / "mine.parquet")
    (folder / "another.csv").write_text("query,image\n")
    corpus = run(tmp_path, "table", {"file": "mine.parquet"}, input="raw")
    assert corpus.qrels["relevance"].value_counts().to_dict() == {0: 37, 1: 12}
    assert len(corpus.pages) == 48


@pytest.mark.parametrize(
    ("files", "settings", "message"),
    [
        ({}, {}, "holds no table"),
        ({"a.csv": "query,image\n", "b.jsonl": ""}, {}, "holds several tables"),
        ({"a.csv": "question,page\nx,y\n"}, {}, "has no column 'query'; it has 'question', 'page'"),
        ({"a.jsonl": '{"query": "x", "pic": "y"}'}, {}, "has no column 'image'"),
        ({"a.jsonl": ""}, {}, "has no column 'query'; it has none"),
        (
            {"a.jsonl": "\n{torn\n[1]\n"},
            {},
            "has no whole row, the first is line 2: broken row: Exp",
        ),
        ({"a.parquet": "no"}, {}, "is not a Parquet file"),
        ({"a.csv": "query,image\n"}, {"eval": "b.csv"}, "b.csv is missing"),
        ({"a.csv": "query,image\n"}, {"file": "b.csv"}, "table.file is 'b.csv', .* is missing"),
        ({"a.csv": "query,image\n", "b.txt": ""}, {"eval": "b.txt"}, "missing or no .jsonl"),
    ],
)
def test_table_that_cannot_be_used_is_a_clear_error(tmp_path, files, settings, message):
    folder = tmp_path / "raw"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_text(content)
    with pytest.raises(InputError, match=message) as error:
        download.main(with_params("table", settings, input="raw"), tmp_path)
    assert "\n" not in str(error.value)
    assert not (tmp_path / SOURCE).exists()


@pytest.mark.parametrize(
    ("source", "data", "group"),
    [("table", {}, 50), ("table", {}, 5000), ("hub", {"path": "raw"}, 50)],
)
def test_a_parquet_file_is_never_held_whole(tmp_path, source, data, group):
    """Nor is a table's only row group. `datasets` reads each row group whole."""
    rows, size = 5000, 3000
    noise, png = np.random.default_rng(0), page(1)
    images = [png + noise.bytes(size) for _ in range(rows)]
    (tmp_path / "raw").mkdir()
    columns = pa.table({"query": list(map(str, range(rows))), "image": images})
    pq.write_table(columns, tmp_path / "raw/train.parquet", row_group_size=group)
    del columns
    params = with_params(source, {"eval": ""} | data, input="raw")
    opened = {"table": table, "hub": hub}[source].open_source(params, tmp_path)
    before, held = pa.total_allocated_bytes(), []
    for _ in opened.parts["train"](0):
        held.append(pa.total_allocated_bytes() - before)
    assert len(held) == rows
    assert max(held) < 0.6 * rows * size


@pytest.mark.parametrize("groups", [(3, 0, 2), (0, 3)])
def test_empty_row_groups_hide_no_rows(tmp_path, groups):
    (tmp_path / "raw").mkdir()
    columns = pa.table({"query": ["q"] * max(groups), "image": [page(1)] * max(groups)})
    with pq.ParquetWriter(tmp_path / "raw/train.parquet", columns.schema) as writer:
        for rows in groups:
            writer.write_table(columns[:rows])
    opened = hub.open_source(with_params("hub", {"eval": "", "path": "raw"}), tmp_path)
    assert len(list(opened.parts["train"](0))) == sum(groups)


def test_a_torn_parquet_table_is_one_line(tmp_path):
    (tmp_path / "raw").mkdir()
    path = table.save_rows([{"query": "q", "image": page(1)}], tmp_path / "raw/t.parquet")
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + bytes(60) + whole[64:])
    with pytest.raises(InputError, match="breaks off after row 0") as error:
        download.main(with_params("table", input="raw"), tmp_path)
    assert "\n" not in str(error.value)


def test_a_doubled_column_of_a_dataset_is_named(tmp_path):
    """The library would call the second one image.1, and read the first alone."""
    (tmp_path / "set").mkdir()
    (tmp_path / "set/train.csv").write_text("query,image,image\nq,1.png,2.png\n")
    with pytest.raises(InputError, match="2 columns named 'image': rename or remove"):
        download.main(with_params("hub", {"path": "set", "eval": ""}), tmp_path)


def test_the_input_of_a_table_is_a_folder(tmp_path):
    """Of a file only the file itself would be a dependency, not its images."""
    (tmp_path / "a.csv").write_text("query,image\nx,1.png\n")
    with pytest.raises(InputError, match=r"a.csv' is a file: name its folder.*'a.csv' in data.tab"):
        download.main(with_params("table", input="a.csv"), tmp_path)
    with pytest.raises(InputError, match=r"table.file is '../a.csv'"):
        with_params("table", {"file": "../a.csv"})


def test_an_interrupted_download_starts_again_when_an_image_has_changed(tmp_path, monkeypatch):
    folder = tmp_path / "raw"
    folder.mkdir()
    rows = [{"query": f"q {n}", "image": f"{n}.png"} for n in range(12)]
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for n in range(12):
        (folder / f"{n}.png").write_bytes(page(n))
    whole = writing.publish
    monkeypatch.setattr(writing, "publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        download.main(with_params("table", input="raw"), tmp_path)
    (folder / "3.png").write_bytes(page(99))
    monkeypatch.setattr(writing, "publish", whole)
    download.main(with_params("table", input="raw"), tmp_path)
    images = {row["image"] for b in storing.batches(tmp_path / SOURCE) for row in b.to_pylist()}
    assert page(99) in images
    assert page(3) not in images


def test_urls_are_fetched_only_where_allowed(tmp_path):
    class Pages(BaseHTTPRequestHandler):
        def do_GET(self):
            exists = self.path != "/gone"
            self.send_response(200 if exists else 404)
            self.end_headers()
            self.wfile.write(page(1) if exists else b"")

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        base = f"http://127.0.0.1:{server.server_port}"
        rows = [{"query": "a", "image": f"{base}/page"}, {"query": "b", "image": f"{base}/gone"}]
        (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))

        def problems(allowed):
            params = with_params(
                "table", {"allow_urls": allowed, "allow_private_urls": True}, input="."
            )
            folder = tmp_path / str(allowed)
            writing.write(table.open_source(params, tmp_path), folder)
            return [r["problem"] for b in storing.batches(folder) for r in b.to_pylist()]

        fine, gone = problems(True)
        assert fine is None
        assert gone.startswith("URL failed")
        assert all(p.startswith("URL not allowed") for p in problems(False))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


NEGATIVES = [f"negative_{n}" for n in range(4)]
FEATURES = datasets.Features(
    {"query": datasets.Value("string"), "image": datasets.Image()}
    | {name: datasets.Image() for name in NEGATIVES}
)


def triples(count, first):
    """Rows of the reference's schema; every page is the answer once and a negative four times."""
    rows = [
        {"query": f"question {n + first}", "image": image(n + first)}
        | {name: image((n + k + 1) % count + first) for k, name in enumerate(NEGATIVES)}
        for n in range(count)
    ]
    return datasets.Dataset.from_list(rows, features=FEATURES)


def reference(folder, readme):
    for name, count, first in (("train", 20, 0), ("eval", 6, 100)):
        (folder / name).mkdir(parents=True)
        triples(count, first).to_parquet(folder / name / "0000.parquet")
    if readme:
        configs = "".join(
            f"- config_name: {name}\n  data_files:\n  - split: train\n    path: {name}/*.parquet\n"
            for name in ("train", "eval")
        )
        (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")


@pytest.mark.parametrize("readme", [True, False])
def test_reference_schema_keeps_each_page_once_and_its_negatives(tmp_path, readme):
    reference(tmp_path / "set", readme)
    corpus = run(tmp_path, "hub", {"path": "set"})
    assert counts(corpus) == {"train": 18, "dev": 2, "eval": 6}
    assert len(corpus.pages) == 26
    evaluated = corpus.qrels.merge(corpus.queries, on="query_id").query("split == 'eval'")
    assert evaluated.groupby("query_id").size().tolist() == [5] * 6
    assert (evaluated["relevance"] == 0).sum() == 24
    provenance = json.loads((tmp_path / SOURCE / storing.PROVENANCE).read_text())
    assert set(provenance["files"]) == {"train/0000.parquet", "eval/0000.parquet"}
    assert provenance["counts"] == {"pages": 26, "queries": 26, "qrels": 130}


def test_other_layouts_of_a_local_dataset(tmp_path):
    whole = datasets.DatasetDict({"train": triples(12, 0), "test": triples(5, 50)})
    whole.save_to_disk(tmp_path / "saved")
    triples(12, 0).to_parquet(tmp_path / "one.parquet")
    (tmp_path / "lines").mkdir()
    for name, first in (("train", 0), ("eval", 50)):
        rows = [{"query": f"q {n}", "image": f"{n}.png"} for n in range(first, first + 6)]
        (tmp_path / "lines" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        for n in range(first, first + 6):
            (tmp_path / "lines" / f"{n}.png").write_bytes(page(n))
    splits = {
        "saved": counts(run(tmp_path, "hub", {"path": "saved"})),
        "lines": counts(run(tmp_path, "hub", {"path": "lines"})),
        "one.parquet": counts(run(tmp_path, "hub", {"path": "one.parquet", "eval": ""})),
    }
    assert splits == {
        "saved": {"train": 11, "dev": 1, "eval": 5},
        "lines": {"train": 5, "dev": 1, "eval": 6},
        "one.parquet": {"train": 9, "dev": 1, "eval": 2},
    }
    triples(12, 0).save_to_disk(tmp_path / "as-arrow")
    (arrow,) = (tmp_path / "as-arrow").glob("*.arrow")
    assert len(run(tmp_path, "hub", {"path": f"as-arrow/{arrow.name}", "eval": ""}).pages) == 12
    lines = "lines/train.jsonl"
    assert len(run(tmp_path, "hub", {"path": lines, "eval": ""}).pages) == 6


def test_columns_are_named_in_params(tmp_path):
    renamed = {"query": "question", "image": "page"} | {
        name: name.replace("negative_", "wrong") for name in NEGATIVES
    }
    (tmp_path / "set").mkdir()
    for name, count, first in (("train", 12, 0), ("test", 5, 50)):
        rows = triples(count, first).rename_columns(renamed)
        rows.to_parquet(tmp_path / "set" / f"{name}.parquet")
    settings = {"path": "set", "query": "question", "image": "page", "negatives": "wrong"}
    corpus = run(tmp_path, "hub", settings)
    assert counts(corpus)["eval"] == 5
    evaluated = corpus.qrels.merge(corpus.queries, on="query_id").query("split == 'eval'")
    assert evaluated["relevance"].value_counts().to_dict() == {0: 20, 1: 5}


def test_no_further_copy_of_the_pages_is_kept(tmp_path, monkeypatch):
    caches = tmp_path / "caches"
    for name in ("HF_DATASETS_CACHE", "HF_MODULES_CACHE", "DOWNLOADED_DATASETS_PATH"):
        monkeypatch.setattr(datasets.config, name, caches / name)
    reference(tmp_path / "set", True)
    run(tmp_path, "hub", {"path": "set"})
    assert sum(path.stat().st_size for path in caches.rglob("*") if path.is_file()) < 1000
    holders = {
        path.relative_to(tmp_path).parts[0:2]
        for path in tmp_path.rglob("*")
        if path.is_file() and path.suffix in (".arrow", ".parquet") and b"PNG" in path.read_bytes()
    }
    assert holders == {("set", "train"), ("set", "eval"), ("data", "source"), ("data", "corpus")}


def test_report_names_the_commit(tmp_path):
    root = report_inputs.write(tmp_path)
    content = {"source": "hub", "commit": "c0ffee"}
    (root / SOURCE / storing.PROVENANCE).write_text(json.dumps(content))
    inputs = read_inputs(with_params("hub", {"path": "who/what"}), root)
    answer = " ".join(provenance.section(inputs).answer)
    assert "source hub (who/what at commit c0ffee)" in answer


def test_beir_layout_with_splits_of_its_own(tmp_path):
    folder = tmp_path / "beir"
    pages = [{"corpus_id": n, "image": image(n)} for n in range(20)]
    queries = [{"query_id": n, "query": f"question {n}"} for n in range(20)]
    qrels = [{"query_id": n, "corpus_id": n, "score": 1} for n in range(20)]
    for name in ("corpus", "queries", "qrels"):
        (folder / name).mkdir(parents=True)
    dataset = datasets.Dataset.from_list(pages).cast_column("image", datasets.Image())
    dataset.to_parquet(folder / "corpus" / "test.parquet")
    datasets.Dataset.from_list(queries).to_parquet(folder / "queries" / "test.parquet")
    for name, rows in (("train", qrels[:14]), ("test", qrels[14:])):
        datasets.Dataset.from_list(rows).to_parquet(folder / "qrels" / f"{name}.parquet")
    assert counts(run(tmp_path, "hub", {"path": "beir"})) == {"train": 13, "dev": 1, "eval": 6}


def beir(folder, queries, qrels, pages, documents=False):
    """A dataset of `pages` pages; `qrels` by split; two pages are one document, if `documents`."""
    rows = [{"corpus_id": n, "image": image(n)} for n in range(pages)]
    if documents:
        rows = [row | {"doc_id": f"d{row['corpus_id'] // 2}"} for row in rows]
    corpus = datasets.Dataset.from_list(rows).cast_column("image", datasets.Image())
    asked = [{"query_id": n, "query": f"question {n}"} for n in range(queries)]
    tables = {"corpus/test": corpus, "queries/test": datasets.Dataset.from_list(asked)}
    for split, pairs in qrels.items():
        judged = [{"query_id": q, "corpus_id": p, "score": s} for q, p, s in pairs]
        tables[f"qrels/{split}"] = datasets.Dataset.from_list(judged)
    for name, content in tables.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        content.to_parquet(folder / f"{name}.parquet")


def metrics_of(root):
    return json.loads((root / "metrics/corpus.json").read_text())


@pytest.mark.parametrize("name", ["dev", "validation"])
def test_dev_judgements_of_the_publisher_are_dev(tmp_path, name):
    pairs = [(n, n, 1) for n in range(20)]
    judged = {"train": pairs[:11], name: pairs[11:15], "test": pairs[15:]}
    beir(tmp_path / "beir", 20, judged, 20)
    corpus = run(tmp_path, "hub", {"path": "beir"})
    assert counts(corpus) == {"train": 11, "dev": 4, "eval": 5}
    of_dev = corpus.queries.query("split == 'dev'")["text"]
    assert set(of_dev) == {f"question {n}" for n in range(11, 15)}


def test_dev_rows_of_the_publisher_are_dev(tmp_path):
    parts = {"train": triples(9, 0), "validation": triples(3, 30), "test": triples(5, 50)}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    assert counts(run(tmp_path, "hub", {"path": "saved"})) == {"train": 9, "dev": 3, "eval": 5}


def test_questions_that_nobody_judges_are_counted(tmp_path):
    pairs = [(n, n, 1) for n in range(20)]
    judged = {"train": [*pairs[:12], (17, 3, 0)], "test": [*pairs[12:16], (99, 5, 1)]}
    beir(tmp_path / "beir", 20, judged, 20)
    assert sum(counts(run(tmp_path, "hub", {"path": "beir"})).values()) == 16
    account = metrics_of(tmp_path)["account"]
    assert account["queries"] == {
        "source": 21, "kept": 16, "merged": 0, "quarantined": 1, "unjudged": 4, "leaked": 0,
        "beside_cut": 0,
    }  # fmt: skip
    assert account["judgements"]["source"] == 18
    assert (account["judgements"]["unjudged"], account["judgements"]["quarantined"]) == (1, 1)
    reasons = pd.read_parquet(tmp_path / "data" / "quarantine.parquet")["reason"]
    assert list(reasons.str.split(":").str[0]) == ["unknown query"]


def test_judged_splits_keep_all_other_pages_as_distractors(tmp_path):
    pairs = [(n, 3 * n, 1) for n in range(12)]
    judged = {"train": pairs[:8], "test": pairs[8:]}
    in_eval = []
    for name, documents in (("with", True), ("without", False)):
        beir(tmp_path / name, 12, judged, 40, documents)
        corpus = run(tmp_path, "hub", {"path": name})
        in_eval.append(set(corpus.pages.query("split == 'eval'")["page_id"]))
    assert len(in_eval[0]) == 40 - 8
    assert in_eval[0] == in_eval[1]


def test_page_numbers_of_a_dataset_are_read(tmp_path):
    """Two documents, judged for a test alone, are cut by their pages."""
    rows = [
        {"corpus-id": n, "image": image(n), "doc_id": n % 2, "page_number_in_doc": n // 2 + 1}
        for n in range(40)
    ]
    queries = [{"query-id": n, "query": f"question {n}"} for n in range(40)]
    qrels = [{"query-id": n, "corpus-id": n, "score": 1} for n in range(40)]
    for name, content in (("corpus", rows), ("queries", queries), ("qrels", qrels)):
        (tmp_path / "two" / name).mkdir(parents=True)
        dataset = datasets.Dataset.from_list(content)
        if name == "corpus":
            dataset = dataset.cast_column("image", datasets.Image())
        dataset.to_parquet(tmp_path / "two" / name / "test.parquet")
    corpus = run(tmp_path, "hub", {"path": "two"})
    assert min(counts(corpus).values()) > 0
    assert list(corpus.pages["page_number"].head(4)) == [1, 1, 2, 2]


def test_beir_layout(tmp_path):
    folder = tmp_path / "beir"
    pages = [{"corpus-id": str(n), "image": image(n), "text": f"t{n}"} for n in range(16)]
    queries = [{"query-id": f"q{n}", "query": f"question {n}"} for n in range(12)]
    qrels = [{"query-id": f"q{n}", "corpus-id": str(n), "score": 2} for n in range(12)]
    qrels.append({"query-id": "q0", "corpus-id": "999", "score": 1})
    for name, rows in (("corpus", pages), ("queries", queries), ("qrels", qrels)):
        (folder / name).mkdir(parents=True)
        dataset = datasets.Dataset.from_list(rows)
        if name == "corpus":
            dataset = dataset.cast_column("image", datasets.Image())
        dataset.to_parquet(folder / name / "test.parquet")
    corpus = run(tmp_path, "hub", {"path": "beir"})
    assert counts(corpus) == {"train": 9, "dev": 1, "eval": 2}
    assert len(corpus.pages) == 16
    assert (corpus.pages["text"].str.len() > 0).all()
    unasked = ~corpus.pages["page_id"].isin(corpus.qrels["page_id"])
    assert set(corpus.pages[unasked]["split"]) == {"eval"}  # distractors
    assert set(corpus.qrels["relevance"]) == {2}
    reasons = pd.read_parquet(tmp_path / "data" / "quarantine.parquet")["reason"]
    assert list(reasons.str.split(":").str[0]) == ["unknown page"]


def test_dataset_rows_start_anywhere(tmp_path):
    reference(tmp_path / "set", False)
    source = hub.open_source(with_params("hub", {"path": "set"}), tmp_path)
    whole = list(source.parts["train"](0))
    assert list(source.parts["train"](17)) == whole[17:]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": ""}, "path is empty"),
        ({"path": "set", "train": "practice"}, "'practice', which is neither config nor split"),
        (
            {"path": "set", "query": "question"},
            "train of 'set' has no column 'question'; it has 'query', 'image'",
        ),
        ({"path": "note.txt"}, "is none of .parquet"),
        ({"path": "hollow"}, "does not open"),
    ],
)
def test_dataset_that_cannot_be_used_is_a_clear_error(tmp_path, settings, message):
    reference(tmp_path / "set", False)
    (tmp_path / "note.txt").write_text("hello")
    (tmp_path / "hollow").mkdir()
    with pytest.raises(InputError, match=message) as error:
        download.main(with_params("hub", settings), tmp_path)
    assert "\n" not in str(error.value)


class HubOf:
    """The Hub with one dataset, of files with these sizes."""

    def __init__(self, sizes):
        self.sizes = sizes

    def dataset_info(self, path, revision, files_metadata):
        siblings = [SimpleNamespace(rfilename=name, size=size) for name, size in self.sizes.items()]
        return SimpleNamespace(sha="c0ffee", siblings=siblings)


def test_space_is_told_before_a_download(tmp_path, monkeypatch, caplog):
    params = with_params("hub", {"path": "who/what", "revision": "main"})
    reference(tmp_path / "set", False)
    configs = hub_splits.local(tmp_path / "set")
    monkeypatch.setattr(hub_splits, "remote", lambda path, commit: configs)
    parts = {
        "train": {"train": ["hf://datasets/who/what@c0ffee/train/0.parquet"]},
        "eval": {"train": ["hf://datasets/who/what@c0ffee/eval/0.parquet"]},
    }

    def builder(path, config, revision):
        assert (path, revision) == ("who/what", "c0ffee")
        return SimpleNamespace(config=SimpleNamespace(data_files=parts[config]))

    monkeypatch.setattr(datasets, "load_dataset_builder", builder)
    monkeypatch.setattr(hub.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**11))
    sizes = {"train/0.parquet": 3_000_000_000, "eval/0.parquet": 10**18}
    monkeypatch.setattr(hub, "HfApi", partial(HubOf, sizes))
    with pytest.raises(InputError, match="GB are free: make room"):
        hub.open_source(params, tmp_path)
    # A config that is not read may be as large as it likes.
    sizes |= {"eval/0.parquet": 1_000_000_000, "full/0.parquet": 10**18}
    with caplog.at_level("INFO"):
        source = hub.open_source(params, tmp_path)
    assert source.provenance["commit"] == "c0ffee"
    assert "who/what at c0ffee: up to 4.0 GB for data/source" in caplog.text
    # A dataset that does not say which file holds what counts whole.
    parts |= {"train": None, "eval": None}
    with pytest.raises(InputError, match="GB are free: make room"):
        hub.open_source(params, tmp_path)
