"""What is asked of a PDF: which wordings become questions, and which pages answer them.

Every test writes its own files and reads the questions that download stores.
"""

import dataclasses

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sources import write_pdf

from pagefinder.sources import pdf, storing, writing
from pagefinder.sources.pdf_queries import (
    captions,
    layout,
    phrases,
    questions,
    sections,
    statements,
    titles,
)
from pagefinder.sources.pdf_queries.wording import reword

WORDS = "Water runs downhill and nobody has to push it along, which saves a good deal of work."
BODY = [WORDS] * 4


def answers_of(folder):
    """Every question with the files and page numbers of its answers."""
    documents = [pdf.Document(path, path.name, path.name) for path in sorted(folder.glob("*.pdf"))]
    rows = [pdf.read_document(document) for document in documents]
    parts = {"documents": lambda start: rows[start:]}
    source = storing.Source("pdf", parts, {}, choose_queries=questions.choose_queries)
    writing.write(source, folder / "out")
    queries = pd.read_parquet(folder / "out" / storing.QUERIES)
    qrels = pd.read_parquet(folder / "out" / storing.QRELS)
    pages = {
        row["key"]: (row["document_id"], row["page_number"])
        for batch in storing.batches(folder / "out")
        for row in batch.to_pylist()
    }
    return {
        text: sorted(pages[key] for key in qrels[qrels["query"] == number]["page"])
        for number, text in queries["text"].items()
    }


def numbers(questions, name):
    """Page numbers of the only question that has `name` in it."""
    (answers,) = [answers for text, answers in questions.items() if name in text]
    return [number for _, number in answers]


def text_of(questions, name):
    (text,) = [text for text in questions if name in text]
    return text


def book(folder, pages, outline, title="The pump book", name="a.pdf"):
    """A PDF whose bookmarks are (level, title, page number); no two pages say quite the same."""
    write_pdf(
        folder / name,
        [
            [
                line.replace("Water", f"W{'abcdefghij'[number] * 5}") if line == WORDS else line
                for line in lines
            ]
            for number, lines in enumerate(pages)
        ],
        [(level, text, page - 1) for level, text, page in outline],
        title,
    )


def head(text):
    return (text, 18)


def test_title_that_is_an_order_or_a_question_is_asked_as_such(tmp_path):
    pages = [
        [head("Do not spill the grease"), *BODY],
        [head("How to open a valve"), *BODY],
        [head("Lower section of tubes"), *BODY, "To open it see How to open a valve."],
        [head("Scope of this manual"), *BODY, "About the lower section of tubes."],
    ]
    book(tmp_path, pages, [(0, lines[0][0], number) for number, lines in enumerate(pages, 1)])
    assert {text: page for text, ((_, page),) in answers_of(tmp_path).items()} == {
        'Where does it say "do not spill the grease"?': 1,
        "Which page has the section about How to open a valve?": 2,
        "Where is lower section of tubes described?": 3,
        "Where can I read about scope of this manual in The pump book?": 4,
    }


def test_page_that_mentions_a_title_is_no_answer(tmp_path):
    pages = [
        [head("Sealing the pump shaft"), *BODY],
        [head("Grease for old bearings"), *BODY],
        [head("Colour of the handle"), "More in Sealing the pump shaft.", *BODY],
    ]
    outline = [(0, lines[0][0], number) for number, lines in enumerate(pages, 1)]
    book(tmp_path, pages, outline)
    answers = answers_of(tmp_path)
    # An open question would have both pages as answers: the section has one.
    assert text_of(answers, "ealing the pump shaft").startswith(
        ("Where is the section on", "Which page has the section about")
    )
    assert numbers(answers, "ealing the pump shaft") == [1]
    assert "section" not in text_of(answers, "rease for old bearings")
    assert numbers(answers, "rease for old bearings") == [2]
    assert len(answers) == 3


def test_title_in_two_documents_names_its_own(tmp_path):
    for name in ("one", "two"):
        pages = [[head("Grease for old bearings"), *BODY, name]]
        book(tmp_path, pages, [(0, "Grease for old bearings", 1)], f"Book {name}", f"{name}.pdf")
    answers = answers_of(tmp_path)
    assert {text.split(" in ")[-1]: pages for text, pages in answers.items()} == {
        "Book one?": [("one.pdf", 1)],
        "Book two?": [("two.pdf", 1)],
    }


