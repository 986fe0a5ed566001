"""Splits of a handful of documents, and the account of every row: drawn, cut, left out, counted."""

import itertools

import pandas as pd
import pytest
from corpora import write_corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from pagefinder.data.corpus import SPLITS
from pagefinder.preparing import cuts, draws, leaks, splits, units
from pagefinder.preparing.account import FATES, account
from pagefinder.preparing.assemble import _fates
from pagefinder.preparing.queries import check_queries
from pagefinder.retrieval.runs import documents_of, qrels_of
from pagefinder.sources.pdf_queries.chapters import page_sections
from pagefinder.sources.pdf_queries.sections import Entry


def manuals(sizes, *, numbered=True, section=None, asked=1):
    """Pages, queries and qrels of documents of `sizes` pages, `asked` questions on each page.

    Args:
        sizes: Pages of each document.
        numbered: Whether pages have a number.
        section: From document and page number to the section that the source names; None: none.
        asked: Questions on each page; below 1 on that share of them.
    """
    rows = [
        {
            "page_id": f"{document}-{number}",
            "document_id": f"d{document}",
            "page_number": number if numbered else None,
            "section": section(document, number) if section else None,
            "split": None,
            "digest": f"{document}-{number}",
            "text_hash": "",
        }
        for document, size in enumerate(sizes)
        for number in range(1, size + 1)
    ]
    pages = pd.DataFrame(rows).assign(row=range(len(rows)))
    every = max(1, round(1 / asked))
    pairs = [
        (f"{page_id} {n}", page_id)
        for page_id in pages["page_id"][::every]
        for n in range(max(1, int(asked)))
    ]
    queries = pd.DataFrame({"query_id": [query for query, _ in pairs], "split": None})
    qrels = pd.DataFrame(pairs, columns=["query_id", "page_id"]).assign(relevance=1)
    return pages, queries, qrels


def questions(split):
    counts = split.queries["split"].value_counts()
    return {name: int(counts.get(name, 0)) for name in SPLITS}


def answers_across(pages, queries, qrels, *page_ids):
    """The same, with one more question that all of `page_ids` answer."""
    more = pd.DataFrame({"query_id": "across", "page_id": page_ids, "relevance": 1})
    queries = pd.concat([queries, pd.DataFrame({"query_id": ["across"], "split": [None]})])
    return pages, queries.reset_index(drop=True), pd.concat([qrels, more], ignore_index=True)


def test_documents_are_drawn_by_their_questions():
    """Of twelve manuals of 3 to 90 pages, one drawn for dev may be the leaflet of 3."""
    sizes = [3, 4, 6, 90, 70, 50, 40, 30, 25, 60, 20, 12]
    for seed in range(8):
        split = splits.split_corpus(*manuals(sizes), 0.2, 0.1, seed)
        counts = questions(split)
        assert counts["dev"] >= 50, seed
        assert 0.13 < counts["eval"] / sum(sizes) < 0.27, seed
        assert not split.cut_documents


def test_all_that_is_drawn_follows_the_seed_and_what_the_source_gives_stays():
    drawn = {units.Node("", "page", f"p{number}"): 1.0 for number in range(40)}
    given = units.Node("eval", "page", "given")
    by_seed = [
        draws.assign({*drawn, given}, drawn, draws.Shares(0.25, 0.5, seed)) for seed in (1, 1, 2)
    ]
    for split in SPLITS:
        of_seed = [{unit for unit, name in found.items() if name == split} for found in by_seed]
        assert of_seed[0] == of_seed[1] != of_seed[2]
        assert [given in found for found in of_seed] == [split == "eval"] * 3
        assert len(of_seed[0] & drawn.keys()) == {"train": 15, "dev": 15, "eval": 10}[split]


@pytest.mark.parametrize(
    ("judged", "digest", "message"),
    [("q-train", "b", "judgement crosses splits"), ("q-eval", "a", "pixels a stand in two splits")],
)
def test_what_leaks_all_the_same_stops_the_run(judged, digest, message):
    pages = pd.DataFrame(
        {"page_id": ["p-train", "p-eval"], "split": ["train", "eval"], "digest": ["a", digest]}
    )
    queries = pd.DataFrame({"query_id": ["q-train", "q-eval"], "split": ["train", "eval"]})
    qrels = pd.DataFrame({"query_id": [judged], "page_id": ["p-eval"], "relevance": [1]})
    with pytest.raises(AssertionError, match=message):
        leaks.check_leaks(leaks.Split(pages, queries, qrels, {}, frozenset()))


