"""Opening, encoding, training and releasing models: on a random-weight Qwen3-VL."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import CrossEncoder, SentenceTransformer
from tiny import (
    blank,
    mined_negatives,
    ranked_candidates,
    tiny_params,
)

from pagefinder.errors import InputError
from pagefinder.evaluation.reranker import evaluate, fused, reranked
from pagefinder.mining.veto import open_veto
from pagefinder.models import device, encoding, scoring
from pagefinder.models.device import choose_device
from pagefinder.models.opening import open_embedder, open_reranker
from pagefinder.models.saving import save_model
from pagefinder.models.visual_tokens import check_budget, visual_tokens
from pagefinder.params import Pixels
from pagefinder.release import folders
from pagefinder.release.folders import copy_model, serve_unit_vectors, store_as
from pagefinder.retrieval.vectors import cut
from pagefinder.runtime import processes
from pagefinder.training import callbacks, checkpoints
from pagefinder.training.arguments import TrainingRun
from pagefinder.training.batches import embedder_rows, fitting_batch
from pagefinder.training.embedder import train_embedder
from pagefinder.training.reranker import reranker_trainer, train_reranker

PARAMS = tiny_params()
DEVICE_SETTINGS = choose_device(PARAMS.compute)


def embedder(root, **knobs):
    base = PARAMS.base.model_copy(update=knobs)
    return open_embedder(base, PARAMS.pixels, DEVICE_SETTINGS, root)


def reranker(root, **knobs):
    return open_reranker(
        PARAMS.reranker.model_copy(update=knobs), PARAMS.pixels, DEVICE_SETTINGS, root
    )


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"model": "models/vml"}, "base.model is 'models/vml': no such folder"),
        ({"pooling": ""}, "fresh checkpoint .* set base.pooling"),
    ],
)
def test_a_base_that_cannot_be_opened_is_named(root, knobs, said):
    with pytest.raises(InputError, match=said):
        embedder(root, **knobs)


def test_missing_cuda_and_missing_flash_attention_are_said():
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(InputError, match="compute.device is 'cuda'"):
        choose_device(PARAMS.compute.model_copy(update={"device": "cuda"}))
    with pytest.raises(InputError, match="flash-attn or CUDA is missing"):
        choose_device(PARAMS.compute.model_copy(update={"attention": "flash_attention_2"}))


def test_flash_attention_is_never_chosen_under_float32(monkeypatch):
    """On a card, where flash-attn is installed: it computes in half precisions alone."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    monkeypatch.setattr(device, "is_flash_attn_2_available", lambda: True)
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda _: None)

    def chosen(attention, scoring=False):
        knobs = {"device": "cuda", "attention": attention, "precision": "bf16", "scoring": "fp32"}
        compute = PARAMS.compute.model_copy(update=knobs)
        return choose_device(compute, scoring=scoring).attention

    assert chosen("auto") == chosen("flash_attention_2") == "flash_attention_2"
    assert chosen("auto", scoring=True) == "sdpa"
    with pytest.raises(InputError, match=r"cannot compute in float32, as compute.scoring asks for"):
        chosen("flash_attention_2", scoring=True)