def test_documents_of_one_title_are_told_apart_by_their_files(tmp_path):
    for name in ("2023", "2024"):
        pages = [[head("Grease for old bearings"), *BODY, name]]
        book(tmp_path, pages, [(0, "Grease for old bearings", 1)], "Pumps", f"{name}.pdf")
    answers = answers_of(tmp_path)
    assert sorted(text.split(" in ")[-1] for text in answers) == ["Pumps (2023)?", "Pumps (2024)?"]


def test_section_ends_where_the_next_begins_and_runs_on_where_its_text_does(tmp_path):
    pages = [
        [head("Sealing the pump shaft"), *BODY],
        [head("Grease for old bearings"), *BODY],
        [*BODY, head("Colour of the handle"), *BODY],
        ["Six words are left of it.", head("Bending copper tubes")],
        BODY,
    ]
    outline = [
        (0, "Sealing the pump shaft", 1),
        (0, "Grease for old bearings", 2),
        (0, "Colour of the handle", 3),
        (0, "Bending copper tubes", 4),
    ]
    book(tmp_path, pages, outline)
    answers = answers_of(tmp_path)
    assert numbers(answers, "ealing the pump") == [1]
    assert numbers(answers, "rease for") == [2, 3]
    assert numbers(answers, "olour of the") == [3]  # a line that is left over answers nothing
    assert numbers(answers, "ending copper") == [4, 5]  # the heading stands last on its page


def test_long_section_and_one_with_parts_are_asked_for_their_beginning(tmp_path):
    pages = [
        [head("Pumps of all kinds"), *BODY],
        [head("Sealing the pump shaft"), *BODY],
        [head("Grease for old bearings"), *BODY],
        BODY,
        BODY,
        BODY,
    ]
    outline = [
        (0, "Pumps of all kinds", 1),
        (1, "Sealing the pump shaft", 2),
        (1, "Grease for old bearings", 3),
    ]
    book(tmp_path, pages, outline)
    answers = answers_of(tmp_path)
    for name, page in (("umps of all kinds", 1), ("rease for old bearings", 3)):
        assert text_of(answers, name).endswith(" begin?")
        assert numbers(answers, name) == [page]
    assert not text_of(answers, "ealing the pump shaft").endswith(" begin?")


@pytest.mark.parametrize("body", [[], ["See Colour of the handle (p. 2)."], ["Refer to page 2."]])
def test_section_that_says_nothing_is_not_asked(tmp_path, body):
    pages = [
        [head("Sealing the pump shaft"), *body, head("Grease for old bearings"), *BODY],
        [head("Colour of the handle"), *BODY],
    ]
    titles_of = [("Sealing the pump shaft", 1), ("Grease for old bearings", 1)]
    outline = [(0, *entry) for entry in [*titles_of, ("Colour of the handle", 2)]]
    book(tmp_path, pages, outline)
    answers = answers_of(tmp_path)
    assert len(answers) == 2
    assert not any("ealing" in text for text in answers)


def test_title_that_comes_again_names_its_chapter_or_is_dropped(tmp_path):
    chapters = ["Copper pumps", "Wooden pumps"]
    pages, outline = [], []
    for chapter in chapters:
        pages += [[head(chapter), *BODY], [head("Options"), *BODY, chapter]]
        outline += [(0, chapter, len(pages) - 1), (1, "Options", len(pages))]
    # In one chapter the same title twice: nobody can tell which is meant.
    pages += [[head("Iron pumps"), *BODY]] + [[head("Care and storage"), *BODY]] * 2
    outline += [(0, "Iron pumps", 5), (1, "Care and storage", 6), (1, "Care and storage", 7)]
    book(tmp_path, pages, outline)
    answers = answers_of(tmp_path)
    assert numbers(answers, "ptions under Copper pumps in The pump book") == [2]
    assert numbers(answers, "ptions under Wooden pumps in The pump book") == [4]
    assert not any("storage" in text for text in answers)


