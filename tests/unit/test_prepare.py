"""download and prepare on rows of every kind: what becomes of broken ones, twins, splits, kills."""

import dataclasses
import io
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from sources import page, with_params

from pagefinder.data import pixels
from pagefinder.data.corpus import Corpus
from pagefinder.errors import InputError
from pagefinder.layout import CORPUS, METRICS, QUARANTINE, SOURCE
from pagefinder.preparing import draws, leaks, near_duplicates, pages, splits, units
from pagefinder.preparing.queries import check_queries
from pagefinder.sources import storing, table, writing
from stages import download, prepare

ROWS = 20


def write_rows(root, rows):
    """A JSONL table in `root`/raw with the images that rows name by number."""
    folder = root / "raw"
    folder.mkdir(exist_ok=True)
    lines = []
    for row in rows:
        for value in (v for v in row.values() if isinstance(v, str) and v.endswith(".png")):
            file = folder / value
            if value.removesuffix(".png").isdecimal() and not file.exists():
                file.write_bytes(page(int(value.removesuffix(".png"))))
        lines.append(json.dumps(row))
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n")


def good_rows(count=ROWS):
    return [{"query": f"question {n}", "image": f"{n}.png"} for n in range(count)]


def run(root, data=None, **changes):
    params = with_params("table", data, input="raw", **changes)
    download.main(params, root)
    prepare.main(params, root)
    return Corpus(root / CORPUS), json.loads((root / METRICS / "corpus.json").read_text())


def reasons(root):
    frame = pd.read_parquet(root / QUARANTINE)
    return dict(zip(frame["origin"], frame["reason"], strict=True))


def test_summary_is_one_readable_line(tmp_path, caplog):
    write_rows(tmp_path, [*good_rows(), {"query": "torn", "image": "no.png"}])
    with caplog.at_level("INFO"):
        run(tmp_path, max_quarantined=0.5)
    assert (
        "20 pages, queries: 14 train, 2 dev, 4 eval; merged 0 identical pages, dropped 0 that stood"
        " in two splits, found 0 near-duplicate pairs; quarantined 2 (1 missing_file, 1"
        " no_page_left)"
    ) in caplog.text


def test_rows_become_a_corpus_with_its_own_splits(tmp_path):
    rows = [row | {"negative": f"{n + 100}.png"} for n, row in enumerate(good_rows())]
    write_rows(tmp_path, rows)
    corpus, metrics = run(tmp_path)
    assert metrics["queries"] == {"train": 14, "dev": 2, "eval": 4}
    assert metrics["qrels"] == {"positive": 20, "negative": 20}
    assert len(corpus.pages) == 40
    merged = corpus.qrels.merge(corpus.queries, on="query_id").merge(corpus.pages, on="page_id")
    assert (merged["split_x"] == merged["split_y"]).all()
    for row in range(len(corpus.pages)):
        image = corpus.image(row)
        assert image.size == pixels.budget_size(64, 96, with_params("table").pixels)


def test_negatives_keep_the_order_in_which_the_source_gives_them(tmp_path):
    """Training may take the first alone: a source puts the one that it holds for the best there."""
    numbers_of = [[100 + (n + step) % ROWS for step in (7, 3, 15, 1)] for n in range(ROWS)]
    rows = [
        row | {"negative": [f"{number}.png" for number in numbers]}
        for row, numbers in zip(good_rows(), numbers_of, strict=True)
    ]
    for number in range(100, 100 + ROWS):
        (tmp_path / "raw").mkdir(exist_ok=True)
        (tmp_path / f"raw/{number}.png").write_bytes(page(number))
    write_rows(tmp_path, rows)
    corpus, _ = run(tmp_path)
    number_of = {
        pixels.pixel_digest(Image.open(io.BytesIO(page(number)))): number
        for number in range(100, 100 + ROWS)
    }
    texts = corpus.queries.set_index("query_id")["text"]
    several = 0
    for query_id, part in corpus.qrels.query("relevance == 0").groupby("query_id"):
        left = [number_of[page_id] for page_id in part["page_id"]]
        # What another split took is gone; the others stand in the order of the row.
        row_numbers = numbers_of[int(texts[query_id].split()[1])]
        assert left == [number for number in row_numbers if number in left]
        several += left != sorted(left)
    assert several > 3


