"""What a page gives a model: its image, its text, or both, by the param `page_content`."""

import hashlib
import pickle
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import yaml
from corpora import write_corpus
from sentence_transformers import SentenceTransformer
from tiny import (
    FILE,
    blank,
    mined_negatives,
    text_content,
    tiny_params,
    write_static_model,
    write_text_model,
    write_tiny_corpus,
    write_vlm,
)

from pagefinder import params_file
from pagefinder.data import pixels
from pagefinder.data.corpus import Corpus
from pagefinder.errors import InputError
from pagefinder.models import packaged
from pagefinder.models.device import choose_device
from pagefinder.models.opening import open_embedder
from pagefinder.models.saving import save_model
from pagefinder.training import embedder
from pagefinder.training.arguments import TrainingRun
from pagefinder.training.batches import embedder_rows, with_content
from pagefinder.training.dev import dev_retrieval
from stages import encode

DEVICE_SETTINGS = choose_device(tiny_params().compute)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_corpus(tmp_path_factory.mktemp("corpus")).folder


@pytest.mark.parametrize("content", ["image", "text", "image_text"])
def test_pages_are_given_as_the_param_says(folder, content):
    corpus = pickle.loads(pickle.dumps(Corpus(folder, content)))
    text = corpus.pages["text"][3]
    (given,) = corpus.page_inputs([3])
    if content == "image":
        assert given.tobytes() == corpus.image(3).tobytes()
    elif content == "text":
        assert given.strip() == text.strip()
    else:
        assert list(given) == ["image", "text"]
        assert given["image"].tobytes() == corpus.image(3).tobytes()
        assert given["text"].strip() == text.strip()


def test_no_text_of_a_page_is_opened_as_a_path_or_an_address(tmp_path):
    """Sentence Transformers opens such strings; "" stands for no text."""
    from sentence_transformers.base.modality import infer_modality

    picture = tmp_path / "picture.png"
    blank().save(picture)
    texts = [str(picture), "https://example.org/a.png", "data:image/png;base64,AAAA", None]
    image = {"bytes": pixels.encode_png(blank()), "path": None}
    pages = [
        {"page_id": f"p{number}", "split": "train", "image": image, "text": text}
        for number, text in enumerate(texts)
    ]
    write_corpus(tmp_path / "corpus", pages, [], [])
    given = Corpus(tmp_path / "corpus", "text").page_inputs(range(4))
    assert [page.strip() for page in given] == [*texts[:3], ""]
    assert [infer_modality(page) for page in given] == ["text"] * 4
    assert infer_modality(texts[0]) == "image"


@pytest.mark.parametrize("content", ["image", "text", "image_text"])
def test_training_and_dev_see_the_same_pages(folder, content):
    corpus = Corpus(folder, content)
    expected = corpus.page_inputs(range(40))
    row = with_content(embedder_rows(corpus, mined_negatives(), 1), corpus)[5]
    assert row["query"] == corpus.query_text["q05"]
    assert list(row) == ["query", "image", "negative_0", "negative_1"]
    assert [row["image"], row["negative_0"]] == [expected[5], expected[6]]
    labelled = with_content(
        pd.DataFrame({"query_id": ["q05"], "image_id": ["p06"], "label": [0.5]}), corpus
    )[0]
    assert labelled == {"query": corpus.query_text["q05"], "image": expected[6], "label": 0.5}
    knobs = tiny_params()
    retrieval = dev_retrieval(corpus, knobs.embedder, 8, 1)
    rows = [corpus.page_row[page_id] for page_id in retrieval.corpus_ids]
    assert retrieval.corpus == [expected[row] for row in rows]


def test_profiles_of_images_give_images():
    content = params_file.read(FILE)
    for name in ("cpu", "gpu"):
        knobs = params_file.parse(content | {"profile": name})
        assert {knobs.base.page_content, knobs.reranker.page_content} == {"image"}


@pytest.fixture(scope="module")
def text_root(tmp_path_factory):
    """A root whose base reads texts, under the name of the image model in the tiny params."""
    root = tmp_path_factory.mktemp("root")
    write_text_model(root / "models/vlm")
    return root