def test_routine_is_asked_once_by_its_name_or_its_task(tmp_path):
    names = ["flush_pipe", "drain_sump", "seal_shaft", "open_valve", "stop_pump", "heat_tank"]
    entries = [f"{name} - {name.replace('_', ' the old ')} with care" for name in names]
    pages = [[head(entry), *BODY, str(number)] for number, entry in enumerate(entries)]
    book(tmp_path, pages, [(0, entry, number) for number, entry in enumerate(entries, 1)])
    answers = answers_of(tmp_path)
    assert sorted(pages[0][1] for pages in answers.values()) == [1, 2, 3, 4, 5, 6]
    first = {text.split()[0] for text in answers}
    assert first == {"What", "How"}
    for text in answers:
        assert text in {f"What does {name} do?" for name in names} | {
            f"How do I {name.replace('_', ' the old ')} with care?" for name in names
        }


def test_headings_are_found_without_bookmarks(tmp_path):
    pages = [
        [("The pump book", 30)],
        [("1 Pumps", 22), *BODY, ("1.1 Sealing the pump shaft", 15), *BODY],
        [("1 Pumps", 22), *BODY, ("1.2 3 rules for old bearings", 15), *BODY],
        [*BODY, ("which leads us to the", 15), *BODY, ("x = 3 { y }", 15), *BODY],
        [("2 Valves", 22), *BODY, ("2.1 Springs and pistons of the", 15), ("valve", 15), *BODY],
    ]
    book(tmp_path, pages, [])
    answers = answers_of(tmp_path)
    assert len(answers) == 5
    assert numbers(answers, "umps in The pump book") == [2]  # on page 3 it is the running head
    assert numbers(answers, "ealing the pump shaft") == [2, 3]
    assert numbers(answers, "3 rules for old bearings") == [3, 4]
    assert numbers(answers, "prings and pistons of the valve") == [5]
    assert not any("leads" in text or "= 3" in text for text in answers)


def line(text, size=10.0):
    return layout.Line(text, size, False, 0.5)


def test_caption_speaks_of_the_whole_figure_or_its_first_panel():
    full = "Table 2. Widths of all the pipes and flanges that this book speaks of"
    texts = captions.find(
        [
            line(WORDS[:75]),
            line("Figure 1: A filter seen from below. It is dirty."),
            line("Figure 2 shows nothing at all that matters here."),
            line("Figure 3: (a) Pressure of the outlet.(b) Pressure of the inlet."),
            line("Figure 4: Cross section of (a) a clean pump (b) a dirty pump."),
            line("Figure 5: Two old valves (a) open and (b) closed."),
            line("Figure 6: Speed of the water behind the valve, measured in"),
            line("summer."),
            line("Figure 7: Turbine and dam"),
            line("as seen by a bird, or so it may be."),
            line(full),
            line("Widths are in inches."),
        ]
    )
    assert list(texts) == [
        ("figure", "A filter seen from below"),
        ("figure", "Pressure of the outlet"),
        ("figure", "Cross section of a clean pump"),
        ("figure", "Two old valves"),
        ("figure", "Speed of the water behind the valve, measured in summer"),
    ]  # whether the last two go on in the next line cannot be told


def test_figure_is_asked_although_its_section_bears_the_same_name(tmp_path):
    pages = [
        [head("Pressure of the outlet"), *BODY],
        ["The curve:", "Figure 1: Pressure of the outlet", *BODY],
    ]
    book(tmp_path, pages, [(0, "Pressure of the outlet", 1)])
    answers = answers_of(tmp_path)
    forms = ("Which figure shows", "Where is there a picture")
    figure = next(text for text in answers if text.startswith(forms))
    assert answers[figure] == [("a.pdf", 2)]


def test_word_broken_at_the_end_of_a_line_is_mended():
    soft = layout.SOFT
    texts = [
        f"trans{soft}form of a well{soft}known wave",
        "the well-known wave",
        f"under{soft}damped",
    ]
    page = layout.PageLayout([line(text) for text in texts], "text")
    (mended,) = layout.mend_hyphens([page])
    assert [line.text for line in mended.lines] == [
        "transform of a well-known wave",
        "the well-known wave",
        "underdamped",
    ]


