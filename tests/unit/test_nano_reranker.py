"""The reranker's base model: its tokens, its labels, and the folder that CrossEncoder opens."""

import random
from pathlib import Path

import pytest
import torch
from sentence_transformers import CrossEncoder
from transformers import Qwen3VLProcessor

from nano import reranker_batches, reranker_pages
from nano.architecture import build_config, build_model, build_processor, write_checkpoint
from nano.reranker_losses import both_frames, packed_forward, pair_scores, see
from nano.sheets import Sheet
from nano.tokenizer import pair_tokenizer
from pagefinder.sources.generated.drawing import new_canvas, write


@pytest.fixture(scope="module")
def processor() -> Qwen3VLProcessor:
    return build_processor(pair_tokenizer("left"), "reranker")


@pytest.fixture
def sheets() -> list[Sheet]:
    """Two pages of random words."""
    rng = random.Random(5)
    return [reranker_pages.scattered_words(rng, 30) for _ in range(2)]


def test_pieces_are_pairs_from_the_start_of_each_word() -> None:
    tokens = pair_tokenizer("left").tokenize(" Revenue of Q3 2024: 14.2% no")
    joined = [token.replace("\u0120", "_") for token in tokens]
    assert joined[:4] == ["_re", "ve", "nu", "e"]
    assert joined[4:10] == ["_of", "_q", "3", "_20", "24", ":"]
    assert joined[-1] == "no"


def test_pieces_say_where_they_stand_in_their_word() -> None:
    found = reranker_batches.pieces(pair_tokenizer("left"), "revenue up")
    assert [(text, shift, whole) for _, text, shift, whole in found] == [
        (" re", 1, ""),
        (" reve", 3, ""),
        ("revenu", 4, ""),
        ("venue", 4, " revenue "),
        (" up", 1, " up "),
    ]


def test_labels_follow_the_page() -> None:
    canvas = new_canvas()
    write(canvas, 3, 9, "Revenue")
    page = Sheet(canvas)
    batch = reranker_batches.make_batch(
        [page], [("revenue", 1.0), ("avenue", 0.0)], pair_tokenizer("left")
    )
    cell = reranker_batches.FIRST_VISUAL + 1 * 8
    assert batch.targets[0, 1].nonzero().flatten().tolist() == [cell + 9 // 4]
    assert batch.targets[0, 3].nonzero().flatten().tolist() == [cell + 13 // 4]
    assert batch.targets[1, 1].nonzero().flatten().tolist() == [0]
    assert batch.words[0].max() == 1 and batch.words[1].max() == 0
    read = reranker_batches.windows([page]).view(48, 2, reranker_batches.WINDOW)[8 + 2, 1]
    assert "".join(reranker_batches.CHARACTERS[code] for code in read) == "     reve"


def test_patches_equal_those_of_the_processor(
    sheets: list[Sheet], processor: Qwen3VLProcessor
) -> None:
    images = [page.canvas.image for page in sheets]
    expected = processor.image_processor(images=images, return_tensors="pt")
    torch.testing.assert_close(both_frames(sheets), expected["pixel_values"])


def test_a_wrong_figure_differs_in_one_digit_and_nothing_else() -> None:
    rng = random.Random(2)
    asked = "Where does rainfall stand at 61.4 mm for Q1 2004?"
    for miss in {reranker_pages.wrong_figure(asked, rng) for _ in range(20)}:
        changed = [(a, b) for a, b in zip(asked, miss, strict=True) if a != b]
        assert len(changed) == 1
        assert all(one.isdigit() for one in changed[0])
    assert (
        reranker_pages.wrong_figure("Snow at Otter Lake in Q1", rng) == "Snow at Otter Lake in Q1"
    )


def test_layers_that_come_in_later_are_seen(
    sheets: list[Sheet], processor: Qwen3VLProcessor
) -> None:
    model = build_model(build_config(processor.tokenizer, "reranker")).eval()
    batch = reranker_batches.make_batch(sheets, [("wages", 0.0)] * 2, processor.tokenizer)
    language = model.model.language_model
    every, counts = language.layers, []
    with torch.no_grad():
        for layers in (2, 4):
            language.layers = every[:layers]
            counts.append(len(packed_forward(model, see(model, sheets), batch)[0]))
    assert counts == [2, 4]


def test_packed_scores_equal_those_of_the_released_folder(
    sheets: list[Sheet], processor: Qwen3VLProcessor, tmp_path: Path
) -> None:
    model = build_model(build_config(processor.tokenizer, "reranker"))
    model = model.to(torch.bfloat16).float().eval()
    queries = [("What is the revenue in Q3?", 1.0), ("wages", 0.0)] * 2
    batch = reranker_batches.make_batch(sheets, queries, processor.tokenizer)
    with torch.no_grad():
        states, _ = packed_forward(model, see(model, sheets), batch)
        packed = pair_scores(model, states[-1], batch)
    write_checkpoint(tmp_path / "reranker", model, processor, "reranker")
    opened = CrossEncoder(
        str(tmp_path / "reranker"), device="cpu", model_kwargs={"dtype": torch.float32}
    )
    images = [sheets[number // 2].canvas.image for number in range(4)]
    pairs = [(text, image) for (text, _), image in zip(queries, images, strict=True)]
    alone = opened.predict(pairs, activation_fn=torch.nn.Identity(), convert_to_tensor=True)
    torch.testing.assert_close(packed, alone, rtol=1e-3, atol=1e-3)
