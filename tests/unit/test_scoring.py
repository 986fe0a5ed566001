"""Scoring pairs: each page once, and what to do with queries and pages that are out of the way."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tiny import FILE, tiny_params, write_tiny_corpus, write_vlm
from transformers.image_utils import make_flat_list_of_images

from pagefinder.data.corpus import PAGE_SCHEMA, PAGES, Corpus
from pagefinder.errors import InputError
from pagefinder.evaluation import reranker
from pagefinder.models import scoring, vision_outputs
from pagefinder.models.device import choose_device
from pagefinder.models.opening import open_reranker
from pagefinder.training.batches import with_content

PARAMS = tiny_params()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_tiny_corpus(tmp_path_factory.mktemp("corpus") / "corpus")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    write_vlm(root / "models/vlm")
    device_settings = choose_device(PARAMS.compute, scoring=True)
    return open_reranker(PARAMS.reranker, PARAMS.pixels, device_settings, root)


def pairs(*named: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame(named, columns=["query_id", "page_id"])


def scores(model, corpus, table, batch=4):
    return scoring.score_pairs(
        model, corpus, table, choose_device(PARAMS.compute, scoring=True), batch
    )


def test_precision_of_training_and_of_scoring_are_set_apart():
    compute = PARAMS.compute.model_copy(update={"precision": "bf16", "scoring": "fp32"})
    assert choose_device(compute).autocast is not None
    assert choose_device(compute, scoring=True).autocast is None


def test_a_page_is_preprocessed_once_whatever_the_batches(model, corpus, monkeypatch):
    table = pairs(*((f"q{i:02}", f"p{i % 3:02}") for i in range(9)))
    processor = model[0].processor.image_processor
    original, seen = type(processor).preprocess, []

    def counted(self, images, *args, **keywords):
        # The check of what the processor returns shows it a smaller one.
        flat = make_flat_list_of_images(images)
        seen.extend(image for image in flat if image.size == (96, 64))
        return original(self, images, *args, **keywords)

    monkeypatch.setattr(type(processor), "preprocess", counted)
    once = scores(model, corpus, table)
    assert len(seen) == 3
    asked = [
        (corpus.query_text[q], corpus.image(corpus.page_row[p]))
        for q, p in table.itertuples(index=False)
    ]
    alone = [float(model.predict([pair], activation_fn=lambda x: x)[0]) for pair in asked]
    np.testing.assert_allclose(once, alone, atol=1e-4)
    assert np.ptp(alone) > 1e-3
    assert len(seen) == 3 + 9  # outside, the processor is as it was


@pytest.mark.parametrize("content", ["image", "image_text", "text"])
def test_a_page_looked_at_once_gives_the_scores_of_a_page_looked_at_in_every_pair(
    model, corpus, monkeypatch, content
):
    corpus = Corpus(corpus.folder, content)
    table = pairs(*((f"q{i:02}", f"p{i % 5:02}") for i in range(23)))
    looks = []
    network = model[0].model
    tower = network.model.visual.forward

    def counted(pixels, grid_thw, **keywords):
        looks.append(len(grid_thw))
        return tower(pixels, grid_thw, **keywords)

    monkeypatch.setattr(network.model.visual, "forward", counted)
    once = scores(model, corpus, table)
    assert sum(looks) == (0 if content == "text" else 5)
    looks.clear()
    monkeypatch.setattr(scoring, "takes_vision_outputs", lambda model: False)
    np.testing.assert_allclose(once, scores(model, corpus, table), atol=1e-6)
    assert sum(looks) == (0 if content == "text" else 23)
    assert np.ptp(once) > 1e-3


def test_the_bundled_reranker_scores_alike_on_both_ways(corpus, monkeypatch):
    params = tiny_params(reranker={"model": "nano/models/reranker"})
    device_settings = choose_device(params.compute, scoring=True)
    model = open_reranker(params.reranker, params.pixels, device_settings, FILE.parent)
    table = pairs(*((f"q{i:02}", f"p{i % 3:02}") for i in range(9)))
    assert vision_outputs.takes_vision_outputs(model)
    once = scores(model, corpus, table)
    monkeypatch.setattr(scoring, "takes_vision_outputs", lambda model: False)
    np.testing.assert_allclose(once, scores(model, corpus, table), atol=1e-6)


@pytest.mark.parametrize("lacks", ["other outputs of the processor", "the argument"])
def test_a_model_that_cannot_take_outputs_is_told_by_a_check(model, monkeypatch, lacks):
    assert vision_outputs.takes_vision_outputs(model)
    if lacks == "the argument":
        monkeypatch.setattr(model[0].model, "forward", lambda input_ids, pixel_values: None)
    else:
        processor = model[0].processor.image_processor
        monkeypatch.setattr(type(processor), "preprocess", lambda self, images: {"pixels": images})
    assert not vision_outputs.takes_vision_outputs(model)


def test_one_page_no_page_and_identical_pages(model, corpus):
    assert scores(model, corpus, pairs()).shape == (0,)
    assert scores(model, corpus, pairs(("q00", "p00"))).shape == (1,)
    twice = scores(model, corpus, pairs(("q00", "p00"), ("q01", "p01"), ("q00", "p00")))
    assert twice[0] == pytest.approx(twice[2], abs=1e-5)


@pytest.fixture
def damaged(tmp_path, corpus):
    """The corpus with the last byte of page p01's picture gone, and its head too."""
    folder = tmp_path / "damaged"
    folder.mkdir()
    for file in corpus.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    rows = corpus.table.to_pylist()
    rows[1]["image"]["bytes"] = rows[1]["image"]["bytes"][:60]
    with pa.OSFile(str(folder / PAGES), "wb") as sink:
        with pa.ipc.new_stream(sink, PAGE_SCHEMA) as writer:
            writer.write_table(pa.Table.from_pylist(rows, schema=PAGE_SCHEMA))
    return Corpus(folder)