def test_a_single_manual_is_cut_at_its_sections():
    chapter = lambda document, number: f"chapter {(number - 1) // 12}"  # noqa: E731
    for seed in range(10):
        split = splits.split_corpus(*manuals([360], section=chapter), 0.2, 0.1, seed)
        counts = questions(split)
        assert counts["dev"] >= 50
        assert counts["eval"] >= 0.13 * 360
        pages = split.pages.sort_values("page_number")
        assert pages["page_id"].is_unique
        # Neighbours are of one split, and only pages beside a cut are missing.
        for one, other in itertools.pairwise(pages.itertuples()):
            assert other.page_number > one.page_number + 1 or one.split == other.split
        assert pages.groupby("section")["split"].nunique().max() == 1
        left_out = int((split.fates["pages"] == "beside_cut").sum())
        assert left_out == 360 - len(pages) > 0
        assert (split.fates["queries"] == "beside_cut").sum() == left_out
        assert split.cut_documents == {"d0"}


@pytest.mark.parametrize("leaflets", [[6] * 3, [20] * 4])
def test_a_long_manual_among_leaflets_is_cut_alone(leaflets):
    split = splits.split_corpus(*manuals([400, *leaflets]), 0.2, 0.1, 3)
    assert split.cut_documents == {"d0"}
    assert min(questions(split).values()) >= 50
    of = split.pages.groupby("document_id")["split"].nunique()
    assert of.drop("d0").max() == 1


def test_two_documents_without_page_numbers_are_split_in_the_order_of_the_source():
    for sizes in ([40, 40], [9, 9]):
        split = splits.split_corpus(*manuals(sizes, numbered=False), 0.2, 0.1, 1)
        assert min(questions(split).values()) > 0


def test_documents_that_answers_join_are_cut():
    corpus = answers_across(*manuals([40, 40, 40]), "0-3", "1-3", "2-3")
    split = splits.split_corpus(*corpus, 0.2, 0.1, 1)
    assert min(questions(split).values()) > 0
    answers = split.qrels.query("query_id == 'across'")["page_id"]
    assert set(answers) == {"0-3", "1-3", "2-3"}
    assert split.pages.set_index("page_id").loc[answers, "split"].nunique() == 1


def test_pages_of_documents_that_the_source_splits_stay_distractors():
    """What no judgement names is not drawn where the source says what is trained and tested."""
    pages, queries, qrels = manuals([10] * 20)
    judged = qrels["page_id"].str.endswith(("-1", "-2", "-3"))
    qrels, queries = qrels[judged], queries[judged.to_numpy()].reset_index(drop=True)
    of_eval = queries["query_id"].str.split("-").str[0].astype(int) >= 15
    queries["split"] = of_eval.map({True: "eval", False: "train"})
    split = splits.split_corpus(pages, queries, qrels.reset_index(drop=True), 0.2, 0.1, 1)
    plain = pages.assign(document_id=None)
    without = splits.split_corpus(plain, queries, qrels.reset_index(drop=True), 0.2, 0.1, 1)
    expected = 20 * 7 + 5 * 3
    assert (without.pages["split"] == "eval").sum() == expected
    assert (split.pages["split"] == "eval").sum() == expected


def test_dev_takes_along_negatives_that_answer_nothing():
    """All questions of train share their negatives, which are no answers."""
    pages, queries, qrels = manuals([1] * 60)
    pages = pages.assign(document_id=None)
    asked = queries["query_id"].str.split("-").str[0].astype(int) < 40
    negatives = pd.DataFrame(
        {
            "query_id": [query for query in queries["query_id"][asked] for _ in range(4)],
            "page_id": [f"{40 + (n * 5 + k * 3) % 20}-1" for n in range(40) for k in range(4)],
            "relevance": 0,
        }
    )
    queries = queries[asked].assign(split=["train"] * 35 + ["eval"] * 5)
    qrels = pd.concat([qrels[asked.to_numpy()], negatives], ignore_index=True)
    split = splits.split_corpus(pages, queries.reset_index(drop=True), qrels, 0.2, 0.1, 1)
    of_dev = split.qrels.merge(split.queries, on="query_id").query("split == 'dev'")
    # A tenth of 35: negatives that questions share do not join them.
    assert of_dev["query_id"].nunique() in (3, 4)
    given_negatives = qrels[qrels["relevance"] == 0].drop_duplicates()
    eval_pages = set(split.pages.query("split == 'eval'")["page_id"])
    for query_id in of_dev["query_id"].unique():
        given_to_query = given_negatives.loc[given_negatives["query_id"] == query_id, "page_id"]
        free = set(given_to_query) - eval_pages
        part = of_dev[(of_dev["query_id"] == query_id) & (of_dev["relevance"] == 0)]
        assert set(part["page_id"]) == free
    lost = split.fates["judgements"] == "negative_in_other_split"
    assert lost.sum() == len(qrels) - len(split.qrels)


