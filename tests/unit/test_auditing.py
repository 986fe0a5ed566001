"""The audit of mining: counts that add up, and the false negatives that each rule lets through."""

import json

import numpy as np
import pandas as pd
import pytest
from test_mining import default_params, hand_made, mined, project, random_corpus, rules

from pagefinder.layout import METRICS
from pagefinder.mining import audit
from pagefinder.mining.negatives import required_negatives
from pagefinder.mining.pairs import qrel_rows
from stages.mine import main as make_negatives


def mined_and_summed(corpus, vectors, settings) -> tuple[pd.DataFrame, dict]:
    qrels = qrel_rows(corpus, "train")
    pairs = mined(corpus, vectors, settings)
    audited = audit.with_positives(pairs, vectors, qrels)
    return pairs, audit.summary(audited, required_negatives(qrels, settings.negatives), corpus)


@pytest.mark.parametrize("range_max", [5, 20, 500])
def test_every_query_with_every_page_is_counted_once(tmp_path, range_max) -> None:
    corpus, vectors = random_corpus(tmp_path / "corpus")
    settings = rules(range_max=range_max, range_min=2, relative_margin=0.3, max_score=0.3)
    _, counts = mined_and_summed(corpus, vectors, settings)
    dropped = {rule: number for rule, number in counts["dropped"].items() if rule != "given"}
    assert min(dropped["range_min"], dropped["relative_margin"]) > 0
    assert (dropped["range_max"] == 0) == (range_max == 500)
    total = counts["kept"]["mined"] + counts["spare"] + sum(dropped.values())
    assert total == counts["queries"]["mined"] * counts["pages"]["searched"] == 30 * 80


@pytest.mark.parametrize(("negatives", "short"), [(8, 0), (9, 1)])
def test_a_query_with_too_few_negatives_is_short(tmp_path, negatives, short) -> None:
    corpus, vectors = hand_made(tmp_path, near_duplicates=[])  # nine train pages, one the answer
    _, counts = mined_and_summed(corpus, vectors, rules(negatives=negatives))
    assert counts["queries"] == {"mined": 1, "short": short, "without": 0}


def test_the_sources_own_negatives_are_counted_by_rule(tmp_path) -> None:
    # p8 is a dev page, p1 hardly differs from the answer p0; p6 is fine.
    qrels = [("q", "p0", 1), ("q", "p8", 0), ("q", "p1", 0), ("q", "p6", 0)]
    corpus, vectors = hand_made(tmp_path, qrels)
    _, counts = mined_and_summed(corpus, vectors, rules(given="use"))
    assert counts["dropped"]["given"] == {"split": 1, "near_duplicate": 1}
    assert counts["kept"] == {"mined": 0, "given": 1}


def test_a_new_rule_is_counted_with_the_others(tmp_path, monkeypatch) -> None:
    """Every second page that the margin drops goes to the new rule, which comes before it."""
    corpus, vectors = random_corpus(tmp_path / "corpus")
    settings = rules(relative_margin=0.3)
    pairs, before = mined_and_summed(corpus, vectors, settings)
    moved = (pairs["rule"] == "relative_margin") & (pairs["page"] % 2 == 0)
    pairs["rule"] = pairs["rule"].mask(moved, "same_author")
    place = audit.RULES.index("range_min")
    new_rules = (*audit.RULES[:place], "same_author", *audit.RULES[place:])
    monkeypatch.setattr(audit, "RULES", new_rules)
    qrels = qrel_rows(corpus, "train")
    audited = audit.with_positives(pairs, vectors, qrels)
    after = audit.summary(audited, required_negatives(qrels, 2), corpus)["dropped"]
    assert after["same_author"] == moved.sum() > 0
    margin = before["dropped"]["relative_margin"] - moved.sum()
    assert after == before["dropped"] | {"same_author": moved.sum(), "relative_margin": margin}
    assert "after_same_author" in audit.false_negatives(pairs)


def test_false_negatives_where_every_relevant_page_is_known(tmp_path) -> None:
    """By hand: nine pages in the window, one of them relevant, which the first rule drops."""
    corpus, vectors = hand_made(tmp_path, near_duplicates=[])
    pairs, _ = mined_and_summed(corpus, vectors, rules(relative_margin=0.05))
    rates = audit.false_negatives(pairs)
    assert rates.pop("before") == pytest.approx(1 / 9)
    assert set(rates.values()) == {0.0}
    assert {"after_positive", "after_relative_margin", "kept"} <= set(rates)
    # It can fail: a relevant page that slips through counts.
    slipped = pairs.assign(rule=np.where(pairs["rule"] == "positive", "kept", pairs["rule"]))
    assert audit._rates(slipped, pairs["rule"] == "positive")["kept"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(("source", "counted"), [("generated", True), ("table", False)])
def test_false_negatives_are_counted_where_qrels_are_complete(tmp_path, source, counted) -> None:
    settings = default_params()
    data = settings.data.model_copy(update={"source": source})
    root = project(tmp_path)
    make_negatives(settings.model_copy(update={"data": data}), root)
    metrics = json.loads((root / METRICS / "mining.json").read_text())
    assert ("false_negatives" in metrics) == counted
