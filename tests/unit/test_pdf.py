"""The pdf source: what counts as a page, a question and its answer, and what files may be like."""

import json
import os

import pandas as pd
import pytest
from sources import with_params, write_pdf

from pagefinder.data import pixels
from pagefinder.data.corpus import Corpus
from pagefinder.errors import InputError
from pagefinder.layout import CORPUS, QUARANTINE, SOURCE
from pagefinder.sources import pdf, storing, writing
from pagefinder.sources.pdf_queries import layout
from pagefinder.sources.pdf_queries.wording import content_words, paraphrase, stem
from stages import download, prepare

BODY = ["Water runs downhill and nobody has to push it along."] * 6


def manual(path, topics, title, extra=()):
    """A manual with a contents page and one page per topic, all of them bookmarked."""
    contents = [
        "Contents",
        *(f"{name} . . . . . . . . . . . {n + 2}" for n, name in enumerate(topics)),
    ]
    pages = [
        contents,
        *([(name, 18), *BODY, f"Number {n}"] for n, name in enumerate(topics)),
        *extra,
    ]
    outline = [(0, name, number + 1) for number, name in enumerate(topics)]
    write_pdf(path, pages, [(0, "Contents", 0), *outline], title)


TOPICS = {
    "pumps": ["Sealing the pump shaft", "Pressure of the outlet", "Bearings and grease"],
    "valves": ["Opening a jammed valve", "Springs for the piston", "Colour of the handle"],
    "pipes": ["Bending copper tubes", "Welding the flange", "Insulating hot lines"],
    "tanks": ["Coating the inner wall", "Draining the sump", "Ladders and railings"],
}


def folder(tmp_path):
    location = tmp_path / "raw"
    (location / "deep").mkdir(parents=True)
    for number, (name, topics) in enumerate(TOPICS.items()):
        manual(
            location / ("deep" if number % 2 else ".") / f"{name}.pdf", topics, f"The {name} book"
        )
    return location


def prepared(tmp_path, **changes):
    params = with_params("pdf", input="raw", **changes)
    download.main(params, tmp_path)
    prepare.main(params, tmp_path)
    return Corpus(tmp_path / CORPUS)


def test_folder_becomes_pages_and_questions_with_their_answers(tmp_path):
    folder(tmp_path)
    corpus = prepared(tmp_path)
    pages = corpus.pages.set_index("page_id")
    assert len(pages) == 16
    assert set(pages["kind"]) == {"contents", "text"}
    assert set(corpus.queries["split"]) == {"train", "dev", "eval"}
    queries = corpus.queries.set_index("query_id")
    answers = corpus.qrels.groupby("query_id")["page_id"].apply(list)
    topics = {}
    for query_id, ids in answers.items():
        (page,) = [pages.loc[page_id] for page_id in ids]
        assert page["kind"] == "text"
        topics[queries.loc[query_id, "text"].split(" about ")[-1].rstrip("?")] = page["text"]
    assert any("pump shaft" in text for text in topics)
    for topic, text in topics.items():
        assert topic.lower() in text.lower().replace("\n", " ")
    assert len(topics) == 12
    assert pages["document_id"].nunique() == 4
    assert "deep/valves.pdf" in set(pages["document_id"])
    # Drawn at 144 dpi, a page would have 1190x1684 pixels: it is drawn straight at the budget.
    size = pixels.budget_size(1190, 1684, with_params("pdf").pixels)
    assert {corpus.image(row).size for row in range(len(corpus.pages))} == {size}
    assert pages.groupby("document_id")["split"].nunique().max() == 1


