"""Models in the layout of Qwen's published repositories: budget, prompts, heads and activations."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from PIL import Image
from published import (
    DEFAULT_PROMPT,
    EMBEDDER_TEMPLATE,
    MAX_PIXELS,
    write_published_embedder,
    write_published_reranker,
)
from sentence_transformers import (
    CrossEncoder,
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from test_docs_gpu import COMMANDS, applied
from tiny import blank, mined_negatives, tiny_params, write_tiny_corpus
from torch.nn import Identity

from pagefinder.errors import InputError
from pagefinder.mining.veto import open_veto
from pagefinder.models.device import choose_device
from pagefinder.models.opening import open_embedder, open_reranker
from pagefinder.models.saving import save_model
from pagefinder.models.visual_tokens import check_budget, visual_tokens
from pagefinder.release.folders import copy_model
from pagefinder.training.arguments import TrainingRun
from pagefinder.training.batches import embedder_rows
from pagefinder.training.embedder import embedder_trainer

EMBEDDER, RERANKER = "models/embedding", "models/reranking"
PARAMS = tiny_params(
    base={"model": EMBEDDER, "pooling": ""},
    reranker={"model": RERANKER, "instruction": "Find the page."},
)
DEVICE_SETTINGS = choose_device(PARAMS.compute)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("root")
    write_published_embedder(folder / EMBEDDER)
    write_published_reranker(folder / RERANKER)
    return folder


def test_plainly_opened_models_are_as_published(root):
    embedder = SentenceTransformer(str(root / EMBEDDER), device="cpu")
    reranker = CrossEncoder(str(root / RERANKER), device="cpu")
    assert embedder.default_prompt_name == "default"
    assert embedder.prompts["default"] == DEFAULT_PROMPT
    assert type(reranker.activation_fn).__name__ == "Identity"
    page = blank(1280, 1280)
    for model in (embedder, reranker):
        # Legacy keys beside `size` win over it.
        assert visual_tokens(model, page) == 35 * 35 <= MAX_PIXELS / 32**2
    assert reranker.predict([("Where is revenue?", blank())]).shape == (1,)


def opened(root, kind):
    """The embedder or the reranker, opened as a stage opens it, at a budget of 96x64 pixels."""
    if kind == "embedder":
        return open_embedder(PARAMS.base, PARAMS.pixels, DEVICE_SETTINGS, root)
    return open_reranker(PARAMS.reranker, PARAMS.pixels, DEVICE_SETTINGS, root)


@pytest.mark.parametrize(
    ("kind", "plainly"), [("embedder", SentenceTransformer), ("reranker", CrossEncoder)]
)
def test_a_published_model_serves_at_the_trained_budget(root, tmp_path, kind, plainly):
    model = opened(root, kind)
    assert visual_tokens(model, blank(960, 640)) == 6
    assert visual_tokens(model, blank(10, 10)) == 1
    assert check_budget(model, blank(), PARAMS.pixels) == 6
    save_model(model, tmp_path / "saved")
    copy_model(tmp_path / "saved", tmp_path / "released")
    served = plainly(str(tmp_path / "released"), device="cpu")
    assert visual_tokens(served, blank(960, 640)) == 6
    assert visual_tokens(served, blank(10, 10)) == 1


def test_a_page_that_fits_does_not_prove_the_budget(root):
    model = SentenceTransformer(str(root / EMBEDDER), device="cpu")
    assert visual_tokens(model, blank()) == 6  # as the budget has it
    with pytest.raises(InputError, match="makes 24 visual tokens of a 192x128 page"):
        check_budget(model, blank(), PARAMS.pixels)


def test_the_veto_compares_probabilities_whatever_activation_is_saved(root, tmp_path):
    corpus = write_tiny_corpus(tmp_path / "corpus")
    params = PARAMS.mine.veto.model_copy(update={"model": RERANKER})
    pairs = pd.DataFrame({"query": [0, 1, 2], "page": [0, 5, 2]})
    veto = open_veto(params, corpus, PARAMS.pixels, PARAMS.compute, root)
    model = open_reranker(params, PARAMS.pixels, DEVICE_SETTINGS, root)
    texts = corpus.queries["text"].iloc[pairs["query"]]
    logits = model.predict(list(zip(texts, corpus.images(pairs["page"]), strict=True)))
    assert np.abs(logits).max() > 0.1
    np.testing.assert_allclose(veto(pairs), 1 / (1 + np.exp(-logits)), atol=1e-5)


QUESTION = "Where is revenue?"


def rendered(model, *inputs, prompt=None):
    """The text that the model reads of each input: see `decoded`."""
    return decoded(model, model.preprocess(list(inputs), prompt=prompt)["input_ids"])


def decoded(model, rows):
    """The text of each row of token ids, in lower case as the tokenizer has it.

    Padding is left out, and the tokens of an image are one.
    """
    texts = [model.tokenizer.decode(ids).replace("<|endoftext|>", "") for ids in rows]
    return [re.sub(r"(<\|image_pad\|>)+", "<|image_pad|>", text) for text in texts]


def trained_embedder(root):
    """models/embedder, as a stage saves it."""
    if not (root / "models/embedder").exists():
        save_model(opened(root, "embedder"), root / "models/embedder")
    return "models/embedder"


@pytest.mark.parametrize("head", ["logit", "dense"])
def test_a_reranker_made_of_the_tuned_embedder_reads_query_and_page(root, tmp_path, head):
    knobs = PARAMS.reranker.model_copy(update={"model": trained_embedder(root), "head": head})
    model = open_reranker(knobs, PARAMS.pixels, DEVICE_SETTINGS, root)
    expected = (
        "<|im_start|>system\nFind the page.<|im_end|>\n"
        f"<|im_start|>user\n<Query>: {QUESTION}\n"
        "<Document>: <|vision_start|><|image_pad|><|vision_end|><|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert rendered(model, (QUESTION, blank()), prompt="Find the page.") == [expected.lower()]
    page = np.asarray(blank()).copy()
    page[:, 48:] = 0
    pairs = [(QUESTION, blank()), ("Where is the bank?", blank())]
    pairs.append((QUESTION, Image.fromarray(page)))
    scores = model.predict(pairs)
    assert len(set(np.round(scores, 6))) == 3
    save_model(model, tmp_path / "saved")
    served = CrossEncoder(str(tmp_path / "saved"), device="cpu")
    np.testing.assert_allclose(served.predict(pairs), scores, atol=1e-6)


def test_a_template_of_pairs_stays_as_published(root):
    model = opened(root, "reranker")
    (text,) = rendered(model, (QUESTION, blank()), prompt="Find the page.")
    assert text.startswith("<|im_start|>system\njudge whether the document meets")
    pair = f"<Instruct>: Find the page.<Query>:{QUESTION}\n<Document>:<|vision_start|>"
    assert pair.lower() in text
    assert model[0].processor.chat_template["default"] == EMBEDDER_TEMPLATE


def test_a_dense_head_starts_with_the_published_scores(root):
    pairs = [(QUESTION, blank()), ("Where is the bank?", blank(64, 96))]
    knobs = PARAMS.reranker.model_copy(update={"head": "dense"})
    dense = open_reranker(knobs, PARAMS.pixels, DEVICE_SETTINGS, root)
    logits = opened(root, "reranker").predict(pairs)
    np.testing.assert_allclose(dense.predict(pairs, activation_fn=Identity()), logits, atol=1e-4)
    assert rendered(dense, pairs[0]) == rendered(opened(root, "reranker"), pairs[0])


def test_a_template_that_cannot_be_given_pairs_is_refused_when_the_model_is_opened(root, tmp_path):
    shutil.copytree(root / RERANKER, tmp_path / RERANKER)
    template = tmp_path / RERANKER / "additional_chat_templates/reranker.jinja"
    template.write_text(EMBEDDER_TEMPLATE)
    with pytest.raises(InputError, match=r"reranker.model 'models/reranking' cannot read pairs"):
        opened(tmp_path, "reranker")


def reference(root):
    """Params of the experiment `reference` in docs/gpu.md, and the small model opened by them."""
    command = next(command for command in COMMANDS if "reference" in command)
    params = applied(command)
    base = params.base.model_copy(update={"model": EMBEDDER, "revision": ""})
    return params, open_embedder(base, PARAMS.pixels, DEVICE_SETTINGS, root)


def test_the_reference_trains_and_measures_with_the_texts_of_the_recipe(root, tmp_path):
    """The recipe gives no prompts: the model's template inserts its own, for queries and pages."""
    recipe = SentenceTransformer(str(root / EMBEDDER), device="cpu")
    params, ours = reference(root)
    asked = f"<|im_start|>user\n{QUESTION}<|im_end|>\n"
    shown = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|><|im_end|>\n"
    system = f"<|im_start|>system\n{DEFAULT_PROMPT}<|im_end|>\n"
    expected = [(system + message).lower() for message in (asked, shown, shown)]

    def trained(trainer):
        row = {"query": QUESTION, "image": blank(), "negative_0": blank(64, 96)}
        columns, _ = trainer.collect_features(trainer.data_collator([row]))
        return [decoded(trainer.model, column["input_ids"])[0] for column in columns]

    def measured(model):
        texts = []
        forward = model.forward
        with pytest.MonkeyPatch.context() as patch:

            def spied(features, **keywords):
                texts.extend(decoded(model, features["input_ids"]))
                return forward(features, **keywords)

            patch.setattr(model, "forward", spied)
            model.encode_query([QUESTION])
            model.encode_document([blank()])
            model.encode_document([blank(64, 96)])
        return texts

    arguments = SentenceTransformerTrainingArguments(str(tmp_path), use_cpu=True)
    rows = Dataset.from_dict({"query": ["a"], "image": ["b"], "negative_0": ["c"]})
    loss = MultipleNegativesRankingLoss(recipe)
    plain = SentenceTransformerTrainer(recipe, arguments, train_dataset=rows, loss=loss)
    corpus = write_tiny_corpus(tmp_path / "corpus")
    run = TrainingRun(corpus, PARAMS.compute, DEVICE_SETTINGS, 1, tmp_path / "run")
    knobs = params.embedder.model_copy(update={"dims": (192,), "batch": 4})
    rows = embedder_rows(corpus, mined_negatives(), 1)
    trainer = embedder_trainer(ours, rows, knobs, params.loss, run)
    assert trained(plain) == trained(trainer) == expected
    assert measured(recipe) == measured(ours) == expected


def test_a_reranker_whose_score_module_is_named_otherwise_opens_as_published(root, caplog):
    """As Qwen3-VL-Reranker-8B: modules.json names a folder that is not there."""
    shutil.copytree(root / RERANKER, root / "models/larger")
    listed = root / "models/larger/modules.json"
    listed.write_text(listed.read_text().replace("1_LogitScore", "1_CausalScoreHead"))
    with pytest.raises(TypeError, match="true_token_id"):
        CrossEncoder(str(root / "models/larger"), device="cpu")
    scores = []
    for model in (RERANKER, "models/larger"):
        knobs = PARAMS.reranker.model_copy(update={"model": model})
        opened = open_reranker(knobs, PARAMS.pixels, DEVICE_SETTINGS, root)
        pairs = [("Where is revenue?", page) for page in (blank(), blank(64, 96))]
        scores.append(opened.predict(pairs, activation_fn=torch.nn.Identity()))
        save_model(opened, root / "saved" / model)
    np.testing.assert_array_equal(scores[0], scores[1])
    assert "its LogitScore has no settings" in caplog.text
    assert (root / "saved/models/larger/1_LogitScore/config.json").is_file()
