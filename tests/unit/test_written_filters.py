"""The filters of written questions: each on questions good and bad, then all in a row."""

import subprocess
import sys

import pandas as pd
import pytest

from pagefinder.params_writing import Writer, WrittenFilter
from pagefinder.writing import filters, language_rules
from pagefinder.writing.client import Answer
from pagefinder.writing.duplicates import repeated
from pagefinder.writing.prompts import AnswerJudgement, PageJudgement
from pagefinder.writing.written import WRITTEN_COLUMNS, WRITTEN_SCHEMA

SETTINGS = Writer.model_construct(filters=WrittenFilter.__args__)

STANDS_ALONE = {
    "en": [
        "How much did Acme's revenue grow in 2023?",
        "Is it possible to replace the filter of the X200 without tools?",
        "How is it that a heat pump loses power below zero?",
        "What is the difference between the P and the T wave of an ECG?",
        "How do I add a page to a Word document?",
        "Which table tennis rackets are allowed by the ITTF?",
        "What does the chart of accounts SKR03 hold under 4400?",
        "Who draws up the report of the board of Acme for 2022?",
        "torque of cylinder head bolts X200",
        "The pump of my X200 leaks. Can it be repaired, or must I buy a new one?",
    ],
    "de": [
        "Wie hoch war der Umsatz von Acme im Jahr 2023?",
        "Wie können Sie den Filter des X200 wechseln?",
        "Ist es möglich, den X200 ohne Werkzeug zu öffnen?",
        "Welche Farben gibt es für den X200?",
        "Welche Aufgaben hat der Aufsichtsrat nach dem Aktiengesetz?",
        "Wie füge ich in Word eine Seite ein?",
        "Was steht in der Tabelle der Grenzwerte nach TA Luft für Staub?",
        "Anzugsmoment Zylinderkopfschrauben X200",
    ],
}
NEEDS_THE_PAGE = {
    "en": [
        "What is shown in this figure?",
        "According to the table, what was the revenue?",
        "What does the table above list?",
        "What values does the chart show for 2020?",
        "What does Figure 3 illustrate?",
        "How many steps are listed on this page?",
        "What is the second item mentioned above?",
        "How much does it weigh?",
        "What are they used for?",
        "What is it used for?",
        "Does it need a permit?",
        "It costs how much?",
        "Who wrote this report?",
        "What is the purpose of the following diagram?",
        "What do these figures mean?",
    ],
    "de": [
        "Was zeigt diese Abbildung?",
        "Wie hoch ist der Umsatz laut der Tabelle?",
        "Was ist auf dieser Seite dargestellt?",
        "Was ist in der Grafik zu sehen?",
        "Welche Werte stehen in Tabelle 3?",
        "Welche der oben genannten Teile sind aus Stahl?",
        "Wie schwer ist er?",
        "Wie groß ist sie?",
        "Was bedeutet das im Text?",
        "Welche Teile sind hier abgebildet?",
    ],
    "fr": ["Que montre cette figure ?", "Quel est le total du tableau ci-dessous ?"],
    "es": ["¿Qué muestra esta figura?", "¿Cuál es el total según la tabla?"],
}


@pytest.mark.parametrize(
    ("language", "question"), [(k, q) for k in STANDS_ALONE for q in STANDS_ALONE[k]]
)
def test_a_question_stands_alone(language, question) -> None:
    assert filters.stands_alone(question, language) == ""


@pytest.mark.parametrize(
    ("language", "question"), [(k, q) for k in NEEDS_THE_PAGE for q in NEEDS_THE_PAGE[k]]
)
def test_a_question_needs_its_page(language, question) -> None:
    assert filters.stands_alone(question, language)


def test_a_language_without_rules_is_not_judged_and_named_in_the_log(caplog) -> None:
    assert filters.stands_alone("Mi ez az ábra?", "hu") is None
    rows = questions(("Mi a neve?", "a", "factual", "hu", "Béla"))
    with caplog.at_level("WARNING"):
        found = filters.text_faults(rows, {"a": "Béla"}, SETTINGS.filters)
    assert found["stands_alone"].to_list() == [None]
    assert "no rules for hu" in caplog.text
    assert "in hu only the script" in caplog.text