def test_a_page_that_no_longer_decodes_is_named(model, damaged):
    with pytest.raises(InputError, match="page p01 of .* no longer decodes: remove that folder"):
        scores(model, damaged, pairs(("q00", "p00"), ("q00", "p01")))
    rows = pairs(("q00", "p01")).rename(columns={"page_id": "image_id"})
    with pytest.raises(InputError, match="page p01 of .* no longer decodes: remove that folder"):
        with_content(rows, damaged)[0]


def evaluated(corpus, rows):
    """What evaluate_reranker makes of (query, page, split, rank, logit)."""
    table = pd.DataFrame(rows, columns=["query_id", "page_id", "split", "rank", "logit"])
    table["score"] = 1 - table["rank"] / 10
    table["embedder_rank"] = table["rank"]

    def logits(candidates):
        return candidates["logit"].to_numpy()

    return reranker.evaluate(table, corpus, logits, logits, PARAMS.reranker, resamples=50, seed=1)


def test_a_query_without_candidates_counts_as_missed(corpus):
    """Of eight eval queries q32 has two pages, q33 one, q34 two equal ones, the others none."""
    rows = [
        ("q32", "p33", "eval", 1, 0.0),
        ("q32", "p32", "eval", 2, 1.0),
        ("q33", "p33", "eval", 1, -5.0),
        ("q34", "p34", "eval", 1, 2.0),
        ("q34", "p35", "eval", 2, 2.0),
    ]
    found = evaluated(corpus, rows)
    table = found.per_query.set_index("query_id")
    second = 1 / np.log2(3)
    assert table["tuned_ndcg@10"].to_dict() == pytest.approx(
        # Of equal scores the page id that sorts last comes first, as in trec_eval.
        {"q32": 1, "q33": 1, "q34": second} | {f"q{i}": 0 for i in range(35, 40)}
    )
    assert table["embedder_ndcg@10"].to_dict() == pytest.approx(
        {"q32": second, "q33": 1, "q34": 1} | {f"q{i}": 0 for i in range(35, 40)}
    )
    assert found.metrics["first_stage_missed"] == 5
    assert found.metrics["fusion_weight"] == 1.0  # no dev query to choose it on
    assert found.metrics["depth"][3]["tuned"]["ndcg@10"] == pytest.approx((2 + second) / 8)


def test_each_gain_is_over_what_it_says_and_recall_is_the_rerankers(corpus):
    """The right page is twelfth for the embedder, third untrained and first tuned."""
    table = pd.DataFrame(
        {
            "query_id": "q32",
            "page_id": [*(f"p{row:02}" for row in range(11)), "p32"],
            "split": "eval",
            "rank": range(1, 13),
        }
    )
    table["score"], table["embedder_rank"] = -table["rank"], table["rank"]
    knobs = PARAMS.reranker.model_copy(update={"depths": [12], "compared_depth": 12})

    def right_page_at(place):
        return lambda rows: np.where(rows["page_id"] == "p32", 0.5 - place, -rows["rank"])

    found = reranker.evaluate(
        table, corpus, right_page_at(3), right_page_at(1), knobs, resamples=50, seed=1
    )
    first, third = 1 / 8, 1 / np.log2(4) / 8  # of eight eval queries
    assert found.metrics["gain"]["ndcg@10"] == pytest.approx(first)
    assert found.metrics["training"]["ndcg@10"] == pytest.approx(first - third)
    assert found.metrics["recall@10"] == 1 / 8


def test_no_candidates_at_all(corpus):
    found = evaluated(corpus, [("q00", "p00", "train", 1, 1.0)])
    assert found.metrics["depth"][3]["tuned"]["ndcg@10"] == 0
    assert found.metrics["first_stage_missed"] == 8