def test_page_id_is_of_the_source_pixels_whatever_the_encoding(tmp_path):
    image = Image.open(io.BytesIO(page(3)))
    buffer = io.BytesIO()
    image.save(buffer, "BMP")
    write_rows(tmp_path, [*good_rows(), {"query": "the same in another file", "image": "3.bmp"}])
    (tmp_path / "raw" / "3.bmp").write_bytes(buffer.getvalue())
    corpus, metrics = run(tmp_path)
    assert metrics["account"]["pages"]["merged"] == 1
    ids = set(corpus.pages["page_id"])
    assert pixels.pixel_digest(image.convert("RGB")) in ids
    assert len(ids) == ROWS


def test_equal_questions_are_one_with_all_their_pages(tmp_path):
    write_rows(tmp_path, [*good_rows(), {"query": " Question  3", "image": "77.png"}])
    corpus, metrics = run(tmp_path)
    assert metrics["account"]["queries"]["merged"] == 1
    assert corpus.qrels.groupby("query_id").size().max() == 2


def test_broken_rows_are_quarantined_with_origin_and_reason(tmp_path):
    bad = [
        {"query": "text file", "image": "text.png"},
        {"query": "not there", "image": "missing.png"},
        {"query": "climbs", "image": "../outside.png"},
        {"query": "linked", "image": "link.png"},
        {"query": "web", "image": "https://example.org/page.png"},
        {"query": "local scheme", "image": "file:///etc/hostname"},
        {"query": "", "image": "1.png"},
        {"query": 7, "image": "1.png"},
        {"query": "no page at all", "image": None},
        {"query": "bomb", "image": "bomb.png"},
        {"query": "torn", "image": "torn.png"},
        {"query": "thin", "image": "thin.png"},
        {"query": "number", "image": 4},
        {"query": "elsewhere", "image": "1.png", "split": "holdout"},
        {"query": "\u200b\u2060 \x07\u202e", "image": "1.png"},
    ]
    write_rows(tmp_path, [*good_rows(), *bad])
    folder = tmp_path / "raw"
    (tmp_path / "outside.png").write_bytes(page(1))
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    (folder / "text.png").write_text("no image")
    (folder / "torn.png").write_bytes(page(2)[:120])
    (folder / "thin.png").write_bytes(encoded(Image.new("RGB", (2000, 1))))
    (folder / "bomb.png").write_bytes(encoded(Image.new("1", (30_000, 30_000))))
    corpus, metrics = run(tmp_path, max_quarantined=0.9)
    numbers = {int(origin.split(":")[1].split()[0]) - ROWS - 1 for origin in reasons(tmp_path)}
    expected = {
        0: "unreadable image",
        1: "missing file",
        2: "path leaves the folder",
        3: "path leaves the folder",
        4: "URL not allowed",
        5: "URL not allowed",
        6: "empty query",
        7: "wrong type",
        8: "missing page",
        9: "unreadable image",
        10: "unreadable image",
        11: "unreadable image: 2000x1 pixels",
        12: "wrong type",
        13: "unknown split",
        14: "empty query",
    }
    frame = pd.read_parquet(tmp_path / QUARANTINE)
    for number, reason in expected.items():
        of_row = frame["origin"].str.match(rf"train.jsonl:{number + ROWS + 1}\b")
        row_reasons = frame[of_row]["reason"]
        assert any(row_reasons.str.startswith(reason)), (number, reason, list(row_reasons))
    assert numbers == set(expected)
    assert len(corpus.pages) == ROWS
    assert len(corpus.queries) == ROWS
    assert metrics["quarantined"]["items"] == len(frame)
    assert sum(metrics["quarantined"]["reasons"].values()) == len(frame)


def encoded(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_too_many_bad_rows_stop_the_run_and_name_the_first(tmp_path):
    write_rows(tmp_path, [*good_rows(), *({"query": f"q{n}", "image": "no.png"} for n in range(9))])
    with pytest.raises(InputError, match=r"18 of 58 .*max_quarantined.*train.jsonl:21") as error:
        run(tmp_path)
    assert "\n" not in str(error.value)
    assert str(error.value).count("train.jsonl:") == 10
    assert not (tmp_path / CORPUS).exists()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"query": "", "image": "1.png"}] * 3, "gave 1 usable pages but no queries"),
        (good_rows(1), "no queries are left for"),
    ],
)
def test_nothing_to_train_or_measure_on_is_a_clear_error(tmp_path, rows, message):
    write_rows(tmp_path, rows)
    with pytest.raises(InputError, match=message):
        run(tmp_path, max_quarantined=1.0)