@pytest.mark.parametrize(
    ("question", "language", "passes"),
    [
        ("What is the limit value for dust at the workplace?", "en", True),
        ("Wie hoch ist der Grenzwert für Staub am Arbeitsplatz?", "de", True),
        ("What is the limit value for dust at the workplace?", "de", False),
        ("Wie hoch ist der Grenzwert für Staub am Arbeitsplatz?", "en", False),
        ("Quelle est la valeur limite pour les poussières au travail ?", "en", False),
        ("What is the Aufsichtsrat of Deutsche Bank and who is in it?", "en", True),
        ("作業場の粉じんの限界値はいくつですか", "ja", True),
        ("作業場の粉じんの限界値はいくつですか", "en", False),
        ("Каков предел содержания пыли на рабочем месте?", "de", False),
        ("What is the limit value for dust?", "ru", False),
    ],
)
def test_the_language_of_a_question(question, language, passes) -> None:
    assert (filters.in_language(question, language, "factual") == "") == passes


def test_the_few_words_of_a_search_box_are_of_any_language() -> None:
    assert filters.in_language("der die das und", "en", "keyword") == ""
    assert filters.in_language("предел пыли", "en", "keyword")
    assert filters.in_language("der Grenzwert für Staub und Lärm in der Halle", "en", "keyword")


def test_a_param_names_a_language_by_code_or_name() -> None:
    assert [filters.code_of(name) for name in ("de", "German", "Basque")] == [
        "de",
        "de",
        "basque",
    ]


def test_page_is_the_language_of_the_page() -> None:
    page = "Der Grenzwert für Staub ist bei der Arbeit im Freien nicht zu beachten."
    rows = questions(
        ("Wann ist der Grenzwert für Staub nicht zu beachten?", "a", "factual", "page", "!"),
        ("When does the limit for dust not have to be observed?", "a", "factual", "page", "!"),
        ("When does the limit for dust not have to be observed?", "b", "factual", "page", "!"),
    )
    found = filters.text_faults(rows, {"a": page, "b": "2, 3"}, ("language",))
    assert found["language"].to_list() == ["", "it is in en, not in de", None]


@pytest.mark.parametrize("often", ["/usr/bin/tool ", "x[i] = y; ", "non "])
def test_what_a_listing_repeats_is_no_language(often) -> None:
    page = "Install the tool and then look for it in the folder of the user. " + 20 * often
    assert language_rules.language_of(page) == "en"
    assert language_rules.language_of(20 * often) == ""
    assert language_rules.language_of("mesh un = f(x, y); real y = un; solve un") == ""


PAGE = "The torque of the cylinder head bolts is 45 Nm.\nThe filter has to be replaced every 500 h."


@pytest.mark.parametrize(
    ("question", "passes"),
    [
        ("How tight do the bolts of the cylinder head have to be?", True),
        ("cylinder head bolts", True),  # three words, as from a search box
        ("the filter has to be replaced every 500 h", False),
        ("The torque of the cylinder head bolts?", False),
        (
            "When is it true that the filter has to be replaced every 500 h in cold countries?",
            False,
        ),
        ("Is the filter to be replaced when the torque is 45 Nm?", True),
    ],
)
def test_a_copy_of_a_line(question, passes) -> None:
    assert (filters.not_copied(question, PAGE) == "") == passes


def test_a_copy_is_found_where_no_blanks_stand_between_words() -> None:
    assert filters.not_copied("粉じんの限界値はいくつ", "作業場の粉じんの限界値は五です")
    assert filters.not_copied("塵はどれだけ許されるか", "作業場の粉じんの限界値は五です") == ""


def test_nothing_is_copied_from_a_page_without_text() -> None:
    assert filters.not_copied("What?", "") is None


def pages(**texts: str) -> pd.DataFrame:
    numbers = range(1, len(texts) + 1)
    return pd.DataFrame({"key": texts.keys(), "text": texts.values()}).assign(
        document_id="d", page_number=numbers, kind=None
    )


def questions(*rows: tuple[str, str, str, str, str]) -> pd.DataFrame:
    return pd.DataFrame([(*row, "") for row in rows], columns=list(WRITTEN_COLUMNS))


def test_the_round_trip_keeps_the_pages_that_rank_as_high() -> None:
    corpus = pages(a="dust limit", b="dust limit", c="dust limit limit", d="noise", e="")
    rows = questions(
        ("dust limit?", "a", "keyword", "en", ""),
        ("limit?", "c", "keyword", "en", ""),
        ("gas?", "d", "keyword", "en", ""),
        ("gas?", "e", "keyword", "en", ""),
    )
    rows.index = [7, 8, 9, 10]
    faults, ranked = filters.round_trip(rows, corpus)
    assert faults.to_list() == ["", "", "it has no word in common with the page", None]
    assert ranked == {7: ["b", "c"], 8: []}