def test_what_lies_below_a_depth_does_not_move_the_fused_order_above_it(corpus, monkeypatch):
    """The same two pages at depth 2, whether or not a third one with an extreme logit follows."""

    def order(*third):
        dev = [(f"q{i}", f"p{i}", "dev", 1, 1.0) for i in range(24, 28)]
        dev += [(f"q{i}", f"p{i + 1}", "dev", 2, 0.0) for i in range(24, 28)]
        # The embedder prefers p33 by a hair, the reranker p32 by a little.
        near = [("q32", "p33", "eval", 1, 0.0), ("q32", "p32", "eval", 2, 1.0)]
        monkeypatch.setattr(reranker, "choose_weight", lambda *_: 0.7)
        found = evaluated(corpus, [*dev, *near, *third])
        return found.metrics["depth"][2]["fused"]["ndcg@10"]

    assert order() == order(("q32", "p34", "eval", 3, 900.0)) == pytest.approx(1 / 8)


def test_fused_scores_by_hand():
    table = pd.DataFrame(
        {"query_id": "q", "page_id": list("abc"), "rank": [1, 2, 3], "score": [0.9, 0.5, 0.1]},
        index=[4, 7, 9],
    )
    found = reranker.fused(table, np.array([0.0, 2.0, 50.0]), 0.75, depth=2)
    # Within the first two both standardise to one and minus one.
    np.testing.assert_allclose(found, [0.25 - 0.75, 0.75 - 0.25, np.nan])


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_weight_is_that_of_the_reranker(weight):
    """Where one of the two is right and the other wrong, all weight is on the right one."""
    right, wrong = np.array([2.0, 1.0, 0.0]), np.array([0.0, 1.0, 2.0])
    first, logits = (wrong, right) if weight else (right, wrong)
    table = pd.DataFrame({"query_id": "q", "page_id": ["a", "b", "c"], "rank": [1, 2, 3]})
    table["score"] = first
    assert reranker.choose_weight(table, logits, {"q": {"a": 1}}, 3) == weight


def test_the_fusion_weight_comes_from_queries_drawn_with_the_seed(corpus, monkeypatch):
    table = pd.DataFrame({"query_id": [f"q{i}" for i in range(24, 32)], "page_id": "p24"})
    table = table.loc[table.index.repeat(3)].assign(split="dev", rank=[1, 2, 3] * 8, score=0.5)
    table["embedder_rank"] = table["rank"]
    seen = []

    def drawn(seed):
        def chosen(dev, *_):
            assert dev["query_id"].value_counts().tolist() == [3] * 4
            seen.append(dev["query_id"].unique().tolist())
            return 1.0

        monkeypatch.setattr(reranker, "choose_weight", chosen)

        def logits(candidates):
            return np.zeros(len(candidates))

        reranker.evaluate(table, corpus, logits, logits, PARAMS.reranker, resamples=50, seed=seed)
        return seen[-1]

    assert drawn(1) == drawn(1)
    # Four of eight; that five draws all take the first four in table order has odds of 1 : 70^5.
    assert any(drawn(seed) != ["q24", "q25", "q26", "q27"] for seed in range(5))
    table = table.sample(frac=1, random_state=1)  # the draw goes by names, not by rows
    assert set(drawn(1)) == set(seen[0])


def test_no_page_answers_where_every_logit_is_low(corpus):
    """Dev's right pages have logits from 2 on, other pages below: eval is judged by that."""
    rows = []
    for split, first in (("dev", 24), ("eval", 32)):
        for number in range(first, first + 8):
            other = first + (number + 1 - first) % 8
            rows.append((f"q{number}", f"p{number}", split, 2, 2.0 + number - first))
            rows.append((f"q{number}", f"p{other}", split, 1, -1.0 if number % 2 else 1.5))
    knobs = PARAMS.reranker.model_copy(update={"fusion_queries": 8})
    table = pd.DataFrame(rows, columns=["query_id", "page_id", "split", "rank", "logit"])
    table["score"], table["embedder_rank"] = 1 - table["rank"] / 10, table["rank"]
    # A page below the compared depth is not reranked, and says nothing.
    table = pd.concat([table, table.tail(1).assign(page_id="p32", rank=5, logit=99.0)])

    def logits(candidates):
        return candidates["logit"].to_numpy()

    found = reranker.evaluate(table, corpus, logits, logits, knobs, resamples=50, seed=1)
    rule = found.metrics["answers"]
    assert (rule["weights"], rule["threshold"]) == ({"reranker": 1.0}, 2.0)
    for split in ("dev", "eval"):
        assert rule[split]["area"] == 1
        assert rule[split]["denied_answered"] == 0
        assert rule[split]["denied_without_page"] == 1
    assert "answers" not in evaluated(corpus, [("q32", "p32", "eval", 1, 1.0)]).metrics
