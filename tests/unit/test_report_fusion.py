"""What the report says of BM25, and of what is fused with it."""

from dataclasses import replace

import pytest
import report_inputs

from pagefinder import reporting
from pagefinder.reporting.inputs import read_inputs
from pagefinder.reporting.sections import answers, negatives, provenance, reranking, rivals
from pagefinder.reporting.sections.tuning import section as tuning


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    root = report_inputs.write(tmp_path_factory.mktemp("report"))
    report_inputs.write_fusion(root)
    return read_inputs(report_inputs.settings(), root)


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    root = report_inputs.write(tmp_path_factory.mktemp("report"))
    return read_inputs(report_inputs.settings(), root)


def test_the_headline_holds_bm25_and_what_is_fused(inputs, without) -> None:
    tiles = {name: (value, detail) for name, value, detail in reporting.headline(inputs)}
    assert list(tiles) == ["Base", "Tuned", "BM25", "Fused", "Reranked", "Recommended"]
    assert tiles["BM25"][0] == "0.6000"
    assert tiles["Fused"][0] == "0.9000"
    assert "+0.0740 (95% interval +0.100 to +0.600" in tiles["Fused"][1]
    assert tiles["Reranked"][0] == "0.9300"
    assert tiles["Reranked"][1].startswith("+0.0300")
    plain = {name: value for name, value, _ in reporting.headline(without)}
    assert plain["Reranked"] == "0.9260"
    assert "Fused" not in plain


def test_rivals_show_every_fused_system_and_its_gains(inputs, without) -> None:
    section = rivals.section(inputs)
    scores = {row[0]: row[2] for row in section.tables[0].rows}
    assert scores["tuned + BM25 + reranker"] == "0.9300"
    assert scores["tuned + BM25"] == "0.9000"
    assert scores["base + BM25"] == "0.7000"
    assert scores["BM25 on the text"] == "0.6000"
    for name in ("tuned + BM25", "base + BM25"):
        assert name in section.plots[0].svg
    assert any("tuned 0.6, BM25 0.4" in sentence for sentence in section.answer)
    table = next(table for table in section.tables if table.caption.startswith("Fused"))
    assert [row[:2] for row in table.rows] == [
        ["base + BM25 over base", "+0.2246"],
        ["base + BM25 over BM25", "+0.1000"],
        ["tuned + BM25 over tuned", "+0.0740"],
        ["tuned + BM25 over BM25", "+0.3000"],
    ]
    assert "fusion" in [plot.name for plot in section.plots]
    against = next(table for table in section.tables if table.caption.startswith("Tuned against"))
    assert len(against.rows) == 1  # the fused systems are no rivals of the tuned embedder
    plain = rivals.section(without)
    assert not any("Fused" in sentence for sentence in plain.answer)
    assert "fusion" not in [plot.name for plot in plain.plots]


def test_the_reranker_is_judged_against_its_first_stage(inputs, without) -> None:
    section = reranking.section(inputs)
    assert section.verdict == "better"
    assert "scores 0.9000" in section.answer[0]
    assert "score 0.9260: +0.0260" in section.answer[0]
    assert "score 0.9300: +0.0300" in section.answer[0]
    assert "embedder + BM25" in section.tables[0].header
    assert "embedder + BM25" not in reranking.section(without).tables[0].header
    assert tuning(inputs).verdict == "better"


def test_the_ranks_of_the_fused_system_are_drawn(inputs) -> None:
    ranks = {f"tuned+bm25.{name}": inputs.queries[f"tuned.{name}"] for name in ("rank", "ndcg@10")}
    drawn = tuning(replace(inputs, queries=inputs.queries.assign(**ranks)))
    svg = next(plot.svg for plot in drawn.plots if plot.name == "ranks")
    assert "tuned + BM25" in svg
    assert "reranked" in svg


def test_of_a_text_model_the_report_names_no_pixels_and_says_that_no_negative_was_used(inputs):
    def sections(**profile):
        params = inputs.params
        for name, keys in profile.items():
            section = getattr(params, name).model_copy(update=keys)
            params = params.model_copy(update={name: section})
        changed = replace(inputs, params=params)
        settings = provenance.section(changed).tables
        rows = [row for table in settings if "as set" in table.caption for row in table.rows]
        return dict(rows), " ".join(negatives.section(changed).answer)

    texts, sentences = sections(
        base={"page_content": "text"}, reranker={"model": ""}, embedder={"mined_negatives": 0}
    )
    assert texts["reranker"] == "none"
    assert not {"visual tokens per page", "pixels per page, at most"} & set(texts)
    assert "trained with none of them" in sentences
    for profile in ({}, {"base": {"page_content": "text"}}):  # the reranker sees images
        images, sentences = sections(**profile)
        assert "visual tokens per page" in images
        assert "trained with none of them" not in sentences


def test_how_often_the_word_that_no_page_answers_is_right(inputs, without) -> None:
    section = answers.section(inputs)
    text = " ".join(section.answer)
    shares = "25% of the held-out questions whose pages were left out are denied, 50% once their"
    assert f"by the scores of tuned@96 {shares} whole documents are, and 6% of those" in text
    assert f"by the scores of tuned@96 + BM25 {shares}" in text
    assert f"by the scores of reranker {shares}" in text
    (table,) = section.tables
    names = ["base", "tuned@96", "base + BM25", "tuned@96 + BM25", "reranker"]
    assert [row[0] for row in table.rows[::2]] == names
    assert table.rows[1][1:] == ["eval", "0.750", "6%", "25%", "50%"]
    assert "Not measured" in answers.section(without).answer[0]