def test_each_process_has_a_card_of_its_own(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert processes.local_device("cuda") == "cuda:1"
    assert processes.local_device("cpu") == "cpu"


def test_a_model_blind_to_images_is_refused(root, tmp_path):
    from sentence_transformers.sentence_transformer.modules import BoW

    SentenceTransformer(modules=[BoW(vocab=["a"])]).save_pretrained(str(tmp_path / "blind"))
    with pytest.raises(InputError, match="but no image"):
        open_embedder(
            PARAMS.base.model_copy(update={"model": "blind"}),
            PARAMS.pixels,
            DEVICE_SETTINGS,
            tmp_path,
        )


def test_an_error_names_the_section_that_the_model_stands_in(root, tmp_path):
    nobody = {"model": "nobody", "pooling": ""}
    base = PARAMS.base.model_copy(update=nobody)
    with pytest.raises(InputError, match=r"compare_models.a.model is 'nobody'.*models.a.revision"):
        open_embedder(base, PARAMS.pixels, DEVICE_SETTINGS, tmp_path, section="compare_models.a")
    fresh = PARAMS.base.model_copy(update={"pooling": ""})
    with pytest.raises(InputError, match=r"compare_models.a.model .* set compare_models.a.pooling"):
        open_embedder(fresh, PARAMS.pixels, DEVICE_SETTINGS, root, section="compare_models.a")
    veto = PARAMS.mine.veto.model_copy(update={"model": "nobody"})
    with pytest.raises(InputError, match=r"mine.veto.model is 'nobody'.* mine.veto.revision"):
        open_veto(veto, None, PARAMS.pixels, PARAMS.compute, tmp_path)


def test_the_pixel_budget_is_what_the_model_really_sees(root):
    model = embedder(root)
    assert check_budget(model, blank(), PARAMS.pixels) == 6
    assert visual_tokens(model, blank(960, 640)) == 6
    with pytest.raises(InputError, match="24 visual tokens|6 visual tokens"):
        check_budget(model, blank(), Pixels(min=256, max=6144, multiple=16))


def test_vectors_are_unit_float32_in_table_order_and_depend_on_the_prompt(root, corpus, tmp_path):
    model = embedder(root)
    encoding.encode_corpus(model, corpus, DEVICE_SETTINGS, 8, tmp_path / "chunks")
    encoding.merge(tmp_path / "chunks", corpus, tmp_path / "v")
    pages, queries = (np.load(tmp_path / "v" / name) for name in ("pages.npy", "queries.npy"))
    assert pages.dtype == np.float32
    assert pages.shape == queries.shape == (40, 192)
    np.testing.assert_allclose(np.linalg.norm(pages, axis=1), 1, atol=1e-5)
    alone = encoding.encode_pages(model, corpus, range(7, 8), DEVICE_SETTINGS, 8)
    np.testing.assert_allclose(alone[0], pages[7], atol=1e-5)
    other = embedder(root, page_prompt="Something else.", query_prompt="Something else.")
    assert (
        np.abs(encoding.encode_pages(other, corpus, range(1), DEVICE_SETTINGS, 8) - pages[:1]).max()
        > 0.01
    )
    text = corpus.queries["text"].tolist()[:1]
    assert (
        np.abs(encoding.encode_queries(other, text, DEVICE_SETTINGS, 8) - queries[:1]).max() > 0.01
    )


def test_both_heads_start_with_the_same_scores(root):
    pairs = [("Where is revenue?", blank()), ("Where is the bank?", blank(64, 96))]
    scores = [
        reranker(root, head=head).predict(pairs, activation_fn=torch.nn.Identity())
        for head in ("logit", "dense")
    ]
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-4)
    assert abs(scores[0][0] - scores[0][1]) > 1e-4


@pytest.fixture(scope="module")
def tuned(root):
    """An embedder with weights of its own, as a stage saves it."""
    model = embedder(root)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.05)
    save_model(model, root / "models/embedder")
    return model[0].model.get_input_embeddings().weight


def test_a_reranker_starts_from_the_tuned_embedders_backbone(root, tuned):
    pairs = [("Where is revenue?", blank()), ("Where is the bank?", blank(64, 96))]
    scores = []
    for head in ("logit", "dense"):
        model = reranker(root, model="models/embedder", head=head)
        assert torch.equal(model[0].model.get_input_embeddings().weight, tuned)
        scores.append(model.predict(pairs, activation_fn=torch.nn.Identity()))
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-4)
    other = reranker(root).predict(pairs, activation_fn=torch.nn.Identity())
    assert np.abs(scores[0] - other).max() > 1e-3


@pytest.fixture(scope="module")
def saved_reranker(root):
    """A reranker with weights of its own and other tokens than yes and no, as a stage saves it."""
    model = reranker(root)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.05)
    model[-1].true_token_id, model[-1].false_token_id = 40, 41
    save_model(model, root / "models/reranker")
    return model


