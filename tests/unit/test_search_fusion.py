"""Search as the release's fusion.json says: with BM25 where pages have text, and the reranker."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sources import write_pdf
from test_search import COLOURS, Embedder, Reranker, lines, read, root  # noqa: F401

from pagefinder.data import pixels
from pagefinder.data.corpus import write_corpus
from pagefinder.errors import InputError
from pagefinder.indexing.tidying import words_config
from pagefinder.release.fusion import NO_FUSION, Fusion, fusion_settings
from pagefinder.retrieval.answers import AnswerRule
from pagefinder.retrieval.runs import DEPTH
from pagefinder.search import main
from pagefinder.serving import search
from pagefinder.serving.fusion import fuse_two, is_answered, with_zeros

WEIGHTS = {"tuned+bm25": {"weights": {"tuned": 0.6, "bm25": 0.4}}}


def settings_of(fusion: dict, reranker: dict, answers: dict | None = None) -> dict[str, dict]:
    return {"fusion": fusion, "reranker": reranker, "answers": answers or {}}


def write_fusion(folder: Path, bm25: float, reranker: float) -> None:
    weights = {"tuned@3+bm25": {"weights": {"tuned@3": 1 - bm25, "bm25": bm25}}}
    content = fusion_settings(settings_of(weights, {"fusion_weight": reranker}), 3, 2)
    (folder / "models/release/fusion.json").write_text(json.dumps(content))


@pytest.fixture
def corpus(root) -> Path:  # noqa: F811
    """A red page about blue, a green one about red, a blue one without text."""
    texts = {"red": "all about blue", "green": "red things", "blue": None}
    rows = [
        {
            "page_id": name,
            "split": "eval",
            "text": text,
            "image": {
                "bytes": pixels.encode_png(Image.new("RGB", (32, 32), COLOURS[name])),
                "path": None,
            },
        }
        for name, text in texts.items()
    ]
    write_corpus(root / "data/corpus", rows, [], [])
    return root


def order(capsys, *arguments: str) -> list[str]:
    assert main(list(arguments)) == 0
    return [label for _, _, label in lines(capsys)]


def test_words_and_colours_count_by_the_weights_of_the_release(corpus, capsys) -> None:
    assert order(capsys, "blue")[0] == "blue"  # no fusion.json: the embedder alone
    write_fusion(corpus, bm25=1.0, reranker=0.5)
    assert order(capsys, "blue")[0] == "red"
    write_fusion(corpus, bm25=0.0, reranker=0.5)
    assert order(capsys, "blue")[0] == "blue"
    write_fusion(corpus, bm25=0.5, reranker=0.5)
    models = search.open_models(Path("models/release"), rerank=False)
    view = search.current_view(models.encoder, Path("data/corpus"), Path())
    scores = {hit.label: hit.score for hit in search.find("blue", models, view, 3).hits}

    def standard(values: list[float]) -> np.ndarray:
        return (np.array(values) - np.mean(values)) / np.std(values)

    names = ["red", "green", "blue"]
    images = [Image.new("RGB", (32, 32), COLOURS[name]) for name in names]
    embedder = Embedder("models/release/embedder")
    cosines = embedder.encode_document(images) @ embedder.encode_query("blue")
    # Of three pages one has the word.
    expected = 0.5 * standard(cosines) + 0.5 * standard([1.0, 0.0, 0.0])
    assert [scores[name] for name in names] == pytest.approx(expected, abs=1e-5)


def test_fusion_can_be_turned_off(corpus, capsys) -> None:
    write_fusion(corpus, bm25=1.0, reranker=0.0)
    assert order(capsys, "blue", "--no-fusion")[0] == "blue"
    first = order(capsys, "blue", "--rerank", "--no-fusion", "--top", "1")
    images = {name: float(np.mean(colour)) for name, colour in COLOURS.items()}
    assert images[first[0]] == min(images.values())  # the darkest page, whatever the words


def test_the_reranker_counts_by_its_weight_on_the_first_pages(corpus, capsys, monkeypatch) -> None:
    asked = []
    rank = Reranker.rank

    def spied(self, query, images, **keywords):
        asked.append((len(images), keywords["activation_fn"](-7.5)))
        return rank(self, query, images, **keywords)

    monkeypatch.setattr(Reranker, "rank", spied)
    write_fusion(corpus, bm25=0.0, reranker=0.0)
    without = order(capsys, "blue", "--rerank", "--top", "1")
    assert without == ["blue"]  # weight 0: the first stage's order stands
    assert asked == [(2, -7.5)]  # its logits are fused, of as many pages as the release says
    write_fusion(corpus, bm25=0.0, reranker=0.9)
    assert len(order(capsys, "blue", "--rerank", "--top", "3")) == 3
    assert asked[1][0] == 3  # or of as many as are shown


def test_equal_pages_come_in_the_order_of_the_folder(root, tmp_path, capsys) -> None:  # noqa: F811
    write_fusion(root, bm25=0.5, reranker=0.5)
    (tmp_path / "pages").mkdir()
    for name in "abc":
        Image.new("RGB", (40, 40), (250, 20, 20)).save(tmp_path / f"pages/{name}.png")
    assert order(capsys, "red", "--pages", "pages") == ["a.png", "b.png", "c.png"]
    cosines = dict.fromkeys(range(3), 0.5)
    assert list(fuse_two(cosines, cosines, 0.5)) == [0, 1, 2]


def test_the_text_of_pdf_pages_is_read_once(root, tmp_path, capsys, monkeypatch) -> None:  # noqa: F811
    folder = tmp_path / "pages"
    folder.mkdir()
    write_pdf(folder / "two.pdf", [["the blue whale"], ["a red herring"]])
    Image.new("RGB", (40, 40), (20, 20, 250)).save(folder / "blue.png")
    assert [page.text for page in read(folder)] == ["", "the blue whale", "a red herring"]
    write_fusion(root, bm25=1.0, reranker=0.5)
    assert order(capsys, "red", "--pages", "pages")[0] == "two.pdf, page 2"
    monkeypatch.setattr("pagefinder.indexing.updating.pool.run", None)  # not called again
    assert order(capsys, "blue", "--pages", "pages")[0] == "two.pdf, page 1"


def test_settings_of_a_release(tmp_path) -> None:
    reranker = {"fusion_weight": 0.7}
    settings = fusion_settings(settings_of(WEIGHTS, reranker), 48, 20)
    assert settings["first_stage"] == {"embedder": 0.6, "bm25": 0.4}
    assert settings["reranked"] == {"pages": 20, "first_stage": 0.3, "reranker": 0.7}
    cut = WEIGHTS | {"tuned@48+bm25": {"weights": {"tuned@48": 0.5, "bm25": 0.5}}}
    assert fusion_settings(settings_of(cut, reranker), 48, 20)["first_stage"]["bm25"] == 0.5
    assert fusion_settings(settings_of({}, reranker), 48, 20)["first_stage"] == {
        "embedder": 1.0,
        "bm25": 0.0,
    }
    (tmp_path / "fusion.json").write_text(json.dumps(settings))
    assert Fusion.read(tmp_path / "fusion.json") == Fusion(bm25=0.4, reranker=0.7, pages=20)
    (tmp_path / "fusion.json").write_text(
        json.dumps(fusion_settings(settings_of(WEIGHTS, {}), 48, 20))
    )
    without = Fusion(bm25=0.4, reranker=1.0, pages=NO_FUSION.pages)
    assert Fusion.read(tmp_path / "fusion.json") == without


def test_a_damaged_file_is_named(tmp_path) -> None:
    assert Fusion.read(tmp_path / "fusion.json") == NO_FUSION
    fine = '{"first_stage": {"bm25": 0.5}, '
    rule = fine + '"answers": {"rules": {"first_stage": {"weights": %s, "threshold": %s}}}}'
    for content in (
        "{",
        "{}",
        "[]",
        '{"first_stage": {"bm25": "x"}}',
        '{"first_stage": {"bm25": 1.5}}',  # the fusion would take a negative weight
        '{"first_stage": {"bm25": NaN}}',
        fine + '"reranked": {"reranker": 0.5, "pages": 0}}',
        fine + '"reranked": {"reranker": -1, "pages": 20}}',
        fine + '"answers": [1]}',
        rule % ('{"reranker": 1}', 0.5),  # no score of this way of searching
        rule % ('{"embedder": "much"}', 0.5),
        rule % ('{"embedder": 1}', "NaN"),
    ):
        (tmp_path / "fusion.json").write_text(content)
        with pytest.raises(
            InputError, match="fusion.json is damaged .*run `dvc repro -f -s export`"
        ):
            Fusion.read(tmp_path / "fusion.json")


def answer_rule(weights: dict[str, float], threshold: float) -> dict:
    return {"weights": weights, "threshold": threshold}


ANSWERS = {
    "tuned": answer_rule({"tuned": 1.0}, 0.9),
    "tuned@48": answer_rule({"tuned@48": 1.0}, 0.5),
    "tuned@48+bm25": answer_rule({"tuned@48": 2.0, "bm25": 0.25}, 2.0),
}


def test_the_release_holds_a_rule_for_each_way_of_searching(tmp_path) -> None:
    reranker = {"fusion_weight": 0.7, "answers": answer_rule({"reranker": 1.0}, -1.5)}
    settings = fusion_settings(settings_of(WEIGHTS, reranker, ANSWERS), 48, 20)
    assert settings["answers"]["rules"] == {
        "embedder": answer_rule({"embedder": 1.0}, 0.5),
        "first_stage": answer_rule({"embedder": 2.0, "bm25": 0.25}, 2.0),
        "reranked": answer_rule({"reranker": 1.0}, -1.5),
    }
    uncut = fusion_settings(settings_of({}, {}, ANSWERS), 192, 20)["answers"]["rules"]
    assert uncut == {"embedder": answer_rule({"embedder": 1.0}, 0.9)}
    (tmp_path / "fusion.json").write_text(json.dumps(settings))
    read = Fusion.read(tmp_path / "fusion.json")
    cosines, bm25 = {3: 0.45, 7: 0.4}, {7: 4.8, 5: 1.0}
    # The embedder alone: its best cosine. Fused: both scores of the best page.
    assert not is_answered(read, 3, cosines, {})
    assert is_answered(read, 3, {3: 0.5}, {})
    assert is_answered(read, 7, cosines, bm25)
    assert not is_answered(read, 3, cosines, bm25)  # a page without a BM25 score gets the lowest
    # Reranked: the highest logit, whatever the first stage says.
    assert is_answered(read, 3, cosines, bm25, [-3.0, -1.4])
    assert not is_answered(read, 7, cosines, bm25, [-3.0, -1.6])
    assert is_answered(NO_FUSION, 3, cosines, bm25, [-30.0])


def test_a_question_without_a_word_of_the_pages_takes_the_rule_of_fused_scores() -> None:
    rules = {
        "embedder": AnswerRule({"embedder": 1.0}, 0.1),
        "first_stage": AnswerRule({"embedder": 1.0, "bm25": 0.1}, 0.7),
    }
    settings = replace(NO_FUSION, bm25=0.5, answers=rules)
    cosines = {3: 0.6, 7: 0.5, 9: 0.4}
    # An engine lists no page, the evaluation lists pages with score 0: dev measured the latter.
    bm25 = with_zeros({}, cosines)
    assert bm25 == {3: 0.0, 7: 0.0, 9: 0.0}
    assert not is_answered(settings, 3, cosines, bm25)
    # A page that the engine does not list has score 0, not the lowest of those that it lists.
    bm25 = with_zeros({7: 4.0}, cosines)
    assert bm25 == {7: 4.0, 3: 0.0, 9: 0.0}
    assert not is_answered(settings, 3, cosines, bm25)
    assert is_answered(settings, 7, cosines, bm25)
    assert fuse_two(cosines, bm25, 1.0) == fuse_two(cosines, {7: 4.0, 9: 0.0, 3: 0.0}, 1.0)
    # Where no page has a word, nothing is fused: the embedder alone searched.
    assert is_answered(settings, 3, cosines, {})
    many = dict.fromkeys(range(DEPTH), 1.0)
    assert with_zeros(many, {DEPTH: 0.9}) == many


def test_the_engine_searches_as_the_evaluation_does(corpus, monkeypatch) -> None:
    """Beyond EXACT_PAGES, with the engine's own indexes of vectors and words."""
    write_fusion(corpus, bm25=0.8, reranker=0.5)
    models = search.open_models(Path("models/release"), rerank=False)
    rules = {
        "embedder": AnswerRule({"embedder": 1.0}, 0.1),
        "first_stage": AnswerRule({"bm25": 1.0}, 0.1),
    }
    models = replace(models, fusion=replace(models.fusion, answers=rules))
    exact = search.current_view(models.encoder, Path("data/corpus"), Path())
    engine = replace(exact, exact=False)
    exact.table.create_index("text", config=words_config())
    (score,) = engine.with_words("blue", 3).values()
    # By hand: one of two texts has the word (the engine counts no page without text), of three
    # words where two and a half are the mean.
    assert score == pytest.approx(np.log(1 + 1.5 / 1.5) / (1 + 1.2 * (0.25 + 0.75 * 3 / 2.5)))
    for query, answered in (("green", False), ("blue", True)):  # no page says green
        first = search.find(query, models, exact, 3)
        second = search.find(query, models, engine, 3)
        assert [hit.label for hit in first.hits] == [hit.label for hit in second.hits]
        assert (first.answered, second.answered) == (answered, answered)
        scores = [[hit.score for hit in found.hits] for found in (first, second)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_the_search_says_when_no_page_answers(corpus, capsys, caplog) -> None:
    def search_says(threshold: float, *arguments: str) -> bool:
        rules = {
            "tuned@3": answer_rule({"tuned@3": 1.0}, threshold),
            "tuned@3+bm25": answer_rule({"tuned@3": 1.0, "bm25": 1.0}, threshold),
        }
        weights = {"tuned@3+bm25": {"weights": {"tuned@3": 0.5, "bm25": 0.5}}}
        reranker = {"fusion_weight": 1.0, "answers": answer_rule({"reranker": 1.0}, -threshold)}
        content = fusion_settings(settings_of(weights, reranker, rules), 3, 2)
        (corpus / "models/release/fusion.json").write_text(json.dumps(content))
        caplog.clear()
        assert len(order(capsys, "blue", *arguments)) == 3  # the nearest pages are shown anyway
        return "no page answers this" in caplog.text

    assert not search_says(0.1)
    assert search_says(9.0)
    assert search_says(0.1, "--rerank")  # every logit of the stub is below -84
    assert not search_says(90.0, "--rerank")
    assert search_says(1.1, "--no-fusion")
    assert not search_says(0.9, "--no-fusion")