def test_hyphen_at_the_end_of_a_line_is_read_as_one(tmp_path):
    write_pdf(tmp_path / "a.pdf", [["The frequency trans-", "form of a pump is known."]])
    pages = pdf.read_document(pdf.Document(tmp_path / "a.pdf", "a.pdf", "a.pdf"))
    assert " ".join(pages[0].text.split()) == "The frequency transform of a pump is known."


def test_number_of_a_title_stays_where_it_counts_nothing():
    page = layout.PageLayout([line("5.3 3.0 source format"), line("5.4 Native tools")], "text")
    unnumbered = [sections.Entry("3.0 source format", (), 0), sections.Entry("Native tools", (), 0)]
    numbered = [
        sections.Entry("5.3 3.0 source format", (), 0),
        sections.Entry("5.4 Native tools", (), 0),
    ]
    for outline in (unnumbered, numbered):
        parts = sections.find([page], outline, set())
        assert [part.title for part in parts] == ["3.0 source format", "Native tools"]


def test_bookmarks_may_lead_back_and_to_one_place(tmp_path):
    pages = [[head(title), *BODY] for title in ("Sealing the shaft", "Old bearings")]
    outline = [(0, "Old bearings", 2), (0, "Sealing the shaft", 1), (1, "Sealing the shaft", 1)]
    book(tmp_path, pages, outline)
    assert sorted(number for ((_, number),) in answers_of(tmp_path).values()) == [1, 2]


def test_phrases_wait_in_the_shards_until_all_documents_are_read(tmp_path):
    phrase = storing.Phrase("the pump", "The Pump", "heading", (0, 2), "Book", "", (0, 9), True)
    waiting = [
        storing.SourceQuery("the pump", "heading", "a.pdf page 1", {"a.pdf/0": 1}, phrase=phrase),
        storing.SourceQuery("no phrase", "heading", "a.pdf page 2", {"a.pdf/1": 1}),
    ]
    torn = dataclasses.replace(phrase, wording="half a \ud83d")  # half of a pair has no UTF-8
    read = []

    def choose(queries, folder):
        read.extend(queries)
        return []

    rows = [*([query] for query in waiting), [dataclasses.replace(waiting[0], phrase=torn)]]
    parts = {"documents": lambda start: rows[start:]}
    writing.write(storing.Source("pdf", parts, {}, choose_queries=choose), tmp_path / "out")
    assert read[:2] == waiting
    assert read[2].phrase.wording == "half a ?"


some_line = st.builds(
    line,
    st.lists(
        st.sampled_from(["1", "2.1", "Figure 3:", "(a)", "pump.", "Pump", "the", "=", "_", "see"]),
        min_size=1,
        max_size=6,
    ).map(" ".join),
    st.sampled_from([10.0, 14.0]),
)
some_page = st.builds(
    layout.PageLayout,
    st.lists(some_line, max_size=6),
    st.sampled_from(["text", "text", "contents", "index"]),
).map(lambda page: page if page.lines else layout.PageLayout([], "picture"))
some_title = st.sampled_from(["Pump", "1 Pump the", "Figure 3: Pump", "see Pump", "2.1", "="])


@given(st.lists(some_page, min_size=1, max_size=6), st.data())
@settings(max_examples=100, deadline=None)
def test_whatever_a_document_says_its_answers_are_content_pages(pages, data):
    entry = st.builds(
        sections.Entry,
        some_title,
        st.lists(some_title, max_size=2).map(tuple),
        st.integers(0, len(pages) - 1),
    )
    outline = data.draw(st.lists(entry, max_size=4))
    for phrase in phrases.find_phrases(pages, outline, "Book"):
        assert phrase.wording
        if phrase.subject:
            assert {pages[index].kind for index in phrase.pages} <= set(layout.ANSWERS)