def test_a_saved_rerankers_dense_head_starts_with_the_same_scores(root, saved_reranker):
    pairs = [("Where is revenue?", blank()), ("Where is the bank?", blank(64, 96))]
    expected = saved_reranker.predict(pairs, activation_fn=torch.nn.Identity())
    model = reranker(root, model="models/reranker", head="dense")
    found = model.predict(pairs, activation_fn=torch.nn.Identity())
    np.testing.assert_allclose(found, expected, atol=1e-4)
    other = reranker(root).predict(pairs, activation_fn=torch.nn.Identity())
    assert np.abs(expected - other).max() > 1e-3
    assert [type(module).__name__ for module in model] == ["Transformer", "Pooling", "Dense"]
    with torch.no_grad():
        model[-1].linear.weight.mul_(2)
    save_model(model, root / "models/dense")
    for head in ("logit", "dense"):  # it opens as it was saved, whatever the params say
        again = reranker(root, model="models/dense", head=head)
        scores = again.predict(pairs, activation_fn=torch.nn.Identity())
        np.testing.assert_allclose(scores, 2 * expected, atol=2e-4)


def test_a_dense_head_needs_two_tokens_to_start_from(root, saved_reranker):
    config = root / "models/reranker/1_LogitScore/config.json"
    kept = config.read_text()
    config.write_text(json.dumps(json.loads(kept) | {"false_token_id": None}))
    with pytest.raises(InputError, match="LogitScore of two tokens that it could start from"):
        reranker(root, model="models/reranker", head="dense")
    config.write_text(kept)


def test_modalities_can_be_described_by_hand(root):
    image = {"method": "forward", "method_output_name": "last_hidden_state"}
    config = {"text": image, "image": image, "message": image | {"format": "structured"}}
    by_hand = embedder(root, modality_config=config)
    assert list(by_hand.modalities) == ["text", "image", "message"]
    np.testing.assert_allclose(
        by_hand.encode_document([blank()]), embedder(root).encode_document([blank()]), atol=1e-6
    )
    with pytest.raises(InputError, match="but no image: .* base.modality_config"):
        embedder(root, modality_config={"text": image})


def test_rows_have_equally_many_negatives_and_never_an_answer(corpus):
    few = mined_negatives().iloc[1:]
    rows = embedder_rows(corpus, few, seed=1)
    assert list(rows.columns) == ["query_id", "image_id", "negative_0_id", "negative_1_id"]
    assert len(rows) == 24
    assert not rows.isna().any().any()
    for row in rows.itertuples():
        assert len({row.image_id, row.negative_0_id, row.negative_1_id}) == 3
    pd.testing.assert_frame_equal(rows, embedder_rows(corpus, few, seed=1))
    assert not rows.equals(embedder_rows(corpus, few, seed=2))


def test_training_never_sees_a_page_of_another_split(corpus):
    """Nor where negatives are lacking and pages are drawn in their place."""
    for mined in (mined_negatives(), mined_negatives()[:2]):
        rows = embedder_rows(corpus, mined, seed=1)
        seen = set(rows.filter(regex="_id$").drop(columns="query_id").to_numpy().ravel())
        assert seen <= {f"p{number:02}" for number in range(24)}


def test_a_dimension_larger_than_the_models_is_named(root, corpus, tmp_path):
    knobs = tiny_params(embedder={"dims": [4096, 192]}).embedder
    with pytest.raises(InputError, match="asks for dimension 4096, the model has 192"):
        fit_embedder(embedder(root), corpus, tmp_path, knobs)


@pytest.mark.parametrize(("batch", "fitting"), [(12, 3), (8, 4)])
def test_a_batch_that_too_few_pages_can_fill_is_made_smaller(
    root, corpus, tmp_path, caplog, batch, fitting
):
    """Eight rows of the corpus have no page in common, if they are taken in the best order."""
    knobs = tiny_params(embedder={"batch": batch, "epochs": 1, "evaluations": 1}).embedder
    curves = fit_embedder(embedder(root), corpus, tmp_path, knobs)
    assert set(curves["metric"]) == {"loss", "dev_ndcg@10"}
    assert f"batch {fitting} instead of embedder.batch {batch}" in caplog.text