def loaded(root, content):
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    return params_file.load(root / "params.yaml")


@pytest.mark.parametrize("section", ["base", "reranker", "mine.veto", "compare_models.other"])
def test_a_model_of_texts_named_for_images_is_refused_before_any_work(text_root, section):
    content = text_content()
    named = {"model": "models/vlm", "page_content": "image_text"}
    if section == "mine.veto":
        content["mine"]["veto"] |= named
    elif section.startswith("compare"):
        content["compare"], content["compare_models"] = ["other"], {"other": named}
    else:
        content["profiles"]["cpu"][section] |= named
    with pytest.raises(InputError) as error:
        loaded(text_root, content)
    message = str(error.value)
    assert "\n" not in message
    assert f"{section}.page_content is image_text" in message
    assert "'models/vlm' takes text alone" in message
    assert f"set {section}.page_content to text" in message


def test_pixels_of_texts_are_refused(text_root):
    content = text_content(evaluate={"pixel_budgets": [2048]})
    with pytest.raises(InputError, match="pixel_budgets names 2048, but base.page_content is text"):
        loaded(text_root, content)
    content = text_content()
    other = {"model": "models/vlm", "page_content": "text", "max_pixels": 4096}
    content |= {"compare": ["other"], "compare_models": {"other": other}}
    with pytest.raises(InputError, match="max_pixels is 4096, but page_content is text"):
        loaded(text_root, content)
    content = text_content(base={"page_content": "image", "max_tokens": 32})
    with pytest.raises(
        InputError, match="max_tokens is 32, which would cut the tokens of an image"
    ):
        loaded(text_root, content)


def opened(root, **base):
    knobs = params_file.parse(text_content(base=base))
    return open_embedder(knobs.base, knobs.pixels, DEVICE_SETTINGS, root)


def test_a_page_is_cut_at_the_window_that_the_param_names(text_root):
    model = opened(text_root, max_tokens=6)
    page = "revenue solar energy profit cost margin"
    np.testing.assert_allclose(
        model.encode_document([page]), model.encode_document([page[:27]]), atol=1e-6
    )
    longer = opened(text_root, max_tokens=0).encode_document([page])
    assert abs(longer - model.encode_document([page])).max() > 1e-3
    with pytest.raises(InputError, match="base.max_tokens is 65, .* has 64 positions"):
        opened(text_root, max_tokens=65)


def test_a_bag_of_words_is_trained_and_saved(tmp_path):
    """Static embeddings have no backbone of transformers, as LoRA would need."""
    write_static_model(tmp_path / "models/vlm")
    model = opened(tmp_path)
    before = model.encode_document(["revenue solar energy"])
    knobs = text_content(embedder={"evaluations": 1, "learning_rate": 0.05})
    knobs = params_file.parse(knobs)
    corpus = Corpus(write_tiny_corpus(tmp_path / "corpus").folder, "text")
    run = TrainingRun(corpus, knobs.compute, DEVICE_SETTINGS, 1, tmp_path / "checkpoints")
    curves = embedder.train_embedder(model, mined_negatives(), knobs.embedder, knobs.loss, run)
    assert set(curves["metric"]) == {"loss", "dev_ndcg@10"}
    after = model.encode_document(["revenue solar energy"])
    assert abs(after - before).max() > 1e-3
    save_model(model, tmp_path / "saved")
    again = SentenceTransformer(str(tmp_path / "saved")).encode_document(["revenue solar energy"])
    np.testing.assert_allclose(again, after, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "value", "off"),
    [("mini_batch", 2, "0"), ("lora_rank", 4, "0"), ("gradient_checkpointing", True, "false")],
)
def test_params_that_a_bag_of_words_cannot_obey_are_named(tmp_path, name, value, off):
    write_static_model(tmp_path / "models/vlm")
    knobs = params_file.parse(text_content(embedder={name: value}))
    run = TrainingRun(None, knobs.compute, DEVICE_SETTINGS, 1, tmp_path)
    with pytest.raises(InputError, match=f"embedder.{name} is {value}, .* set it to {off}$"):
        embedder.train_embedder(opened(tmp_path), None, knobs.embedder, knobs.loss, run)
    with pytest.raises(InputError, match="base.max_tokens is 6, .* set base.max_tokens to 0$"):
        opened(tmp_path, max_tokens=6)