def test_titles_are_cleaned():
    assert titles.clean("Line_resources", True) == "Line resources"
    assert titles.clean("Command-line_options", True) == "Command-line options"
    assert titles.clean("set_color of glp_prob.", True) == "set_color of glp_prob"
    assert titles.clean("More information on pumps", True) == "pumps"
    line = "The frequency of Fourier waves, the Debian/rules of Debian, debian"
    counts = titles.spellings([line])
    assert titles.sentence_case("Frequency of A Fourier Wave", counts) == (
        "frequency of a Fourier Wave"
    )
    assert titles.is_fragment("How to use this License for your")
    assert not titles.is_fragment("What it is about")
    assert not titles.is_named("Chapter Seven")
    assert not titles.is_named("Contents")
    assert titles.is_named("Solving with f(x)")


def stated(*lines):
    """Kind and words of each statement in a text of these lines."""
    return {statement[:2] for statement in statements.find([line(text) for text in lines])}


@pytest.mark.parametrize(
    ("sentence", "kind", "subject"),
    [
        ("To remove the old boiler, open the lowest valve.", "task", "remove the old boiler"),
        ("Open the lowest valve to remove the old boiler.", "", ""),
        ("Use the lowest valve to remove the old boiler.", "task", "remove the old boiler"),
        ("To remove the old boiler, see page nine.", "", ""),
        ("To drain this old boiler, open the valve.", "", ""),
        (
            "The routine flush_pipe removes all rust from a pipe (if any).",
            "purpose",
            "Which routine removes all rust from a pipe",
        ),
        (
            "Choose the option labels to define persistent pump labels.",
            "task",
            "define persistent pump labels",
        ),
        (
            "A grease gun (see below) is used to fill dry bearings with oil.",
            "purpose",
            "What is used to fill dry bearings with oil",
        ),
        ("It is not used to fill dry bearings with oil.", "", ""),
        (
            "If your pump leaks water at night, call us.",
            "condition",
            "if my pump leaks water at night",
        ),
        ("This helps when the old pump is leaking water.", "", ""),
        (
            "A sump is a deep pit which collects waste water.",
            "definition",
            "a deep pit which collects waste water",
        ),
        (
            "The boiler plate cannot be welded to copper tubes.",
            "rule",
            "Can the boiler plate be welded to copper tubes",
        ),
        ("The plate cannot be welded to copper tubes.", "", ""),
        ("The main pressure relief valve (MPX) is red.", "", ""),
        ("The pressure relief valve (PRV) is red.", "abbreviation", "does PRV stand for"),
        (
            "- Check the filter before each winter.",
            "item",
            "Where does it say to check the filter before each winter",
        ),
        (
            "FLUSH_ON - enable flushing the lower pipe;",
            "item",
            "How do I enable flushing the lower pipe",
        ),
        (
            "valve: the part between pump and pipe",
            "item",
            "What do you call the part between pump and pipe",
        ),
        ("valve: the part shouldn’t leak water behind my pump", "", ""),
        ("When checked enables colour output to the plotter, it is slow.", "", ""),
        ("If set to a true value the old pump leaks water, call us.", "", ""),
    ],
)
def test_statement_is_asked_without_what_it_tells(sentence, kind, subject):
    assert stated(sentence) == ({(kind, subject)} if kind else set())


def test_statement_goes_over_lines_and_ends_with_its_paragraph():
    assert stated("To remove the old", "boiler, open the", "lowest valve.") == {
        ("task", "remove the old boiler")
    }
    places = [0.9, 0.88, 0.86, 0.84, 0.7, 0.68]
    texts = [*BODY[:3], "To remove the old", "boiler, open a valve.", WORDS]
    apart = [layout.Line(*row) for row in zip(texts, [10.0] * 6, [False] * 6, places, strict=True)]
    assert not list(statements.find(apart))


def test_statement_is_asked_once_where_no_other_paragraph_has_its_words(tmp_path):
    told = "To remove the old boiler slowly, open the lowest valve."
    pages = [
        [head("Sealing the pump shaft"), *BODY, told],
        [head("Grease for bearings"), *BODY, "Slowly the boilers age: the old ones remove."],
        [head("Colour of a handle"), *BODY, "To rotate a cast iron handle, heat it first."],
    ]
    book(tmp_path, pages, [(0, lines[0][0], number) for number, lines in enumerate(pages, 1)])
    answers = answers_of(tmp_path)
    assert numbers(answers, "rotate a cast iron handle") == [3]
    assert not any("boiler" in text for text in answers)
    pages[1][-1] = "Slowly the boilers age."
    other = tmp_path / "other"
    other.mkdir()
    book(other, pages, [(0, lines[0][0], number) for number, lines in enumerate(pages, 1)])
    assert numbers(answers_of(other), "remove the old boiler slowly") == [1]