def test_bad_files_are_quarantined_and_stop_nothing(tmp_path):
    location = folder(tmp_path)
    write_pdf(location / "locked.pdf", [["secret"]], encrypted=True)
    write_pdf(location / "nothing.pdf", [])
    (location / "broken.pdf").write_bytes(b"%PDF-1.4\nnot really")
    (location / "empty.pdf").write_bytes(b"")
    whole = (location / "pumps.pdf").read_bytes()
    (location / "torn.pdf").write_bytes(whole[: len(whole) // 3])
    (location / "outside.pdf").symlink_to("/etc/hostname")
    write_pdf(location / "thin.pdf", [["a ribbon"]], box=(9000, 10))
    corpus = prepared(tmp_path, max_quarantined=0.5)
    reasons = pd.read_parquet(tmp_path / QUARANTINE).set_index("origin")["reason"].to_dict()
    assert reasons.pop("torn.pdf").split(":")[0] in ("unreadable PDF", "empty PDF")
    assert {name: reason.split(":")[0] for name, reason in reasons.items()} == {
        "broken.pdf": "unreadable PDF",
        "empty.pdf": "unreadable PDF",
        "locked.pdf": "encrypted PDF",
        "nothing.pdf": "unreadable PDF",
        "outside.pdf": "path leaves the folder",
        "thin.pdf page 1": "unreadable image",
    }
    assert len(corpus.pages) == 16


def bomb(pages, kids="3 0 R"):
    """A PDF of some 200 bytes that claims `pages` pages and holds one, or none without kids."""
    return (
        "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
        f"2 0 obj<</Type/Pages/Kids[{kids}]/Count {pages}>>endobj\n"
        "3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]>>endobj\n"
        "trailer<</Root 1 0 R/Size 4>>\n%%EOF"
    ).encode()


def test_pages_that_a_file_claims_and_lacks_are_one_item(tmp_path):
    location = folder(tmp_path)
    (location / "bomb.pdf").write_bytes(bomb(9_000))
    (location / "hollow.pdf").write_bytes(bomb(100_000, kids="9 0 R"))
    corpus = prepared(tmp_path, max_quarantined=0.1)
    reasons = pd.read_parquet(tmp_path / QUARANTINE).set_index("origin")["reason"].to_dict()
    assert reasons == {
        "bomb.pdf": "unreadable PDF: 8999 of the 9000 pages that it claims are missing",
        "hollow.pdf": "unreadable PDF: 100000 of the 100000 pages that it claims are missing",
    }
    assert len(corpus.pages) == 17  # the one page of the bomb is there


def test_what_is_called_pdf_and_is_no_file_is_said(tmp_path):
    location = folder(tmp_path)
    os.mkfifo(location / "pipe.pdf")
    (location / "folder.pdf").mkdir()
    manual(location / "folder.pdf" / "inner.pdf", ["Priming a siphon"], "The siphon book")
    (location / "nothing.pdf").symlink_to("nowhere.pdf")
    (location / "loop.pdf").symlink_to("loop.pdf")
    (tmp_path / "elsewhere").mkdir()
    (location / "archive").symlink_to(tmp_path / "elsewhere")
    (location / "v1.2").symlink_to(location / "deep")
    (location / "alias.pdf").symlink_to(location / "pumps.pdf")
    corpus = prepared(tmp_path, max_quarantined=0.5)
    reasons = pd.read_parquet(tmp_path / QUARANTINE).set_index("origin")["reason"].to_dict()
    assert {name: reason.split(":")[0] for name, reason in reasons.items()} == {
        "archive": "path leaves the folder",
        "folder.pdf": "missing file",
        "loop.pdf": "unreadable file",
        "nothing.pdf": "missing file",
        "pipe.pdf": "missing file",
    }
    assert "folder.pdf/inner.pdf" in set(corpus.pages["document_id"])
    message = r"no PDF and no image, but pipe.pdf \(missing file: a pipe"
    with pytest.raises(InputError, match=message):
        (tmp_path / "only").mkdir()
        os.mkfifo(tmp_path / "only" / "pipe.pdf")
        download.main(with_params("pdf", input="only"), tmp_path)


def test_folder_without_pdf_is_a_clear_error(tmp_path):
    (tmp_path / "raw").mkdir()
    with pytest.raises(InputError, match="holds no PDF and no image"):
        download.main(with_params("pdf", input="raw"), tmp_path)
    assert not (tmp_path / SOURCE).exists()


def test_changed_added_or_removed_file_changes_what_is_stored(tmp_path):
    location = folder(tmp_path)
    params = with_params("pdf", input="raw")

    def digest():
        download.main(params, tmp_path)
        return (tmp_path / SOURCE / storing.PROVENANCE).read_text()

    first = digest()
    assert digest() == first
    manual(location / "pumps.pdf", ["Priming a siphon"], "The pumps book")
    changed = digest()
    (location / "pumps.pdf").unlink()
    removed = digest()
    manual(location / "deep" / "more.pdf", ["Priming a pump"], "One more book")
    added = digest()
    assert len({first, changed, removed, added}) == 4
    stored = {json.dumps(sorted(json.loads(text)["files"])) for text in (first, removed, added)}
    assert len(stored) == 3


def test_running_headers_blank_pages_and_indexes_are_no_answers():
    def page(*lines, kind="text"):
        return layout.PageLayout([layout.Line(t, 10.0, False, 0.5) for t in lines], kind)

    index = page("Index", *(f"{word}, {n}, {n + 9}" for n, word in enumerate(sorted(WORDS))))
    listing = page(*(f"x{n} {n} 60" for n in range(30)))
    contents = page("Contents", *(f"Chapter {n} . . . . . {n}" for n in range(9)))
    body = page("THE BOOK 7", *BODY)
    kinds = [
        p.kind for p in layout.classify([index, listing, contents, body, page(kind="blank")], [])
    ]
    assert kinds == ["index", "text", "contents", "text", "blank"]
    texts = [["THE BOOK 1", "one"], ["THE BOOK 2", "two"], ["3 THE BOOK", "three"]]
    running = layout.running_lines(texts)
    assert [layout.body_lines(lines, running) for lines in texts] == [[1], [1], [1]]


WORDS = "anchor beacon cable derrick engine flange gasket hatch island jetty keel lamp mast".split()


def test_paraphrase_shares_no_content_word_with_its_page():
    page = "Installing requirements: run setup before deploying anything."
    text = paraphrase("Advanced configuration options", page)
    assert text is not None
    stems = {stem(word) for word in content_words(page)}
    assert not stems & {stem(word) for word in content_words(text)}
    assert paraphrase("Advanced kubernetes options", page) is None
    # Every other word for it stands on the page too.
    assert paraphrase("Simple errors", "easy and plain mistakes, faults, defects") is None


def test_long_file_is_read(tmp_path):
    pages = [[f"Leaf number {n}"] for n in range(2000)]
    titles = [(0, f"Leaf number {n}", n) for n in range(0, 2000, 100)]
    write_pdf(tmp_path / "long.pdf", pages, titles, "Long")
    writing.write(pdf.open_source(with_params("pdf", input="."), tmp_path), tmp_path / "out")
    assert sum(batch.num_rows for batch in storing.batches(tmp_path / "out")) == 2000


def test_queries_say_where_they_come_from_and_pages_need_no_text(tmp_path):
    location = folder(tmp_path)
    write_pdf(location / "scan.pdf", [None, []], title="Scanned")
    captions = ["Figure 1: Cross section of a pump.", "Table 1: Sizes of all hoses."]
    pages = [["The book"], [("Painting a rusty boiler", 18), *BODY, *captions]]
    write_pdf(location / "plain.pdf", [*pages, ["x"], ["y"]], title="Plain")
    manual(location / "known.pdf", ["Advanced configuration options"], "Known")
    corpus = prepared(tmp_path)
    scanned = corpus.pages[corpus.pages["document_id"] == "scan.pdf"]
    assert list(scanned["kind"]) == ["picture", "blank"]
    assert not scanned["text"].fillna("").any()
    assert set(corpus.queries["origin"]) == {
        "bookmark", "heading", "figure", "table", "paraphrase",
    }  # fmt: skip
    (query,) = corpus.queries[corpus.queries["origin"] == "paraphrase"].itertuples()
    (page,) = corpus.qrels[corpus.qrels["query_id"] == query.query_id]["page_id"]
    text = corpus.pages.set_index("page_id").loc[page, "text"]
    shared = set(content_words(query.text)) & set(content_words(text))
    assert shared <= {"section", "page", "read"}, "only the words of the question's form"


def test_nothing_but_a_broken_file_is_named_in_one_line_and_leaves_no_corpus(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/torn.pdf").write_bytes(b"%PDF-1.4 nonsense")
    with pytest.raises(InputError, match=r"max_quarantined .*torn.pdf \(unreadable PDF"):
        prepared(tmp_path)
    assert not (tmp_path / CORPUS).exists()