def test_page_in_two_splits_leaves_train(tmp_path):
    rows = [row | {"split": "eval" if n < 5 else "train"} for n, row in enumerate(good_rows())]
    rows[10]["image"] = "2.png"  # train's question on a page of eval
    rows[11]["negative"] = "3.png"
    write_rows(tmp_path, rows)
    corpus, metrics = run(tmp_path)
    account = metrics["account"]
    assert {table: account[table]["leaked"] for table in account} == {
        "pages": 0, "queries": 1, "judgements": 1,
    }  # fmt: skip
    assert account["judgements"]["negative_in_other_split"] == 1
    assert metrics["queries"]["eval"] == 5
    assert "question 10" not in set(corpus.queries["text"])
    assert "question 11" in set(corpus.queries["text"])


def test_twins_of_other_documents_leave_train():
    page_rows = pd.DataFrame(
        {
            "page_id": ["a", "b", "c", "d"],
            "document_id": ["x", "y", "z", "w"],
            "page_number": [1, 1, 1, 1],
            "section": None,
            "split": ["train", "eval", "train", "dev"],
            "digest": ["same", "same", "other", "third"],
            "text_hash": "",
            "row": range(4),
        }
    )
    queries = pd.DataFrame({"query_id": list("pqrs"), "split": ["train", "eval", "train", "dev"]})
    qrels = pd.DataFrame({"query_id": list("pqrs"), "page_id": list("abcd"), "relevance": 1})
    split = splits.split_corpus(page_rows, queries, qrels, 0.0, 0.1, 1)
    assert list(split.pages["page_id"]) == ["b", "c", "d"]
    assert list(split.queries["query_id"]) == ["q", "r", "s"]
    leaked = {table: int((fates == "leaked").sum()) for table, fates in split.fates.items()}
    assert leaked == {"pages": 1, "judgements": 1, "queries": 1}
    leaking = dataclasses.replace(split, pages=split.pages.assign(split="train"))
    with pytest.raises(AssertionError, match="leak: a judgement crosses splits"):
        leaks.check_leaks(leaking)


def documents(**pages):
    """Pages without a split of their own, one query each; documents as strings of page contents."""
    rows = [
        {"page_id": f"{name}{number}", "document_id": name, "page_number": number,
         "section": None, "split": None, "digest": content, "text_hash": ""}
        for name, contents in pages.items()
        for number, content in enumerate(contents, 1)
    ]  # fmt: skip
    page_rows = pd.DataFrame(rows).assign(row=range(len(rows)))
    queries = pd.DataFrame({"query_id": page_rows["page_id"], "split": None})
    qrels = pd.DataFrame(
        {"query_id": page_rows["page_id"], "page_id": page_rows["page_id"], "relevance": 1}
    )
    return page_rows, queries, qrels


def test_editions_of_a_document_go_to_one_split():
    """Each of ten manuals has a second edition with one new page; everybody ends on page L."""
    manuals = {}
    for n in range(10):
        first = [f"{n}{letter}" for letter in "abc"]
        manuals |= {f"d{n}-1": [*first, "L"], f"d{n}-2": [*first[:2], f"{n}x", "L"]}
    for seed in range(5):
        split = splits.split_corpus(*documents(**manuals), 0.3, 0.2, seed)
        of = split.pages.groupby("document_id")["split"].unique()
        assert all(list(of[f"d{n}-1"]) == list(of[f"d{n}-2"]) for n in range(10))
        assert split.pages["split"].value_counts().index.nunique() == 3
        assert not split.cut_documents


def test_a_page_that_all_have_does_not_join_them():
    letters = {f"d{n}": [f"{n}a", "terms"] for n in range(10)}
    split = splits.split_corpus(*documents(**letters), 0.3, 0.2, 1)
    assert split.pages[split.pages["digest"] != "terms"]["split"].value_counts().to_dict() == {
        "train": 6, "eval": 3, "dev": 1,
    }  # fmt: skip
    assert (split.fates["pages"] == "leaked").sum() == 7  # of "terms", outside eval


def test_editions_of_one_document_are_split_by_its_parts():
    books = {f"v{n}": [f"p{page}" for page in range(29)] + [f"new{n}"] for n in range(4)}
    split = splits.split_corpus(*documents(**books), 0.3, 0.2, 1)
    assert split.cut_documents == set(books)
    assert (split.fates["pages"] == "leaked").sum() == 0
    assert set(split.pages["split"]) == {"train", "dev", "eval"}