def test_the_round_trip_drops_a_question_whose_page_comes_too_late() -> None:
    better = {f"p{n}": "dust dust dust" for n in range(filters.ROUND_TRIP)}
    rows = questions(("dust?", "a", "keyword", "en", ""))
    faults, ranked = filters.round_trip(rows, pages(a="dust and other things", **better))
    assert faults[0] == f"BM25 finds the page at rank {filters.ROUND_TRIP + 1}"
    assert ranked == {}
    del better["p0"]
    assert filters.round_trip(rows, pages(a="dust and other things", **better))[0][0] == ""


def test_without_any_text_there_is_no_round_trip() -> None:
    faults, ranked = filters.round_trip(questions(("?", "a", "", "", "")), pages(a="", b="-"))
    assert (faults.to_list(), ranked) == ([None], {})


def test_questions_that_repeat_another_one() -> None:
    rows = questions(
        ("What was the revenue of Acme in 2023?", "a", "factual", "en", ""),
        ("What was the revenue of Acme in 2022?", "a", "factual", "en", ""),
        ("In 2023, what was the revenue of Acme?", "b", "factual", "en", ""),
        ("What was the revenue of Acme in 2023", "a", "factual", "en", ""),
        ("Wie hoch war der Umsatz von Acme im Jahr 2023?", "a", "factual", "de", ""),
        ("Wie hoch war im Jahr 2023 der Umsatz von Acme?", "c", "factual", "de", ""),
        ("How high was the loss of Acme in 2023?", "a", "factual", "en", ""),
    )
    faults, others = filters.distinct(rows)
    assert (faults == "").to_list() == [True, True, False, False, True, False, True]
    assert "2023" in faults[2]
    assert others == {0: ["b"], 4: ["c"]}  # the other page answers the question that stays


def test_the_commonest_words_make_no_questions_alike() -> None:
    texts = [f"What is the height of the {x} at the end of the road?" for x in ("tower", "bridge")]
    faults, _ = filters.distinct(pd.DataFrame({"text": texts, "page": ["a", "b"]}))
    assert faults.tolist() == ["", ""]


def test_near_duplicates_are_those_that_comparing_all_pairs_finds() -> None:
    words = "a b c d e f g h i j 1 2".split()
    seed = 1
    sets = []
    for _ in range(300):
        chosen = set()
        for word in words:
            seed = seed * 1103515245 + 12345 & 0x7FFFFFFF
            if seed >> 16 & 3:
                chosen.add(word)
        sets.append(frozenset(chosen))
    expected: list[int | None] = []
    for row, one in enumerate(sets):
        numbers = one & {"1", "2"}
        alike = (
            other
            for other in range(row)
            if expected[other] is None
            and sets[other] & {"1", "2"} == numbers
            and len(one & sets[other]) >= 0.8 * len(one | sets[other])
        )
        expected.append(next(alike, None))
    assert repeated(sets, 0.8) == expected
    assert any(original is not None for original in expected)


class Judge:
    """Answers by rules: `unanswerable` questions no page answers, `answers` name page and text."""

    def __init__(self, answers=(), unanswerable=(), wrong=(), fails=()) -> None:
        self.answers, self.unanswerable = set(answers), set(unanswerable)
        self.wrong, self.fails = set(wrong), set(fails)
        self.prompts: list[tuple[str, str]] = []

    def __call__(self, requests):
        return [self.judged(request) for request in requests]

    def judged(self, request) -> Answer:
        (page,) = request.pages
        text = request.prompt.split("Question: ")[1].split("\n")[0]
        self.prompts.append((text, page))
        if (text, page) in self.fails or text in self.fails:
            return Answer(failure="refused")
        if request.form is PageJudgement:
            answers = (text, page) in self.answers
            return Answer(PageJudgement(evidence="", answers=answers, reason=""))
        answered = text not in self.unanswerable
        correct = answered and text not in self.wrong
        reason = "" if correct else "no such value"
        form = AnswerJudgement(
            evidence="", answered=answered, correct=correct, understood=True, reason=reason
        )
        return Answer(form)


CORPUS = {"a": "dust limit five", "b": "noise limit eighty", "c": "gas limit nine"}


def verdicts(result: pd.DataFrame) -> list[str | None]:
    return result["dropped_by"].where(result["dropped_by"].notna(), None).to_list()