def test_drawn_questions_leave_train_its_answers():
    """Each question has the next one's answer as a negative."""
    pages, queries, qrels = manuals([1] * 40)
    negatives = qrels.assign(page_id=qrels["page_id"].shift(-1, fill_value="0-1"), relevance=0)
    both = pd.concat([qrels, negatives], ignore_index=True)
    split = splits.split_corpus(pages.assign(document_id=None), queries, both, 0.2, 0.1, 1)
    assert (split.fates["queries"] == "kept").all()
    assert set(split.queries["split"]) == set(SPLITS)


def test_splits_want_their_shares_of_the_questions():
    wanted = splits._wanted_queries(1000, draws.Shares(0.2, 0.1, 1))
    assert wanted == pytest.approx({"train": 720, "dev": 80, "eval": 200})


def test_of_equal_pages_the_one_that_says_more_stays():
    rows = {"page_id": "p", "document_id": [None, "d"], "text_hash": ["", "t"], "digest": "x"}
    pages = pd.DataFrame(rows).assign(row=range(2), split="train")
    queries = pd.DataFrame({"query_id": ["q"], "split": "train"})
    qrels = pd.DataFrame({"query_id": ["q"], "page_id": "p", "relevance": 1})
    split = leaks.without_leaks(pages, queries, qrels, set(), frozenset())
    assert split.pages["document_id"].tolist() == ["d"]
    assert split.fates["pages"].tolist() == ["merged", "kept"]