def test_pages_of_too_many_documents_are_no_sign_of_an_edition():
    few = [(f"d{n}", page) for n in range(units.COMMON) for page in ("front", "back")]
    assert len(units.editions(few)) == units.COMMON * (units.COMMON - 1) // 2
    assert units.editions([*few, ("one more", "front")]) == []


def test_a_file_that_is_one_common_page_joins_nobody():
    long = [(name, f"{name} {n}") for name in ("a", "b") for n in range(20)]
    assert units.editions([*long, ("a", "form"), ("b", "form"), ("c", "form")]) == []


def test_components_join_what_shares_a_member():
    groups = [["d", "c"], ["a"], ["b", "c"], ["e", "f"], ["f", "g"]]
    assert units.components(groups) == {
        "a": "a", "b": "b", "c": "b", "d": "b", "e": "e", "f": "e", "g": "e",
    }  # fmt: skip


def test_what_is_hashed_to_draw_stays():
    """Another text would draw other splits from the same seed."""
    assert str(units.Node("", "document", "manuals/a.pdf#3")) == "/document/manuals/a.pdf#3"
    free = {units.Node("", "page", name) for name in "abcdefgh"}
    bound = {units.Node("eval", "page", "a"), units.Node("dev", "document", "x")}
    split_of = draws.assign(free | bound, dict.fromkeys(free, 1), draws.Shares(0.25, 0.2, 13))
    assert {str(unit): split for unit, split in split_of.items() if split != "train"} == {
        "/page/c": "eval", "/page/g": "eval", "eval/page/a": "eval", "dev/document/x": "dev",
    }  # fmt: skip


def test_draw_takes_its_share_and_never_all():
    names = [f"n{i}" for i in range(50)]
    assert len(draws.draw(names, 0.2, "s")) == 10
    assert draws.draw(names[::-1], 0.2, "s") == draws.draw(names, 0.2, "s")
    assert draws.draw(names, 0.2, "t") != draws.draw(names, 0.2, "s")
    assert len(draws.draw(["a", "b"], 0.01, "s")) == len(draws.draw(["a", "b"], 1.0, "s")) == 1
    assert draws.draw(["a"], 0.5, "s") == set()
    # Nearest to 95% is all of it, whichever comes first: one stays all the same.
    assert {len(draws.draw("ab", 0.95, salt, {"a": 1, "b": 10})) for salt in "rstuv"} == {1}
    # One more document moves few of the others.
    before, after = draws.draw(names, 0.2, "s"), draws.draw([*names, "new"], 0.2, "s")
    assert len(before - after) <= 1


def test_dev_gets_what_a_choice_takes_where_documents_are_drawn():
    assert draws.Shares(0.2, 0.1, 1, fill_dev=True).of_dev(100) == (0.2, 0)
    assert draws.Shares(0.2, 0.1, 1, fill_dev=True).of_dev(1000) == (0.1, 50)
    assert draws.Shares(0.2, 0.1, 1).of_dev(100) == (0.1, 0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("abcd", "abxy", False), ("abcd", "abcx", True), ("abc", "ab4567890", True)],
)
def test_documents_are_editions_if_most_of_the_shorter_one_is_in_the_other(one, other, same):
    pages = [*(("a", page) for page in one), *(("b", page) for page in other)]
    assert units.editions(pages) == [["a", "b"]] * same


def test_the_highest_judgement_of_a_pair_counts():
    queries = pd.DataFrame({"text": ["What?", "what?"], "split": None, "problem": None})
    queries = queries.assign(where="w", origin="o", query=range(2))
    qrels = pd.DataFrame({"query": [0, 1], "page": "k", "relevance": [2, 1]})
    checked = check_queries({"k": "p"}, set(), queries, qrels)
    assert checked.qrels["relevance"].tolist() == [2]


