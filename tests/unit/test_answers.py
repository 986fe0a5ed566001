"""When no page answers: the rule that dev chooses, and the shares of questions that it denies."""

import json

import numpy as np
import pytest
import vector_corpus
from test_evaluate_embedder import build, metrics, settings

from pagefinder import layout
from pagefinder.data.corpus import Corpus
from pagefinder.evaluation import answers
from pagefinder.retrieval.answers import AnswerRule
from pagefinder.retrieval.fusion import run_of
from pagefinder.retrieval.tasks import task_of
from stages import evaluate_embedder


def test_a_question_is_answered_from_the_threshold_on() -> None:
    rule = AnswerRule({"embedder": 2.0, "bm25": 0.5}, 2.0)
    assert rule.is_answered({"embedder": 0.5, "bm25": 2.0})
    assert not rule.is_answered({"embedder": 0.5, "bm25": 1.9})


@pytest.mark.parametrize(("queries", "denied"), [(100, 5), (41, 2), (19, 0), (1, 0)])
def test_a_twentieth_of_the_answered_is_denied_at_most(queries: int, denied: int) -> None:
    scores = np.linspace(0.2, 0.9, queries)[:, None]
    rule = answers.choose_rule(["a"], scores, scores - 0.5)
    assert sum(not rule.is_answered({"a": value}) for value in scores[:, 0]) == denied
    assert rule.weights == {"a": 1.0}


def test_the_weights_are_those_that_tell_best() -> None:
    """Scores of another scale: what tells is their sum once both have one deviation."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, 400))
    answered = np.stack([noise[0], 10 * (3 - noise[0])], axis=1)
    unanswered = np.stack([noise[1], 10 * (0 - noise[1])], axis=1)
    rule = answers.choose_rule(["a", "b"], answered, unanswered)
    assert rule.weights["a"] / rule.weights["b"] == pytest.approx(10, rel=0.5)
    shares = answers.rule_shares(
        rule,
        ["a", "b"],
        {answers.ANSWERED: answered, answers.WITHOUT_PAGE: unanswered},
    )
    assert shares["area"] > 0.999
    assert shares["denied_answered"] <= 0.05
    assert shares["denied_without_page"] > 0.99
    answered[:, 1], unanswered[:, 1] = 7.0, 7.0  # the same of every question
    assert list(answers.choose_rule(["a", "b"], answered + [1.0, 0.0], unanswered).weights) == ["a"]


def test_what_is_left_out_counts_no_more(tmp_path) -> None:
    """By hand, on four pages of two documents."""
    vector_corpus.write(tmp_path)
    corpus = Corpus(tmp_path)
    task = task_of(corpus, "dev")
    query_id = task.query_ids[0]
    page_id = query_id.removeprefix("q-")
    pages = corpus.pages.set_index("page_id")
    document = pages.loc[page_id, "document_id"]
    of_document = pages.index[pages["document_id"] == document].tolist()
    assert answers.document_pages(task, {query_id: {page_id}}) == {query_id: set(of_document)}
    sibling = next(name for name in of_document if name != page_id)
    other = next(name for name in pages.index if name not in of_document)
    scores = {page_id: 0.9, sibling: 0.7, other: 0.4}
    found = answers.first_scores_by_case({"a": run_of({query_id: scores})}, {"a": 1.0}, task)
    assert {case: values.item() for case, values in found.items()} == pytest.approx(
        {"answered": 0.9, "without_page": 0.7, "without_document": 0.4}
    )
    # Fused: both scores of the best page; a list without it counts with its lowest score.
    bm25 = {page_id: 5.0, other: 2.0}
    runs = {"a": run_of({query_id: scores}), "bm25": run_of({query_id: bm25})}
    found = answers.first_scores_by_case(runs, {"a": 0.9, "bm25": 0.1}, task)
    assert found["answered"].tolist() == [pytest.approx([0.9, 5.0])]
    assert found["without_page"].tolist() == [pytest.approx([0.7, 2.0])]
    assert found["without_document"].tolist() == [pytest.approx([0.4, 2.0])]
    only = {"a": run_of({query_id: {page_id: 0.9}})}  # nothing is left
    found = answers.first_scores_by_case(only, {"a": 1.0}, task)
    assert found["without_page"].item() == pytest.approx(0.9)


def test_dev_chooses_the_rules_and_eval_measures_them(tmp_path) -> None:
    build(tmp_path)
    evaluate_embedder.main(settings(), tmp_path)
    before = metrics(tmp_path, "answers")
    recommended = metrics(tmp_path, "dimensions")["recommended"]["dimension"]
    systems = {f"{name}{end}" for name in ("base", "tuned") for end in ("", "+bm25")}
    assert systems | {f"tuned@{recommended}", f"tuned@{recommended}+bm25"} <= set(before)
    for system, rule in before.items():
        assert rule["dev"]["denied_answered"] <= 0.05, system
        assert set(rule["weights"]) <= set(system.split("+")), system
    tuned = before["tuned"]
    assert tuned["weights"] == {"tuned": 1.0}
    assert tuned["dev"]["area"] > 0.9  # random pages: none is like the one left out
    assert tuned["eval"]["denied_without_page"] > 0.9
    # Another eval changes no rule.
    queries = np.load(tmp_path / layout.TUNED_VECTORS / "queries.npy")
    rows = Corpus(tmp_path / layout.CORPUS).query_rows("eval")
    queries[rows] = queries[rows[::-1]]
    np.save(tmp_path / layout.TUNED_VECTORS / "queries.npy", queries)
    evaluate_embedder.main(settings(), tmp_path)
    after = metrics(tmp_path, "answers")
    assert after["tuned"]["threshold"] == tuned["threshold"]
    assert after["tuned"]["dev"] == tuned["dev"]
    assert after["tuned"]["eval"] != tuned["eval"]
    assert json.dumps(after["base"]) == json.dumps(before["base"])


def test_without_a_question_on_dev_there_is_no_rule(tmp_path) -> None:
    vector_corpus.write(tmp_path)
    corpus = Corpus(tmp_path)
    task, dev = task_of(corpus, "eval"), task_of(corpus, "dev")
    empty = type(dev)(corpus, dev.page_rows, {})
    assert answers.answer_metrics({}, {}, {}, task, empty) == {}