def test_statement_in_two_documents_names_its_own(tmp_path):
    for name in ("one", "two"):
        told = "To remove the old boiler slowly, open the lowest valve."
        book(tmp_path, [[head(f"Pump {name}"), *BODY, told]], [], f"Book {name}", f"{name}.pdf")
    asked = [text for text in answers_of(tmp_path) if "boiler" in text]
    assert sorted(text.split(", ")[-1] for text in asked) == [
        "according to Book one?",
        "according to Book two?",
    ]


def test_reworded_question_has_words_that_are_not_on_the_page(tmp_path):
    told = "To remove unnecessary pictures quickly, wash the front of the boiler."
    book(tmp_path, [[told, *BODY]], [])
    answers = answers_of(tmp_path)
    assert any("remove unnecessary pictures quickly," in text for text in answers)
    assert any("erase needless images fast," in text for text in answers)
    page = f"{told} Erase it. An imaging device."
    assert reword("remove unnecessary pictures quickly", page) == "delete needless pictures fast"
    assert reword("show a big picture", "") == "display a large image"
    assert reword("open a big valve", "") is None
    assert reword("repairing a picture", "", task=False) == "mending an image"


def test_run_in_head_is_asked_where_text_follows(tmp_path):
    text = [WORDS.split(" and ")[0] + " and grease flows uphill where it is pushed along by hand."]
    pages = [
        [
            head("Sealing the pump shaft"),
            *BODY,
            [(60, "Greasy handles", True), (170, text[0], False)],
            *BODY,
            [(60, "Rusty handles", True), (170, "see the next book.", False)],
        ]
    ]
    book(tmp_path, pages, [(0, "Sealing the pump shaft", 1)])
    answers = answers_of(tmp_path)
    assert numbers(answers, "greasy handles") == [1]
    assert not any("rusty" in text for text in answers)


def test_table_is_asked_by_the_heads_of_its_columns(tmp_path):
    heads = [(60, "Pipe width", False), (200, "Steel grade", False), (340, "Price", False)]
    rows = [(60, "two inches", False), (200, "nine", False), (340, "ten", False)]
    pages = [[head("Sealing the pump shaft"), *BODY, "Table 1: What pipes cost", heads, rows]]
    book(tmp_path, pages, [(0, "Sealing the pump shaft", 1)])
    answers = answers_of(tmp_path)
    assert answers["Which table has the columns Pipe width, Steel grade and Price?"] == [
        ("a.pdf", 1)
    ]


def found_on(sentence):
    """Kinds and subjects of the statements on a page with this text alone."""
    return [found[:2] for found in statements.find([line(sentence)])]


def test_one_of_several_is_not_asked_for_by_what_is_said_of_it():
    asked = "Axis labels come from strings. The {} form uses the data column itself as a string."
    question = ("purpose", "What uses the data column itself as a string")
    assert question in found_on(asked.format("numeric"))
    assert question not in found_on(asked.format("simplest"))
    told = "The {} option is the vesa mode for the emxvesa terminal driver."
    assert "definition" in {origin for origin, _ in found_on(told.format("leading"))}
    assert "definition" not in {origin for origin, _ in found_on(told.format("only"))}


def test_an_enumeration_of_what_a_thing_does_is_asked_for_whole():
    told = "The routine glp_error formats its parameters, writes the message to the terminal{}."
    assert found_on(told.format(" and stops the program"))
    assert not found_on(told.format(", and then ends the program"))


def test_a_word_for_a_person_stands_behind_an_article():
    reworded = reword("the person who made the original program", "")
    assert reworded == "the individual who created the original application"


def test_words_with_other_meanings_keep_their_place():
    """A reader took these for no person's: outer files, informs a terminal to employ."""
    for text in (
        "use external files with the command",
        "tell loops the debugging information explicitly",
        "describe several commands used",
        "draw external contours explicitly",
    ):
        assert reword(text, "") is None
