"""Pages that may answer a written question are no negatives, mined or of the batch."""

import json

import pandas as pd
from test_mining import hand_made, mined, mining, rule_by_page, rules

from pagefinder.data import corpus as corpus_
from pagefinder.data.files import write_table
from pagefinder.mining import audit
from pagefinder.mining.negatives import KEPT, required_negatives
from pagefinder.mining.rules import exclusions


def with_possible_answers(tmp_path, *page_ids: str):
    """The corpus of the mining tests, whose query is a written one."""
    corpus, vectors = hand_made(tmp_path)
    details = {"query_id": "q", "kind": "factual", "language": "en", "answer": "5"}
    row = details | {"possible_page_ids": list(page_ids)}
    write_table([row], corpus_.WRITTEN_SCHEMA, corpus.folder / corpus_.WRITTEN)
    return corpus, vectors


def test_a_page_that_may_answer_is_never_mined(tmp_path) -> None:
    plain, vectors = hand_made(tmp_path / "plain")
    before = rule_by_page(plain, vectors, rules(negatives=3))
    assert before["p2"] == before["p3"] == KEPT
    corpus, vectors = with_possible_answers(tmp_path, "p2", "p1", "p9")
    by_page = rule_by_page(corpus, vectors, rules(negatives=5))
    assert by_page["p2"] == by_page["p9"] == "possible_answer"
    assert by_page["p1"] == "near_duplicate"  # that rule comes first
    assert by_page["p3"] == KEPT


def test_a_page_that_may_answer_is_no_negative_of_the_batch(tmp_path) -> None:
    corpus, _ = with_possible_answers(tmp_path, "p6")
    what = mining(corpus, rules())
    positives = what.qrels[what.qrels["relevance"] > 0]
    excluded = exclusions(corpus, what.rules, positives)
    assert (6, "possible_answer") in set(zip(excluded["page"], excluded["rule"], strict=True))


def test_a_written_question_without_possible_answers_excludes_nothing(tmp_path) -> None:
    corpus, vectors = with_possible_answers(tmp_path)
    plain, _ = hand_made(tmp_path / "plain")
    pd.testing.assert_frame_equal(mined(corpus, vectors, rules()), mined(plain, vectors, rules()))


def test_possible_answers_are_counted_where_there_are_any(tmp_path) -> None:
    corpus, vectors = with_possible_answers(tmp_path, "p2")
    plain, _ = hand_made(tmp_path / "plain")
    counts = []
    for one in (corpus, plain):
        pairs, qrels = mined(one, vectors, rules()), mining(one, rules()).qrels
        audited = audit.with_positives(pairs, vectors, qrels)
        counts.append(audit.summary(audited, required_negatives(qrels, 2), one))
        rates = audit.false_negatives(pairs)
        assert ("after_possible_answer" in rates) == (one is corpus)
    assert counts[0]["dropped"]["possible_answer"] == 1
    assert "possible_answer" not in json.dumps(counts[1])