def test_a_batch_that_no_pages_can_fill_is_named(root, corpus, tmp_path):
    knobs = tiny_params(embedder={"batch": 12}).embedder
    run = training_run(corpus, tmp_path)
    negatives = mined_negatives().assign(page_id="p23")  # in every row, so no two share a batch
    with pytest.raises(InputError, match="no batch of 2 rows could be filled"):
        train_embedder(embedder(root), negatives, knobs, PARAMS.loss, run)


def test_a_batch_that_pages_can_fill_stays_as_it_is(corpus):
    rows = embedder_rows(corpus, mined_negatives(), seed=1)
    assert [fitting_batch(corpus, rows, batch) for batch in (2, 4)] == [2, 4]


def training_run(corpus, folder):
    return TrainingRun(corpus, PARAMS.compute, DEVICE_SETTINGS, 1, folder)


def fit_embedder(model, corpus, folder, knobs=PARAMS.embedder):
    run = training_run(corpus, folder)
    return train_embedder(model, mined_negatives(), knobs, PARAMS.loss, run)


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("mini_batch", [0, 2])
def test_training_learns_and_logs_its_curves(root, corpus, tmp_path, mini_batch):
    model = embedder(root)
    before = weights(model)
    knobs = PARAMS.embedder.model_copy(update={"mini_batch": mini_batch})
    curves = fit_embedder(model, corpus, tmp_path, knobs)
    assert set(curves["metric"]) == {"loss", "dev_ndcg@10"}
    assert curves.loc[curves["metric"] == "dev_ndcg@10", "step"].tolist() == [0, 3, 6]
    assert any(not torch.equal(before[name], tensor) for name, tensor in weights(model).items())


def test_gradient_checkpointing_changes_memory_not_the_training(root, corpus, tmp_path):
    plain = fit_embedder(embedder(root), corpus, tmp_path / "plain")
    knobs = PARAMS.embedder.model_copy(update={"gradient_checkpointing": True, "mini_batch": 2})
    spared = fit_embedder(embedder(root), corpus, tmp_path / "spared", knobs)
    np.testing.assert_allclose(plain["value"][:3], spared["value"][:3], atol=1e-4)


def test_the_training_prompts_are_the_encoding_prompts(root, corpus, tmp_path, monkeypatch):
    seen = set()
    model = embedder(root)
    original = model.preprocess

    def preprocess(inputs, prompt=None, **keywords):
        seen.add((isinstance(inputs[0], str), prompt))
        return original(inputs, prompt=prompt, **keywords)

    monkeypatch.setattr(model, "preprocess", preprocess)
    fit_embedder(model, corpus, tmp_path)
    assert seen == {(True, PARAMS.base.query_prompt), (False, PARAMS.base.page_prompt)}