def grey_pages(arrays, texts):
    frame = pd.DataFrame(
        {
            "text_hash": texts,
            "pixel_hash": [f"{0xFF00FF00 + n % 3:016x}" for n in range(len(arrays))],
            "width": [a.shape[1] for a in arrays],
            "height": [a.shape[0] for a in arrays],
        }
    )
    thumbs = np.stack([pages.thumbnail(Image.fromarray(a)).ravel() for a in arrays])
    return frame, thumbs


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_near_duplicates_are_those_that_comparing_all_pairs_finds(seed):
    rng = np.random.default_rng(seed)
    base = rng.integers(0, 250, (3, 32, 32), dtype=np.uint8)
    arrays = [
        np.clip(base[n % 3].astype(int) + rng.integers(-3, 4, (32, 32)), 0, 255).astype(np.uint8)
        for n in range(24)
    ]
    texts = list(rng.choice(["", "one", "two"], 24))
    frame, thumbs = grey_pages(arrays, texts)
    pairs, cut = near_duplicates.find(frame, thumbs, lambda row: arrays[row], 2, 2.2)
    expected = [
        (a, b)
        for a in range(24)
        for b in range(a + 1, 24)
        if (texts[a] == texts[b] or "" in (texts[a], texts[b]))
        and bin(int(frame["pixel_hash"][a], 16) ^ int(frame["pixel_hash"][b], 16)).count("1") <= 2
        and np.abs(arrays[a].astype(int) - arrays[b]).mean() <= 2.2
    ]
    assert [tuple(pair) for pair in pairs.tolist()] == expected
    assert cut == 0


@pytest.mark.parametrize(
    ("first", "last", "found"), [("0", "3", True), ("8", "1", True), ("0", "7", False)]
)
def test_pages_are_near_duplicates_up_to_the_distance_and_no_further(first, last, found):
    """Two bits differ, side by side or at both ends, or three."""
    blank = np.full((16, 16), 255, np.uint8)
    frame, thumbs = grey_pages([blank] * 2, ["", ""])
    frame["pixel_hash"] = ["0" * 16, first + "0" * 14 + last]
    pairs, _ = near_duplicates.find(frame, thumbs, lambda row: blank, 2, 2.0)
    assert pairs.tolist() == [[0, 1]] * found


def test_many_blank_pages_cost_a_window_each():
    count = near_duplicates.WINDOW * 4
    blank = np.full((16, 16), 255, np.uint8)
    frame, thumbs = grey_pages([blank] * count, [""] * count)
    frame["pixel_hash"] = "0" * 16
    pairs, cut = near_duplicates.find(frame, thumbs, lambda row: blank, 2, 2.0)
    assert cut > 0
    assert len(pairs) <= count * near_duplicates.WINDOW


def test_near_misses_of_the_generator_survive(tmp_path):
    params = with_params("generated", {"companies": 6, "years": 2})
    download.main(params, tmp_path)
    prepare.main(params, tmp_path)
    corpus = Corpus(tmp_path / CORPUS)
    assert len(corpus.near_duplicates) == 0
    hashes = [int(digits, 16) for digits in corpus.pages["pixel_hash"]]
    near = sum((a ^ b).bit_count() <= 8 for n, a in enumerate(hashes) for b in hashes[:n])
    assert near > 0  # they do look alike: only their words tell them apart


def test_scan_of_the_same_page_is_a_near_duplicate(tmp_path):
    whole = np.asarray(Image.open(io.BytesIO(page(5, (128, 128)))).convert("RGB")).astype(int)
    noisy = np.clip(whole + np.random.default_rng(1).integers(-2, 3, whole.shape), 0, 255)
    write_rows(tmp_path, [*good_rows(), {"query": "scan", "image": "a.png"}])
    (tmp_path / "raw" / "a.png").write_bytes(encoded(Image.fromarray(noisy.astype(np.uint8))))
    (tmp_path / "raw" / "5.png").write_bytes(page(5, (128, 128)))
    corpus, metrics = run(tmp_path)
    assert metrics["near_duplicates"]["pairs"] == 1
    between = set(corpus.pages.set_index("page_id")["split"][corpus.near_duplicates["page_id"]])
    assert metrics["near_duplicates"]["across_splits"] == len(between) - 1
    pairs = corpus.near_duplicates
    assert list(pairs["page_id"]) == list(pairs["other_id"])[::-1]


def test_two_runs_write_the_same_bytes(tmp_path):
    contents = []
    for name in ("one", "two"):
        root = tmp_path / name
        root.mkdir()
        write_rows(root, [*good_rows(), {"query": "torn", "image": "no.png"}])
        run(root, max_quarantined=0.5)
        files = sorted(p for p in (root / "data").rglob("*") if p.is_file())
        contents.append({p.relative_to(root): p.read_bytes() for p in files})
    assert contents[0] == contents[1]
    assert {CORPUS / "pages.arrow", QUARANTINE} < set(contents[0])