def test_a_section_without_an_answer_goes_with_the_one_before_it():
    named = manuals([15], section=lambda _, number: "abc"[(number - 1) // 5])[0]
    pages = cuts.with_sections(named)
    found = cuts.parts(pages, {"d0"}, tenths=False, answers={"0-1", "0-12"})
    assert found.tolist() == ["d0#0"] * 10 + ["d0#1"] * 5


def test_sections_of_a_document_without_names_are_of_equal_length():
    pages, _, _ = manuals([53, 9, 4])
    rows = cuts.with_sections(pages)
    sizes = rows.groupby(["document_id", "section"], dropna=False, sort=False).size()
    assert sizes["d0"].between(5, 6).all()
    assert len(sizes["d0"]) == 10
    assert rows["section"].iloc[0] == "pages 1 to 6"
    assert rows.query("document_id == 'd1'")["section"].isna().all()


def test_sections_come_from_the_outline():
    entries = [
        Entry("Preface", (), 2),  # begins too near the first page: it belongs to it
        Entry("Tools", (), 10),
        Entry("Saws", ("Tools",), 12),
        Entry("Use", (), 20),
        Entry("Cutting", ("Use",), 30),
        Entry("Drilling", ("Use",), 50),
        Entry("Care", (), 90),
        Entry("Use", (), 96),
    ]
    names = page_sections(entries, 105)
    starts = [0, *(n for n in range(1, 105) if names[n] != names[n - 1])]
    assert {n: names[n] for n in starts} == {
        0: "beginning", 10: "Tools", 20: "Use (page 21)", 30: "Cutting", 50: "Drilling",
        90: "Care", 96: "Use (page 97)",
    }  # fmt: skip
    assert page_sections([], 50) == [None] * 50
    assert page_sections([Entry("All", (), 0)], 50) == [None] * 50


def test_cuts_name_their_neighbours():
    pages = cuts.with_sections(manuals([6, 3])[0])
    pages["split"] = list("ttteee") + list("eet")
    assert cuts.beside_cuts(pages, {"d0"}) == {"0-3", "0-4"}
    pages["split"] = list("ttteee") + list("ttt")  # where a document ends nothing is cut
    assert cuts.beside_cuts(pages, {"d0", "d1"}) == {"0-3", "0-4"}


def test_sections_are_resampled_where_documents_are_few(tmp_path):
    def corpus(name, documents, sections):
        pages = [
            {"page_id": f"{d}-{s}", "document_id": f"d{d}", "section": f"s{s}", "split": "eval"}
            for d in range(documents)
            for s in range(sections)
        ]
        queries = [{"query_id": page["page_id"], "split": "eval"} for page in pages]
        qrels = [(page["page_id"], page["page_id"], 1) for page in pages]
        return write_corpus(tmp_path / name, pages, queries, qrels)

    def resampled(*args):
        written = corpus(*args)
        return set(documents_of(written, qrels_of(written, "eval")))

    assert resampled("few", 2, 3) == {f"d{d} § s{s}" for d in range(2) for s in range(3)}
    assert resampled("enough", 5, 2) == {f"d{d}" for d in range(5)}
    assert resampled("neither", 2, 2) == {"d0", "d1"}


page_row = st.fixed_dictionaries(
    {
        "page_id": st.sampled_from([f"p{n}" for n in range(8)]),
        "document_id": st.sampled_from([None, "x", "y", "z"]),
        "page_number": st.sampled_from([None, 1, 2, 3, 30]),
        "section": st.sampled_from([None, None, "one", "two"]),
        "split": st.sampled_from([None, None, None, "train", "eval"]),
        "digest": st.sampled_from(["a", "b", "c", "d", "e", "f"]),
        "text_hash": st.sampled_from(["", "t"]),
        "problem": st.sampled_from([None, None, None, "broken"]),
    }
)
query_row = st.fixed_dictionaries(
    {
        "text": st.sampled_from(["", " ", "What?", "what?", "Why?", "How?", "Who?", "Where?"]),
        "split": st.sampled_from([None, None, "train", "dev", "eval"]),
        "problem": st.sampled_from([None, None, None, "missing page"]),
    }
)


@given(
    st.lists(page_row, min_size=1, max_size=14),
    st.lists(query_row, min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 15), st.integers(0, 1)), max_size=20),
    st.integers(0, 3),
)
@settings(max_examples=15, deadline=None)
def test_every_row_has_one_fate_whatever_the_source(page_rows, query_rows, pairs, seed):
    page_rows[0] |= {"problem": None}
    query_rows[0] |= {"text": "Is there always one?", "problem": None}
    pairs.insert(0, (0, 0, 1))
    rows = pd.DataFrame(page_rows).assign(row=range(len(page_rows)))
    rows["key"] = [f"k{n}" for n in range(len(rows))]
    rows["problem"] = rows["problem"].astype(object).where(rows["problem"].notna(), None)
    queries = pd.DataFrame(query_rows).assign(where="w", origin="o")
    queries["query"] = range(len(queries))
    qrels = pd.DataFrame(pairs, columns=["query", "page", "relevance"])
    qrels = qrels[qrels["query"] < len(queries)].drop_duplicates(["query", "page"])
    qrels["page"] = "k" + qrels["page"].astype(str)
    usable = rows[rows["problem"].isna()]
    keys = dict(zip(usable["key"], usable["page_id"], strict=True))
    checked = check_queries(keys, set(rows["key"]) - set(keys), queries, qrels)
    split = splits.split_corpus(usable, checked.queries, checked.qrels, 0.3, 0.2, seed)
    result = account(_fates(rows, checked, split))
    sources = {"pages": rows, "queries": queries, "judgements": qrels}
    kept = {"pages": split.pages, "queries": split.queries, "judgements": split.qrels}
    for table, counts in result.items():
        assert counts["source"] == len(sources[table])
        assert set(counts) - {"source"} <= set(FATES[table])
        assert sum(counts.values()) == 2 * counts["source"]
        assert counts["kept"] == len(kept[table])


def test_a_row_without_a_fate_is_an_error():
    fates = {table: pd.Series(["kept"]) for table in FATES} | {"queries": pd.Series([None])}
    with pytest.raises(ValueError, match="queries have no fate None"):
        account(fates)


def test_a_document_that_answers_join_is_one_unit():
    pages, queries, qrels = answers_across(*manuals([3, 3]), "0-1", "1-1")
    answers = qrels.assign(source_split="")
    pages = pages.assign(source_split="")
    found = units.find_units(
        units.document_pages(pages, answers, pages["document_id"], {""}), answers
    )
    assert len(set(found.values())) == 1
    assert len(queries) == 7