def test_opening_names_what_a_model_does_not_take(text_root, tmp_path):
    with pytest.raises(InputError, match="takes text but no image: set base.page_content to text"):
        opened(text_root, page_content="image")
    knobs = params_file.parse(text_content(base={"page_content": "image_text"}))
    by_hand = {"image": {"method": "forward", "method_output_name": "last_hidden_state"}}
    write_vlm(tmp_path / "models/vlm")
    base = knobs.base.model_copy(update={"modality_config": by_hand, "pooling": "lasttoken"})
    for content in ("text", "image_text"):
        base = base.model_copy(update={"page_content": content})
        with pytest.raises(InputError, match=f"page_content is {content}, but .* takes image: set"):
            open_embedder(base, knobs.pixels, DEVICE_SETTINGS, tmp_path)


def installed(monkeypatch, tmp_path, weights):
    """A package by the name of the packaged model, with these bytes as its weights."""
    package = tmp_path / "packages" / packaged.PACKAGE
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "model/model.safetensors").write_bytes(weights)
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setattr(packaged, "SHA256", hashlib.sha256(b"right").hexdigest())
    return package / "model"


def test_the_packaged_model_is_told_by_its_weights(text_root, tmp_path, monkeypatch):
    content = text_content(base={"model": packaged.PACKAGED, "max_tokens": 0})
    monkeypatch.setattr(packaged, "PACKAGE", "no_such_package")
    with pytest.raises(InputError, match=r"base.model: all-MiniLM-L6-v2 is not installed: run"):
        loaded(text_root, content)
    monkeypatch.setattr(packaged, "PACKAGE", "packaged_for_a_test")
    folder = installed(monkeypatch, tmp_path, b"right")
    assert packaged.local_folder(packaged.PACKAGED, "", "base", tmp_path) == folder
    assert packaged.local_folder(packaged.PACKAGED, "main", "base", tmp_path) is None
    (folder / "model.safetensors").write_bytes(b"wrong")
    packaged._sha256.cache_clear()
    with pytest.raises(InputError) as error:
        loaded(text_root, content)
    assert "pip uninstall packaged_for_a_test" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["text", "image_text"])
def test_pages_without_text_stop_the_stage_before_the_model_is_opened(tmp_path, content):
    image = {"bytes": pixels.encode_png(blank()), "path": None}
    pages = [
        {"page_id": f"p{number}", "split": "train", "image": image, "text": text}
        for number, text in enumerate([None, ""])
    ]
    write_corpus(tmp_path / "data/corpus", pages, [], [])
    knobs = params_file.parse(text_content(base={"page_content": content, "model": "nowhere"}))
    with pytest.raises(InputError) as error:
        encode.main(knobs, tmp_path)
    assert f"base.page_content is {content}, but no page has text" in str(error.value)
    assert "prepare.ocr" in str(error.value)
    assert "\n" not in str(error.value)
    Corpus(tmp_path / "data/corpus").check_text("base")


@pytest.mark.parametrize(("mined", "columns"), [("all", 2), (2, 2), (1, 1), (0, 0)])
def test_a_row_trains_with_as_many_mined_negatives_as_the_param_says(
    folder, tmp_path, monkeypatch, mined, columns
):
    knobs = params_file.parse(text_content(embedder={"mined_negatives": mined}))
    rows = []
    monkeypatch.setattr(embedder, "embedder_trainer", lambda model, table, *_: rows.append(table))
    monkeypatch.setattr(embedder, "fit", lambda _: pd.DataFrame())
    run = TrainingRun(Corpus(folder, "text"), knobs.compute, DEVICE_SETTINGS, 1, tmp_path)
    model = mock.MagicMock(get_embedding_dimension=lambda: 32)
    embedder.train_embedder(model, mined_negatives(), knobs.embedder, knobs.loss, run)
    assert list(rows[0].columns) == [
        "query_id",
        "image_id",
        *(f"negative_{number}_id" for number in range(columns)),
    ]
    if columns:
        assert rows[0]["negative_0_id"][3] == "p04"  # the first that was mined