def test_killed_download_goes_on_after_its_last_shard(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "SHARD_ITEMS", 10)
    write_rows(tmp_path, good_rows())
    params = with_params("table", input="raw")
    source = table.open_source(params, tmp_path)
    writing.write(source, tmp_path / "whole")

    starts = []

    def killed(start):
        starts.append(start)
        for number, row in enumerate(source.parts["train"](start), start):
            if number == 13 and len(starts) == 1:
                (tmp_path / "cut" / "pages-00002.arrow").write_bytes(b"half a shard")
                raise KeyboardInterrupt
            yield row

    cut = storing.Source(source.name, {"train": killed}, source.provenance)
    with pytest.raises(KeyboardInterrupt):
        writing.write(cut, tmp_path / "cut")
    writing.write(cut, tmp_path / "cut")
    assert starts == [0, 10]
    for name in ("whole", "cut"):
        writing.publish(tmp_path / name, tmp_path / f"{name}-done")
    files = [
        {p.name: p.read_bytes() for p in (tmp_path / f"{name}-done").iterdir()}
        for name in ("whole", "cut")
    ]
    assert files[0] == files[1]


def test_killed_prepare_keeps_finished_units(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "BATCH_PAGES", 8)
    write_rows(tmp_path, good_rows())
    params = with_params("table", input="raw")
    download.main(params, tmp_path)
    real, done = pages.prepare_unit, []

    def counted(unit):
        if len(done) == 2 and not stopped:
            stopped.append(True)
            raise KeyboardInterrupt
        done.append(unit.target.exists())
        return real(unit)

    stopped = []
    monkeypatch.setattr(pages, "prepare_unit", counted)
    with pytest.raises(KeyboardInterrupt):
        prepare.main(params, tmp_path)
    assert not (tmp_path / CORPUS).exists()
    prepare.main(params, tmp_path)
    assert done == [False, False, True, True, False]
    assert not list((tmp_path / ".work").glob("prepare-*"))


cell = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=30),
    st.sampled_from(
        ["1.png", "2.png", "../1.png", "/etc/passwd", "http://x", "a\0b", "x" * 5000, "."]
    ),
    st.lists(st.one_of(st.none(), st.text(max_size=5), st.just("3.png")), max_size=3),
    st.dictionaries(st.sampled_from(["bytes", "path"]), st.text(max_size=5)),
)
broken_row = st.dictionaries(
    st.sampled_from(
        ["query", "image", "negative", "negative_1", "split", "document_id", "page_number", "text"]
    ),
    cell,
)


@given(rows=st.lists(broken_row, max_size=6), junk=st.binary(max_size=40))
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_row_stops_a_run_or_gets_lost(tmp_path_factory, rows, junk):
    root = tmp_path_factory.mktemp("rows")
    write_rows(root, good_rows())
    with (root / "raw" / "train.jsonl").open("ab") as file:
        file.writelines(json.dumps(row).encode() + b"\n" for row in rows)
        file.write(junk.replace(b"\n", b"") + b"\n")
    corpus, metrics = run(root, max_quarantined=1.0)
    assert {f"question {n}" for n in range(ROWS)} <= set(corpus.queries["text"])
    texts = {" ".join(q.split()).casefold() for q in corpus.queries["text"]}
    blamed = set(pd.read_parquet(root / QUARANTINE)["origin"].str.extract(r":(\d+)")[0].astype(int))
    for number, row in enumerate(rows, ROWS + 1):
        query = row.get("query")
        clean = query.encode("utf-8", "replace").decode() if isinstance(query, str) else ""
        assert number in blamed or " ".join(clean.split()).casefold() in texts
    pointed = set(corpus.qrels["page_id"])
    assert pointed <= set(corpus.pages["page_id"])
    assert set(corpus.qrels["query_id"]) == set(corpus.queries["query_id"])
    assert metrics["quarantined"]["items"] == len(pd.read_parquet(root / QUARANTINE))
    counts = json.loads((root / SOURCE / storing.PROVENANCE).read_text())["counts"]
    kept = {"pages": corpus.pages, "queries": corpus.queries, "judgements": corpus.qrels}
    for name, fates in metrics["account"].items():
        assert fates["source"] == counts["qrels" if name == "judgements" else name]
        assert 2 * fates["source"] == sum(fates.values())
        assert fates["kept"] == len(kept[name])
