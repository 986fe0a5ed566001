"""Models to compare with: their own prompts and pixel budgets, and dual encoders like CLIP."""

import json

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from tiny import tiny_content, write_tiny_corpus, write_vlm
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers import models as tokenizer_models
from transformers import CLIPConfig, CLIPModel, CLIPProcessor, PreTrainedTokenizerFast
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from pagefinder import params, params_file
from pagefinder.data.corpus import Corpus
from pagefinder.errors import InputError
from pagefinder.models.device import choose_device
from pagefinder.models.opening import open_embedder
from stages import encode

WORDS = ["<pad>", "<s>", "</s>", "<unk>", "where", "is", "revenue", "plant", "bank", "find"]


def write_clip(folder) -> None:
    """A CLIP checkpoint of random weights that sees 32 x 32 pixels."""
    names = {word: number for number, word in enumerate(WORDS)}
    raw = Tokenizer(tokenizer_models.WordLevel(names, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, model_max_length=16, **marks)
    tower = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    text = tower | ids | {"vocab_size": len(WORDS), "max_position_embeddings": 16}
    vision = tower | {"image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24))
    model.save_pretrained(folder)
    square = {"height": 32, "width": 32}
    images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=square)
    CLIPProcessor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("root")
    write_vlm(folder / "models/vlm")
    write_clip(folder / "models/clip")
    write_tiny_corpus(folder / "data/corpus")
    return folder


def settings(**other: object) -> params.Params:
    content = tiny_content()
    content["compare"], content["compare_models"] = ["other"], {"other": other}
    return params_file.parse(content)


def vectors(root, knobs) -> tuple[np.ndarray, np.ndarray]:
    encode.main(knobs, root, "other")
    folder = root / "data/compare/other"
    return np.load(folder / "pages.npy"), np.load(folder / "queries.npy")


def test_a_compared_model_has_its_own_prompts_and_pixels(root):
    """The base's own weights under other prompts and half the pixels: other vectors than its."""
    content = tiny_content()
    base = content["profiles"]["cpu"]["base"]
    same = {key: base[key] for key in ("model", "pooling", "query_prompt", "page_prompt")}
    encode.main(params_file.parse(content), root)
    stored = [np.load(root / f"data/embeddings/base/{name}.npy") for name in ("pages", "queries")]
    pages, queries = vectors(root, settings(**same))
    np.testing.assert_array_equal(pages, stored[0])
    np.testing.assert_array_equal(queries, stored[1])
    asked, _ = vectors(root, settings(**same | {"page_prompt": "Read this."}))
    assert np.abs(asked - pages).max() > 0.01
    _, asked = vectors(root, settings(**same | {"query_prompt": "Find it."}))
    assert np.abs(asked - queries).max() > 0.01
    coarse, unchanged = vectors(root, settings(**same | {"max_pixels": 64 * 32}))
    assert np.abs(coarse - pages).max() > 0.01
    np.testing.assert_array_equal(unchanged, queries)
    about = json.loads((root / "data/compare/other/about.json").read_text())
    knobs = params_file.parse(content)
    model = open_embedder(knobs.base, knobs.pixels, choose_device(knobs.compute), root)
    assert about == {"parameters": sum(weight.numel() for weight in model.parameters())}


def test_a_compared_model_may_have_another_grid(root, monkeypatch, caplog):
    """As Qwen2.5-VL, which merges two patches of 14 pixels, beside Qwen3-VL, with its 16."""
    from nano import architecture

    monkeypatch.setattr(architecture, "PATCH", 12)
    write_vlm(root / "models/other_grid")
    caplog.set_level("INFO")
    pages, _ = vectors(root, settings(model="models/other_grid", pooling="lasttoken"))
    assert pages.shape == (40, 192)
    assert "resized from the grid of 32 pixels to 24" in caplog.text
    # By hand: within 96 x 64 pixels 96 x 48 fits, which is 4 x 2 tokens; on a grid of 32, 3 x 2.
    assert "visual tokens of the first page (96x64): 8" in caplog.text
    with pytest.raises(InputError, match="set pixels.multiple to the model's patch size"):
        encode.main(params_file.parse(tiny_content(base={"model": "models/other_grid"})), root)


def test_a_larger_budget_than_the_stored_pages_have_is_warned_about(root, caplog):
    base = tiny_content()["profiles"]["cpu"]["base"]
    vectors(root, settings(model=base["model"], pooling=base["pooling"], max_pixels=10**6))
    assert "raise pixels.max" in caplog.text


@pytest.mark.parametrize("saved", [False, True])
def test_a_dual_encoder_sees_pages_as_it_was_made_to(root, tmp_path, saved):
    """No pixel budget reaches its processor, and it needs no pooling: as when plainly opened."""
    plain = SentenceTransformer(str(root / "models/clip"), device="cpu")
    if saved:
        plain.save_pretrained(str(root / "models/clip_saved"))
    knobs = settings(model=f"models/clip{'_saved' if saved else ''}")
    pages, queries = vectors(root, knobs)
    corpus = Corpus(root / "data/corpus")
    expected = plain.encode(corpus.images(range(40)), normalize_embeddings=True)
    np.testing.assert_allclose(pages, expected, atol=1e-5)
    texts = corpus.queries["text"].tolist()
    np.testing.assert_allclose(queries, plain.encode(texts, normalize_embeddings=True), atol=1e-5)
    with pytest.raises(InputError, match="other.max_pixels is 2048, but its processor resizes"):
        vectors(root, settings(model="models/clip", max_pixels=2048))


def test_a_name_that_is_not_compared_is_refused(root):
    with pytest.raises(InputError, match="'third' is not among compare: other"):
        encode.main(settings(model="models/vlm"), root, "third")