class Killed(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_an_interrupted_training_ends_in_the_same_bits(
    root, corpus, tmp_path, monkeypatch, lora_rank
):
    knobs = PARAMS.embedder.model_copy(update={"lora_rank": lora_rank})
    whole = embedder(root)
    curves = fit_embedder(whole, corpus, tmp_path / "whole", knobs)
    original = callbacks.Watch.on_step_end

    def killed(self, args, state, control, **keywords):
        if state.global_step == 5:
            raise Killed
        return original(self, args, state, control, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Watch, "on_step_end", killed)
        with pytest.raises(Killed):
            fit_embedder(embedder(root), corpus, tmp_path / "torn", knobs)
    assert checkpoints.newest_checkpoint(tmp_path / "torn").name == "checkpoint-3"
    (tmp_path / "torn/checkpoint-4").mkdir()
    (tmp_path / "torn/checkpoint-4/trainer_state.json").write_text('{"half')
    resumed = embedder(root)
    again = fit_embedder(resumed, corpus, tmp_path / "torn", knobs)
    first, second = weights(whole), weights(resumed)
    assert all(torch.equal(first[name], second[name]) for name in first)
    pd.testing.assert_frame_equal(curves, again)


def test_adapters_are_merged_when_saved(root, corpus, tmp_path):
    model = embedder(root)
    knobs = tiny_params(embedder={"lora_rank": 2, "learning_rate": 0.01}).embedder
    fit_embedder(model, corpus, tmp_path / "run", knobs)
    expected = encoding.encode_pages(model, corpus, range(4), DEVICE_SETTINGS, 4)
    save_model(model, tmp_path / "merged")
    assert not list((tmp_path / "merged").glob("adapter*"))
    opened = open_embedder(
        PARAMS.base, PARAMS.pixels, DEVICE_SETTINGS, root, saved=tmp_path / "merged"
    )
    actual = encoding.encode_pages(opened, corpus, range(4), DEVICE_SETTINGS, 4)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_frozen_parts_stay_as_they_are(root, corpus, tmp_path):
    model = embedder(root)
    before = weights(model)
    knobs = PARAMS.embedder.model_copy(update={"freeze": ("visual",)})
    fit_embedder(model, corpus, tmp_path, knobs)
    after = weights(model)
    assert all(torch.equal(before[name], after[name]) for name in before if "visual" in name)
    with pytest.raises(InputError, match="no parameter's name contains 'vision_tower'"):
        fit_embedder(
            embedder(root),
            corpus,
            tmp_path,
            PARAMS.embedder.model_copy(update={"freeze": ("vision_tower",)}),
        )


@pytest.mark.parametrize("knobs", [{}, {"model": "models/reranker", "head": "dense"}])
def test_the_reranker_learns_reranks_and_reopens_with_the_same_scores(
    root, corpus, saved_reranker, tmp_path, knobs
):
    model = reranker(root, **knobs)
    pairs = ranked_candidates()
    run = training_run(corpus, tmp_path / "run")
    curves = train_reranker(model, pairs, PARAMS.reranker, run)
    assert set(curves["metric"]) == {"loss", "dev_ndcg@10"}
    save_model(model, tmp_path / "saved")

    def logits(model):
        return lambda rows: scoring.score_pairs(model, corpus, rows, DEVICE_SETTINGS, 8)

    base, tuned = logits(reranker(root)), logits(model)
    result = evaluate(pairs, corpus, base, tuned, PARAMS.reranker, resamples=50, seed=1)
    assert set(result.metrics["depth"]) == {2, 3, 5}
    assert "base" not in result.metrics["depth"][5]
    assert result.metrics["first_stage_missed"] == 0
    found = pairs[pairs["split"] == "eval"].reset_index(drop=True)
    expected = scoring.score_pairs(model, corpus, found, DEVICE_SETTINGS, 8)
    copy_model(tmp_path / "saved", tmp_path / "released")
    opened = CrossEncoder(str(tmp_path / "released"), device="cpu")
    first = found[found["query_id"] == "q32"]
    text = corpus.query_text["q32"]
    images = [corpus.image(corpus.page_row[page]) for page in first["page_id"]]
    ranked = opened.rank(text, images)
    scores = {row["corpus_id"]: row["score"] for row in ranked}
    sigmoid = 1 / (1 + np.exp(-expected[first.index]))
    np.testing.assert_allclose([scores[i] for i in range(len(images))], sigmoid, atol=1e-4)


def test_the_reranker_is_trained_on_train_pairs_by_their_labels(root, corpus, tmp_path):
    pairs = ranked_candidates()
    run = training_run(corpus, tmp_path)
    trainer = reranker_trainer(reranker(root), pairs, PARAMS.reranker, run)
    train = pairs.loc[pairs["split"] == "train", ["query_id", "page_id", "label"]]
    rows = trainer.train_dataset.to_pandas()
    assert rows.to_numpy().tolist() == train.to_numpy().tolist()
    batch = trainer.data_collator(trainer.train_dataset.to_list()[:7])
    with torch.no_grad():
        loss = trainer.loss([batch["features"]], batch["label"])
    probabilities = torch.tensor(
        scoring.score_pairs(trainer.model, corpus, rows[:7], DEVICE_SETTINGS, 7)
    ).sigmoid()
    right = torch.where(batch["label"] == 1, probabilities, 1 - probabilities)
    assert rows["label"][:7].tolist() == batch["label"].tolist() == [0, 1, 0, 0, 0, 0, 1]
    assert loss.item() == pytest.approx(-right.log().mean().item(), abs=1e-3)


def test_the_instruction_is_the_same_in_training_evaluation_and_serving(root, corpus, tmp_path):
    knobs = PARAMS.reranker.model_copy(update={"instruction": "Does the page answer?"})
    model = open_reranker(knobs, PARAMS.pixels, DEVICE_SETTINGS, root)

    def spied(model):
        seen = set()
        original = model.preprocess

        def preprocess(inputs, prompt=None, **keywords):
            seen.add(prompt)
            return original(inputs, prompt=prompt, **keywords)

        model.preprocess = preprocess
        return seen

    seen = spied(model)
    pairs = ranked_candidates()
    train_reranker(model, pairs, knobs, training_run(corpus, tmp_path / "run"))
    assert seen == {"Does the page answer?"}
    seen.clear()
    scoring.score_pairs(model, corpus, pairs[:4], DEVICE_SETTINGS, 4)
    assert seen == {"Does the page answer?"}
    del model.preprocess
    save_model(model, tmp_path / "saved")
    copy_model(tmp_path / "saved", tmp_path / "released")
    opened = CrossEncoder(str(tmp_path / "released"), device="cpu")
    seen = spied(opened)
    opened.rank("Where is revenue?", [blank(), blank(64, 96)])
    assert seen == {"Does the page answer?"}


def test_reranked_runs_keep_the_rest_below(corpus):
    pairs = ranked_candidates()
    found = pairs[pairs["query_id"] == "q32"].reset_index(drop=True)
    run = reranked(found, np.array([1.0, 9.0, 5.0, 99.0, 98.0]), depth=3)
    order = list(run.as_dict()["q32"])
    assert order == [found["page_id"][i] for i in (1, 2, 0, 3, 4)]


def test_fusion_ends_are_the_two_stages():
    found = ranked_candidates().query("query_id == 'q32'").reset_index(drop=True)
    logits = np.array([3.0, 1.0, 2.0, -1.0, 0.0])
    first, second = (np.argsort(-fused(found, logits, weight, 5)) for weight in (0.0, 1.0))
    assert first.tolist() == [0, 1, 2, 3, 4]
    assert second.tolist() == np.argsort(-logits).tolist()
    alone = found.iloc[:1]
    assert fused(alone, np.array([3.0]), 0.5, 5).tolist() == [0.0]


@pytest.mark.parametrize("dimension", [48, 192])
def test_the_released_embedder_gives_unit_vectors_of_the_recommended_dimension(
    root, tmp_path, dimension: int
):
    trained = embedder(root)
    save_model(trained, tmp_path / "saved")
    pages = [blank(), blank(64, 96)]
    full = trained.encode_document(pages, normalize_embeddings=True)
    copy_model(tmp_path / "saved", tmp_path / "released")
    cutting = serve_unit_vectors(tmp_path / "released", full.shape[1], dimension)
    model = SentenceTransformer(str(tmp_path / "released"), device="cpu")
    assert model.get_embedding_dimension() == dimension
    assert model.prompts["query"] == PARAMS.base.query_prompt
    for served in (model.encode_document(pages), model.encode_query(["Where?"])):
        np.testing.assert_allclose(np.linalg.norm(served, axis=1), 1, atol=1e-6)
    served = model.encode_document(pages)
    np.testing.assert_allclose(served, cut(full, dimension), atol=1e-6)
    if dimension < full.shape[1]:
        del model[cutting]
    assert model.prompts["query"] == PARAMS.base.query_prompt
    np.testing.assert_allclose(model.encode_document(pages), full, atol=1e-6)
    video = json.loads((tmp_path / "released/video_preprocessor_config.json").read_text())
    assert video["video_processor_type"] == "Qwen3VLVideoProcessor"


@pytest.mark.parametrize("shards", [1, 3])
def test_released_weights_have_the_names_of_the_published_model(root, tmp_path, shards: int):
    trained = embedder(root)
    save_model(trained, tmp_path / "saved")
    weights = tmp_path / "saved/model.safetensors"
    if shards > 1:
        weights.unlink()
        trained[0].model.save_pretrained(tmp_path / "saved", max_shard_size="1MB")
    before = {path.name: path.read_bytes() for path in (tmp_path / "saved").glob("model*")}
    copy_model(tmp_path / "saved", tmp_path / "released")
    names = [
        name
        for path in sorted((tmp_path / "released").glob("model*.safetensors"))
        for name in load_file(path)
    ]
    # As those of Qwen/Qwen3-VL-Embedding-2B, which is all that vLLM reads.
    assert {name.split(".")[1] for name in names} == {"language_model", "visual"}
    assert all(name.startswith("model.") for name in names)
    config = json.loads((tmp_path / "released/config.json").read_text())
    assert config["architectures"] == ["Qwen3VLForConditionalGeneration"]
    opened = SentenceTransformer(str(tmp_path / "released"), device="cpu")
    for name, weight in opened[0].model.state_dict().items():
        assert torch.equal(weight, trained[0].model.state_dict()[name]), name
    assert {p.name: p.read_bytes() for p in (tmp_path / "saved").glob("model*")} == before
    assert (shards > 1) == (len(before) > 1)


def test_released_weights_are_of_the_dtype_that_was_asked_for(root, tmp_path):
    trained = embedder(root)
    save_model(trained, tmp_path / "saved")
    sizes = {}
    for dtype in ("float32", "bfloat16"):
        folder = tmp_path / dtype
        copy_model(tmp_path / "saved", folder)
        serve_unit_vectors(folder, 192, 48)
        store_as(folder, dtype)
        sizes[dtype] = (folder / "model.safetensors").stat().st_size
        model = SentenceTransformer(str(folder), device="cpu")
        expected = trained[0].model.state_dict()
        assert {p.dtype for p in model.parameters()} == {getattr(torch, dtype)}
        for name, weight in model[0].model.state_dict().items():
            assert torch.equal(weight, expected[name].to(weight.dtype)), name
        served = model.encode_document([blank()])
        full = trained.encode_document([blank()], normalize_embeddings=True)
        near = {"float32": 1e-6, "bfloat16": 0.05}[dtype]
        np.testing.assert_allclose(served, cut(full, 48), atol=near)
        assert np.linalg.norm(served) == pytest.approx(1, abs=near / 5)
    assert sizes["bfloat16"] < 0.52 * sizes["float32"]


def test_weights_are_rounded_as_torch_rounds_them():
    values = np.random.default_rng(1).normal(size=1000).astype(np.float32)
    values[:4] = [1 + 2**-8, 1 + 3 * 2**-8, np.inf, np.nan]  # two ties
    expected = torch.from_numpy(values).to(torch.bfloat16).float().numpy()
    rounded = (folders._rounded(values).astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(rounded, expected)


def test_a_model_that_does_not_normalise_is_released_with_unit_vectors(root, tmp_path):
    model = embedder(root)
    SentenceTransformer(modules=[model[0], model[1]], prompts=model.prompts).save_pretrained(
        str(tmp_path / "saved"), create_model_card=False
    )
    config = tmp_path / "saved/config_sentence_transformers.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"truncate_dim": 7}))
    copy_model(tmp_path / "saved", tmp_path / "released")
    assert serve_unit_vectors(tmp_path / "released", 192, 48) == 2
    served = SentenceTransformer(str(tmp_path / "released"), device="cpu").encode_query(["Where?"])
    assert served.shape == (1, 48)
    assert np.linalg.norm(served) == pytest.approx(1, abs=1e-6)
