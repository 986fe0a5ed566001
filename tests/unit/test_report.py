"""The report: what it says, also of what is missing; that it needs no network and repeats."""

import html.parser
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pytest
import report_inputs
from corpora import write_corpus
from report_inputs import ROOT, settings

from pagefinder import params_file
from pagefinder.evaluation.significance import sign_flip_p_value
from pagefinder.reporting import gallery, plots, spread
from pagefinder.reporting.format import (
    change,
    flat,
    gained,
    interval,
    metric_label,
    score,
    smallest_p,
    verdict,
)
from pagefinder.reporting.inputs import read_inputs
from pagefinder.reporting.sections import (
    Section,
    cost,
    negatives,
    provenance,
    reranking,
    rivals,
    tuning,
)
from stages import report


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> Path:
    root = report_inputs.write(tmp_path_factory.mktemp("full"))
    report.main(settings(), root)
    return root / "metrics/report"


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    root = report_inputs.write(tmp_path_factory.mktemp("bare"), full=False)
    report.main(settings(), root)
    return root / "metrics/report"


class Page(html.parser.HTMLParser):
    """What a browser would load, the text of every section, the classes of every thumbnail."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.sections: dict[str, str] = {}
        self.thumbs: list[str] = []
        self.ids: list[str] = []
        self._section = "head"
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.ids += [values["id"] or ""] if "id" in values else []
        if tag == "section":
            self._section = values["id"] or ""
        if tag == "i" and (values.get("class") or "").startswith("t"):
            self.thumbs.append(values["class"] or "")
        for name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
            if values.get(name) and not (tag == "a" and name == "href"):
                self.loads.append(values[name] or "")

    def handle_data(self, data: str) -> None:
        self.sections[self._section] = self.sections.get(self._section, "") + data


def text(folder: Path) -> str:
    return (folder / "index.html").read_text(encoding="utf-8")


def test_questions_are_answered_in_order(full) -> None:
    anchors = re.findall(r'<section id="(\w+)">', text(full))
    order = ["tuning", "cost", "reranker", "rivals", "answers"]
    order += ["gallery", "negatives", "training", "ran"]
    assert anchors == [*order, "use"]


def test_headline_has_gain_interval_and_p_in_words(full) -> None:
    answer = " ".join(Page(full / "index.html").sections["tuning"].split())
    assert "NDCG@10 goes from 0.4754 to 0.8260 on 5 queries about 5 documents" in answer
    assert "+0.3506 (95% interval +0.100 to +0.600, p = 0.012)" in answer
    assert "by chance 12 times in 1,000" in answer
    assert (
        "By NDCG@10, which looks at the first 10 pages, 3 queries are better than before, 1 worse, "
        "1 the same; by the rank of the first right page 3 queries" in answer
    )
    assert '<p class="verdict better">' in text(full)


def test_the_reranker_is_not_called_a_gain_when_its_interval_holds_zero(full) -> None:
    answer = Page(full / "index.html").sections["reranker"]
    assert "Whether reranking helps is not settled" in answer
    assert "scores 0.4000: training is worth +0.5260" in answer
    assert '<p class="verdict unclear">' in text(full)


def test_a_kind_called_na_is_a_kind(full) -> None:
    assert "<td>NA</td>" in text(full)


def test_the_recommended_dimension_is_marked(full) -> None:
    marked = re.findall(r'<tr class="marked">(.*?)</tr>', text(full))
    assert any("<td>96</td>" in row and "384" in row for row in marked)
    answer = " ".join(Page(full / "index.html").sections["cost"].split())
    assert "it loses 0.7% of NDCG@10 against all 192 dimensions" in answer


def test_the_report_says_how_surely_the_dimension_was_chosen(full, bare) -> None:
    answer = " ".join(Page(full / "index.html").sections["cost"].split())
    assert (
        "with 95% confidence over its documents, that it loses at most 5% of NDCG@10: there it "
        "loses 0.4%, and at most 2.1%. Of resampled dev sets 92% choose it again." in answer
    )
    report = (full / "report.md").read_text()
    assert (
        "| **96** | **0.4000** | **0.8200** | **384** | **0.4%** | **2.1%** | **92.0%** |" in report
    )
    assert "nothing is cut" in Page(bare / "index.html").sections["cost"]


def test_gallery_shows_greatest_gains_and_losses_of_tuning_and_reranking(full) -> None:
    kinds = re.findall(r'data-kind="([a-z ]+)" data-text="where is &lt;b&gt;(q\d)', text(full))
    # By hand: q1 gains 1, q4 0.68, q0 0.57, q2 loses 0.5; reranking wins q2 back and loses on q1.
    assert kinds == [
        ("tuning gains", "q1"),
        ("tuning gains", "q4"),
        ("tuning gains", "q0"),
        ("tuning loses", "q2"),
        ("reranking gains", "q2"),
        ("reranking loses", "q1"),
    ]
    assert "Rank of the right page: base none, tuned 1, reranked 2." in text(full)


def test_what_no_query_shows_is_said(full) -> None:
    answer = " ".join(Page(full / "index.html").sections["rivals"].split())
    assert (
        "The tuned embedder is 0.3500 of NDCG@10 ahead of the best of the others, BM25 on the text "
        "(95% interval +0.100 to +0.600, p = 0.012)." in answer
    )
    assert "Tuning moved no right page down." not in text(full)
    cases = [gallery.Case("tuning gains", "q", "", [])]
    inputs = SimpleNamespace(queries=pd.DataFrame({"tuned.rank": [1]}))
    assert gallery.absent(inputs, cases) == ["Tuning moved no right page down."]
    inputs = SimpleNamespace(queries=pd.DataFrame({"tuned.rank": [1], "reranked.rank": [1]}))
    assert len(gallery.absent(inputs, cases)) == 3


def test_a_deep_reranking_is_cut_to_the_depth_that_is_reported() -> None:
    first, second = {"q": ["a", "b", "c", "d"]}, {"q": ["d", "b", "a", "c"]}
    assert gallery.at_depth(first, second, 2) == {"q": ["b", "a", "c", "d"]}
    assert gallery.at_depth(first, second, 4) == second
    assert gallery.at_depth({}, second, 2) == second


def test_queries_are_text_and_never_markup(full) -> None:
    assert "<b>q0</b>" not in text(full)
    assert "Where is <b>q0</b>?" in Page(full / "index.html").sections["gallery"]


def test_every_page_is_embedded_once(full) -> None:
    uris = re.findall(r"url\((data:image/[^)]+)\)", text(full))
    assert len(uris) == len(set(uris)) == 8
    shown = Page(full / "index.html").thumbs
    assert len(shown) > len(set(shown)) == 8


def test_nothing_is_loaded_from_anywhere(full, bare) -> None:
    for folder in (full, bare):
        page = Page(folder / "index.html")
        assert [load for load in page.loads if not load.startswith(("data:", "#"))] == []
        styles = re.findall(r"url\(\s*['\"]?([^)]{0,20})", text(folder))
        assert all(style.startswith(("data:", "#")) for style in styles)
        assert not re.search(
            r"@import|fetch\(|XMLHttpRequest|import\(|<iframe|WebSocket", text(folder)
        )


def test_ids_are_unique(full) -> None:
    ids = Page(full / "index.html").ids
    assert len(ids) == len(set(ids))


def test_plots_follow_the_readers_colours_and_lie_beside_the_page(full) -> None:
    assert "prefers-color-scheme: dark" in text(full)
    assert "fill: var(--ink)" in text(full)
    names = {path.stem for path in full.glob("*.svg")}
    assert names == {path.stem for path in full.glob("*.png")}
    assert {"dimensions", "pareto", "pixels", "depth", "ranks", "mined_scores", "gain"} <= names
    assert "#fefefe" in (full / "pareto.svg").read_text()
    assert "<dc:date>" not in (full / "pareto.svg").read_text()


def test_what_ran_names_data_reasons_tokens_and_versions(full) -> None:
    answer = " ".join(Page(full / "index.html").sections["ran"].split())
    assert "source pdf" in answer
    assert "3 rows of the source were left out" in answer
    assert "in quarantine210" in answer.replace(" ", "").replace("inquarantine", "in quarantine")
    assert "1 of them is cut at sections" in answer
    assert "ask about 2 of the documents" in answer
    assert "not a readable image2" in answer.replace(" ", "").replace(
        "notareadableimage", "not a readable image"
    )
    assert "visual tokens per page2" in answer.replace("page 2", "page2")
    assert "sentence-transformers" in answer


def test_absences_are_said_in_sentences(bare) -> None:
    sections = {
        name: " ".join(answer.split())
        for name, answer in Page(bare / "index.html").sections.items()
    }
    assert "3 documents are too few for an interval" in sections["tuning"]
    assert "carry no origin, kind or document" in sections["tuning"]
    assert "Only one pixel budget was measured" in sections["cost"]
    assert "No reranker was measured" in sections["reranker"]
    assert "There is no text baseline" in sections["rivals"]
    assert "No other model was compared" in sections["rivals"]
    assert "No negatives were mined" in sections["negatives"]
    assert "The embedder was not trained" in sections["training"]
    assert "No row of the source had to be left out" in sections["ran"]
    assert '<p class="verdict unknown">' in text(bare)


def test_sections_that_are_resampled_are_named(tmp_path) -> None:
    root = report_inputs.write(tmp_path)
    path = root / "data/per_query/embedder.parquet"
    table = pd.read_parquet(path)
    table["document_id"] = [f"d{number % 2} § part {number}" for number in range(len(table))]
    table.to_parquet(path, index=False)
    answer = " ".join(tuning.section(read_inputs(report_inputs.settings(), root)).answer)
    assert "5 queries about 2 documents in 5 sections" in answer
    assert "intervals resample their sections" in answer


def test_the_untrained_start_is_no_checkpoint(full) -> None:
    answer = " ".join(Page(full / "index.html").sections["training"].split())
    assert "starts at 0.9000; the checkpoint that is kept, step 4 of 4, has 0.8000" in answer


def test_the_markdown_has_the_same_tables(full) -> None:
    lines = (full / "report.md").read_text(encoding="utf-8").splitlines()
    assert "| Tuned | **0.8260** | +0.3506 (95% interval +0.100 to +0.600, p = 0.012) |" in lines
    assert any(line.startswith("| **96** | **0.4000** | **0.8200** | **384** |") for line in lines)
    widths = [
        (line.count("|"), after.count("|"))
        for line, after in zip(lines, lines[1:], strict=False)
        if after.startswith("|---")
    ]
    assert len(widths) > 8
    assert all(header == rule for header, rule in widths)


def test_two_runs_give_the_same_bytes(full, tmp_path) -> None:
    root = report_inputs.write(tmp_path / "again")
    (root / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"}
    subprocess.run(
        [sys.executable, "-m", "stages.report"],
        cwd=root,
        env=environment,
        check=True,
        capture_output=True,
    )
    again = {path.name: path.read_bytes() for path in (root / "metrics/report").iterdir()}
    assert again == {path.name: path.read_bytes() for path in full.iterdir()}


def test_no_stage_without_a_model_imports_torch() -> None:
    modules = "stages.report, tools.summary, tools.readme"
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_thumbnails_shrink_until_they_fit(full, monkeypatch) -> None:
    from pagefinder.data.corpus import Corpus

    corpus = Corpus(full.parents[1] / "data/corpus")
    thumbnails = gallery.thumbnails(corpus, ["p0", "p1", "gone"])
    assert list(thumbnails) == ["p0", "p1"]
    tried = []
    encode = gallery._encode
    monkeypatch.setattr(gallery, "BUDGET", 10)
    monkeypatch.setattr(
        gallery,
        "_encode",
        lambda image, side, quality: tried.append(side) or encode(image, side, quality),
    )
    gallery.thumbnails(corpus, ["p0", "p1"])
    assert tried[-1] == min(side for side, _ in gallery.SIZES)


def test_published_scores_stand_only_beside_their_own_data(tmp_path) -> None:
    content = params_file.read(ROOT / "params.yaml")
    published = json.loads(rivals.PUBLISHED.read_text())
    hub = content["profiles"]["cpu"]["data"]
    hub["source"], hub["hub"]["path"] = "hub", published["dataset"]
    hub["hub"]["revision"] = "main"
    root = report_inputs.write(tmp_path)
    inputs = read_inputs(params_file.parse(content), root)
    section = rivals.section(inputs)
    assert any("vdr-2b-multi-v1" in row for table in section.tables for row in table.rows)
    assert any(published["source"] in sentence for sentence in section.answer)
    (drawing,) = [plot.svg for plot in section.plots if plot.name == "sizes"]
    assert "vdr-2b-multi-v1 (published)" in drawing
    assert "tuned" in drawing
    counted = {"base": {"ndcg@10": 0.8881}, "tuned": {"ndcg@10": 0.9471}, "pages": 1500}
    (root / "metrics/recipe.json").write_text(json.dumps(counted))
    inputs = read_inputs(params_file.parse(content), root)
    answer = " ".join(rivals.section(inputs).answer)
    assert "As the recipe counts, over 1,500 pages with their repeats" in answer
    assert "base 0.8881, tuned 0.9471" in answer
    measured = rivals.section(read_inputs(settings(), root))
    assert not any("vdr-2b" in row[0] for table in measured.tables for row in table.rows)


def test_models_are_drawn_by_their_size_where_there_are_several(tmp_path) -> None:
    root = report_inputs.write(tmp_path)
    section = rivals.section(read_inputs(settings(), root))
    assert section.tables[0].rows[0] == ["tuned, 20 reranked", "–", "0.9260"]
    assert ["tuned", "3.0", "0.8260"] in section.tables[0].rows
    assert ["other-2B", "2,000.0", "0.7000"] in section.tables[0].rows
    assert "sizes" in [plot.name for plot in section.plots]
    report_inputs.write_sizes(root, base=3_000_000, tuned=3_000_000)
    section = rivals.section(read_inputs(settings(), root))
    assert "sizes" not in [plot.name for plot in section.plots]
    assert any(
        "has 3.0 million parameters; no model of another" in sentence for sentence in section.answer
    )


def negatives_section(root: Path, **metrics: object) -> Section:
    path = root / "metrics/mining.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | metrics))
    return negatives.section(read_inputs(settings(), root))


def test_how_many_negatives_are_false_is_said_where_it_can_be_known(tmp_path) -> None:
    root = report_inputs.write(tmp_path / "root")
    answer = " ".join(negatives_section(root).answer)
    assert (
        "hidden on purpose made up 8.00% of what the search found and 0.50% of what was" in answer
    )
    rates = {"before": 0.0136, "after_positive": 0.0, "kept": 0.0}
    answer = " ".join(negatives_section(root, false_negatives=rates).answer)
    assert "they made up 1.36% of what the search found and 0.00% of what was kept" in answer
    assert "hidden" not in answer
    answer = " ".join(negatives_section(root, false_negatives=None, hidden_positives=None).answer)
    assert "false negatives cannot be counted" in answer


def test_every_rule_that_dropped_a_negative_has_its_count(tmp_path) -> None:
    root = report_inputs.write(tmp_path / "root")
    given = {"split": 3, "near_duplicate": 0}
    dropped = {"positive": 1, "relative_margin": 2, "range_max": 40, "veto": 0, "given": given}
    rows = negatives_section(root, dropped=dropped).tables[0].rows
    assert rows == [
        ["positive", "1"],
        ["relative margin", "2"],
        ["range max", "40"],
        ["given by the source: split", "3"],
        ["passed every rule, not needed", "3"],
    ]


@pytest.mark.parametrize(
    ("p", "odds"),
    [(0.5, "50 times in 100"), (0.001, "10 times in 10,000"), (0.0001, "once in 10,000")],
)
def test_p_values_in_words(p: float, odds: str) -> None:
    gain = {"low": -0.2, "high": -0.1, "p_value": p}
    kind, sentence = verdict(gain, "Tuning")
    assert kind == "worse"
    assert "Tuning hurts" in sentence
    assert f"by chance {odds}" in sentence


@pytest.mark.parametrize(
    ("resamples", "p", "text", "odds"),
    [
        (10_000, 0.0001, "p at most 0.0001", "at most once in 10,000"),
        (10_000, 0.0002, "p = 0.0002", "2 times in 10,000"),
        (1000, 0.000999, "p at most 0.001", "at most 10 times in 10,000"),
        (1000, 0.001998, "p = 0.002", "20 times in 10,000"),
    ],
)
def test_the_smallest_p_of_the_sampled_flips_is_an_upper_bound(
    resamples: int, p: float, text: str, odds: str
) -> None:
    names = [f"d{number}" for number in range(20)]
    assert smallest_p(99) == sign_flip_p_value([1] * 20, names, resamples=99, seed=1)
    gain = {"ndcg@10": 0.3, "low": 0.2, "high": 0.4, "p_value": p}
    gain["smallest_p"] = smallest_p(resamples)
    assert gained(gain) == f"+0.3000 (95% interval +0.200 to +0.400, {text})"
    assert f"by chance {odds}" in verdict(gain, "Tuning")[1]


def test_the_report_knows_how_small_a_p_value_could_be(tmp_path) -> None:
    root = report_inputs.write(tmp_path)
    for name in ("metrics/embedder.json", "metrics/reranker.json"):
        path = root / name
        path.write_text(re.sub(r'"p_value": [\d.]+', '"p_value": 0.0001', path.read_text()))
    for name in ("comparisons", "slices"):
        path = root / f"data/per_query/embedder_{name}.csv"
        path.write_text(path.read_text().replace("0.0123", "0.0001"))
    inputs = read_inputs(settings(), root)
    for section in (tuning, cost, reranking, rivals):
        answer = section.section(inputs)
        text = " ".join(answer.answer) + str(answer.tables) + str(answer.folded)
        assert "at most 0.0001" in text
        assert "p = 0.0001" not in text
        assert "'0.0001'" not in text


def test_numbers_in_words() -> None:
    assert change(-0.01234) == "−0.0123"
    assert score(float("nan")) == "–"
    assert interval({"low": float("nan")}) == "too few documents"
    assert flat({"a": {"b": 1, "c": {}}, "d": [2]}) == {"a.b": 1, "a.c": {}, "d": [2]}


def test_a_metric_or_precision_that_comes_later_has_a_label_and_a_marker() -> None:
    metrics = ["ndcg@3", "mrr@10", "recall@5"]
    assert [metric_label(metric) for metric in metrics] == ["NDCG@3", "MRR@10", "recall@5"]
    names = ["float32", "int8", "int4", "int4_rescored", "binary", "binary_rescored"]
    rows = [(48, "tuned", name, 0.5, 192 // number, 1) for number, name in enumerate(names, 1)]
    columns = ["dimension", "model", "precision", "ndcg@10", "bytes_per_page", "pareto"]
    drawing = plots.pareto(pd.DataFrame(rows, columns=columns), 48).svg
    assert "int4, rescored" in drawing
    assert "binary, rescored" in drawing


def test_changed_params_are_named_with_both_values(tmp_path, monkeypatch) -> None:
    content = params_file.read(ROOT / "params.yaml")
    monkeypatch.setattr(provenance, "DEFAULTS", tmp_path / "defaults.json")
    provenance.DEFAULTS.write_text(json.dumps(content | {"seed": 13, "compare": []}))
    assert provenance.differences(settings(seed=13, compare=[])) == []
    changed = settings(seed=99, compare=["x"], compare_models={"x": {"model": "a/b"}})
    assert provenance.differences(changed) == [
        ("seed", "13", "99"),
        ("compare.x.model", "–", '"a/b"'),
    ]


def test_the_committed_params_know_every_knob() -> None:
    """A new knob needs `make readme`, or every report calls it a difference."""
    ours = flat(params_file.read(ROOT / "params.yaml"))
    assert list(flat(json.loads(provenance.DEFAULTS.read_text()))) == list(ours)


def seed_figures(root: Path, *, move: float = 0.0) -> dict:
    names = ("embedder", "dimensions", "reranker")
    read = [json.loads((root / f"metrics/{name}.json").read_text()) for name in names]
    read[0]["tuned"]["ndcg@10"] += move
    read[0]["gain"]["ndcg@10"] += move
    return spread.figures(*read, settings().reranker.compared_depth)


def spread_section(root: Path, seeds: dict) -> Section:
    (root / "metrics/seeds.json").write_text(json.dumps(seeds))
    section = Section("tuning", "Tuning", "?")
    spread.show(section, read_inputs(settings(), root))
    return section


def test_the_spread_over_seeds_stands_only_beside_a_run_that_is_among_them(tmp_path) -> None:
    report_inputs.write(tmp_path)
    seeds = {"13": seed_figures(tmp_path), "14": seed_figures(tmp_path, move=0.02)}
    shown = spread_section(tmp_path, seeds)
    gains = [change(at["gain"]["value"]) for at in seeds.values()]
    assert f"anew, the gain runs from {gains[0]} to {gains[1]}." in shown.answer[0]
    assert [row[0] for row in shown.tables[0].rows] == ["13", "14", "mean", "deviation"]
    for other in ({}, {"13": seeds["13"]}, seeds | {"13": seed_figures(tmp_path, move=0.01)}):
        shown = spread_section(tmp_path, other)
        assert shown.answer[0].startswith(
            "No spread over seeds was measured for this run: `python -m tools.experiments seeds`"
        )
        assert not shown.tables


def test_mean_and_deviation_over_seeds() -> None:
    def figures(tuned: float, gain: float) -> dict:
        return {
            "base": 0.5,
            "tuned": tuned,
            "gain": {"value": gain, "low": gain - 0.1, "high": gain + 0.1},
            "quarter": 0.99,
        }

    table = spread.table(
        {"13": figures(0.9, 0.4), "14": figures(0.8, 0.3), "15": figures(0.7, 0.2)}
    )
    assert table.header == ["seed", "base", "tuned", "gain", "quarter dims keep"]
    assert table.rows[0] == ["13", "0.5000", "0.9000", "+0.4000 (+0.300 to +0.500)", "99.0%"]
    assert table.rows[3] == ["mean", "0.5000", "0.8000", "+0.3000", "99.0%"]
    assert table.rows[4] == ["deviation", "0.0000", "0.1000", "0.1000", "0.0%"]


def test_every_comparison_in_words_has_its_interval(full) -> None:
    answer = Page(full / "index.html").sections
    assert "it loses 0.7% of NDCG@10 against all 192 dimensions: −0.0060 (95%" in answer["cost"]
    assert "training is worth +0.5260 (95% interval +0.050 to +0.300" in answer["reranker"]
    assert "against the embedder alone +0.1040 (95% interval" in answer["reranker"]
    assert "as a distractor, base 0.3000: +0.3500 (95% interval" in answer["rivals"]


def test_counting_documents_copies_no_texts(tmp_path):
    image = {"bytes": b"", "path": None}
    page = {"document_id": "d", "split": "train", "image": image, "text": "x" * 10_000}
    corpus = write_corpus(tmp_path, [page | {"page_id": str(n)} for n in range(300)], [], [])
    assert len(corpus.pages) == 300
    before = pa.default_memory_pool()  # asked for later, it would be the one that is set below
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    try:
        table = provenance._splits(SimpleNamespace(corpus=corpus))
    finally:
        pa.set_memory_pool(before)
    assert table.rows[0] == ["train", "1", "300", "0"]
    assert pool.max_memory() < 300 * 1000