def test_the_judge_sees_the_page_and_then_its_neighbours() -> None:
    rows = questions(
        ("Dust limit of Acme?", "a", "keyword", "en", "five"),
        ("Noise limit of Acme?", "b", "keyword", "en", "eighty"),
        ("Noise limit at night?", "b", "keyword", "en", "forty"),
        ("Gas limit of Acme?", "c", "keyword", "en", "ten"),
        ("Gas limit at night?", "c", "keyword", "en", "nine"),
    )
    judge = Judge(
        answers=[("Noise limit of Acme?", "c")],
        unanswerable=["Noise limit at night?"],
        wrong=["Gas limit of Acme?"],
        fails=[("Gas limit at night?", "b")],
    )
    result, counted = filters.filtered(rows, pages(**CORPUS), judge, SETTINGS)
    assert verdicts(result) == [None, "answerable", "answerable", "answerable", None]
    said = [dict(row).get("answerable") for row in result["verdicts"]]
    assert said == [
        "passed",
        "a neighbour of the page answers it too",
        "the page does not answer it: no such value",
        "its answer is not that of the page: no such value",
        "passed",
    ]
    # Of a neighbour that the judge gave no word of nobody knows: no negative.
    assert list(result["possible_pages"][4]) == ["b"]
    asked = judge.prompts
    assert ("Dust limit of Acme?", "b") in asked
    assert ("Dust limit of Acme?", "c") not in asked
    assert ("Noise limit at night?", "a") not in asked, "its own page does not answer it"
    assert counted["answerable"] == {"seen": 5, "failed": 3, "dropped": 3}


def test_a_question_that_the_judge_gives_no_answer_to_is_dropped() -> None:
    rows = questions(("Dust limit of Acme?", "a", "keyword", "en", "five"))
    judge = Judge(fails=["Dust limit of Acme?"])
    result, _ = filters.filtered(rows, pages(**CORPUS), judge, SETTINGS)
    assert dict(result["verdicts"][0])["answerable"] == "the judge gave no answer: refused"
    assert verdicts(result) == ["answerable"]


def test_all_filters_in_a_row_keep_every_verdict_and_spare_the_judge() -> None:
    rows = questions(
        ("How much dust is allowed at Acme?", "a", "factual", "en", "five"),
        ("What is the limit of dust in this table?", "a", "factual", "en", "five"),
        ("Wie hoch ist der Grenzwert für Staub und in welcher Halle?", "a", "factual", "en", "?"),
        ("dust limit five times", "a", "keyword", "en", "five"),
        ("At Acme, how much dust is allowed?", "b", "factual", "en", "five"),
        ("At Acme, how much dust is allowed?", "a", "factual", "en", "five"),
        ("noise limit eighty ever", "a", "keyword", "en", "five"),
    )
    judge = Judge()
    texts = {"a": "dust limit five times here", "b": "some noise limit", "c": "gas at Acme"}
    result, counted = filters.filtered(rows, pages(**texts), judge, SETTINGS)
    assert verdicts(result) == [
        None,
        "stands_alone",
        "language",
        "not_copied",
        "round_trip",
        "distinct",
        None,
    ]
    both = dict(result["verdicts"][2])
    assert both["language"] == "it is in de, not in en"
    assert both["round_trip"] == "it has no word in common with the page"
    assert "answerable" not in both
    assert {text for text, _ in judge.prompts} == {
        "How much dust is allowed at Acme?",
        "At Acme, how much dust is allowed?",
        "noise limit eighty ever",
    }
    assert sum(one["dropped"] for one in counted.values()) == 5
    assert WRITTEN_SCHEMA.names == [*result]


def test_only_the_filters_that_the_params_name_apply() -> None:
    rows = questions(("What is the limit of dust in this table?", "a", "factual", "en", "five"))
    judge = Judge()
    settings = Writer.model_construct(filters=("not_copied",))
    result, counted = filters.filtered(rows, pages(**CORPUS), judge, settings)
    assert verdicts(result) == [None]
    assert [*dict(result["verdicts"][0])] == ["not_copied"]
    assert not judge.prompts
    assert counted["answerable"] == {"seen": 0, "failed": 0, "dropped": 0}


def test_no_question_passes_no_filter() -> None:
    result, counted = filters.filtered(questions(), pages(**CORPUS), Judge(), SETTINGS)
    assert len(result) == 0
    assert counted["distinct"] == {"seen": 0, "failed": 0, "dropped": 0}


@pytest.mark.parametrize(("number", "requests"), [(1, 1), (2, 2), (3, 3), (100, 3)])
def test_the_most_requests_that_a_question_takes(number, requests) -> None:
    assert filters.requests_per_question(number) == requests


def test_rules_of_a_language_do_not_reach_another_one() -> None:
    assert language_rules.need_of_the_page("What does this figure show?", "de") == ""


def test_the_filters_do_not_import_torch() -> None:
    code = "import pagefinder.writing.filters, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
