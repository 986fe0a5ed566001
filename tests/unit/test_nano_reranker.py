"""The reranker's base model: its tokens, its labels, and the folder that CrossEncoder opens."""

import random
from pathlib import Path

import pytest
import torch
from PIL import Image
from sentence_transformers import CrossEncoder

from nano import matching
from nano.architecture import build_model
from nano.matching_losses import packed_forward, pair_scores, see
from nano.reranker import pair_tokenizer, reranker_config, reranker_processor, write_reranker
from pagefinder.sources.generated.drawing import new_canvas, write


@pytest.fixture
def sheets() -> list[matching.Sheet]:
    """Two pages of random words."""
    rng = random.Random(5)
    return [matching.word_sheet(rng, 30) for _ in range(2)]


def test_pieces_are_pairs_from_the_start_of_each_word() -> None:
    tokens = pair_tokenizer().tokenize(" Revenue of Q3 2024: 14.2% no")
    joined = [token.replace("\u0120", "_") for token in tokens]
    assert joined[:4] == ["_re", "ve", "nu", "e"]
    assert joined[4:10] == ["_of", "_q", "3", "_20", "24", ":"]
    assert joined[-1] == "no"


def test_pieces_say_where_they_stand_in_their_word() -> None:
    found = matching.pieces(pair_tokenizer(), "revenue up")
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
    page = matching.sheet(canvas)
    batch = matching.make_batch([page], [("revenue", 1.0), ("avenue", 0.0)], pair_tokenizer())
    cell = matching.FIRST_CELL + 1 * 8
    assert batch.targets[0, 1].nonzero().flatten().tolist() == [cell + 9 // 4]
    assert batch.targets[0, 3].nonzero().flatten().tolist() == [cell + 13 // 4]
    assert batch.targets[1, 1].nonzero().flatten().tolist() == [0]
    assert batch.found[0].max() == 1 and batch.found[1].max() == 0
    read = matching.windows([page]).view(48, 2, matching.WINDOW)[8 + 2, 1]
    assert "".join(matching.CHARACTERS[code] for code in read) == "     reve"


def test_patches_equal_those_of_the_processor(sheets: list[matching.Sheet]) -> None:
    images = [Image.fromarray(page.pixels) for page in sheets]
    expected = reranker_processor().image_processor(images=images, return_tensors="pt")
    torch.testing.assert_close(matching.patches(sheets), expected["pixel_values"])


def test_a_wrong_figure_differs_in_one_digit_and_nothing_else() -> None:
    rng = random.Random(2)
    asked = "Where does rainfall stand at 61.4 mm for Q1 2004?"
    for miss in {matching.wrong_figure(asked, rng) for _ in range(20)}:
        changed = [(a, b) for a, b in zip(asked, miss, strict=True) if a != b]
        assert len(changed) == 1
        assert all(one.isdigit() for one in changed[0])
    assert matching.wrong_figure("Snow at Otter Lake in Q1", rng) == "Snow at Otter Lake in Q1"


def test_layers_that_come_in_later_are_seen(sheets: list[matching.Sheet]) -> None:
    processor = reranker_processor()
    model = build_model(reranker_config(processor.tokenizer)).eval()
    batch = matching.make_batch(sheets, [("wages", 0.0)] * 2, processor.tokenizer)
    language = model.model.language_model
    every, counts = language.layers, []
    with torch.no_grad():
        for layers in (2, 4):
            language.layers = every[:layers]
            counts.append(len(packed_forward(model, see(model, sheets), batch)[0]))
    assert counts == [2, 4]


def test_packed_scores_equal_those_of_the_released_folder(
    sheets: list[matching.Sheet], tmp_path: Path
) -> None:
    processor = reranker_processor()
    model = build_model(reranker_config(processor.tokenizer))
    model = model.to(torch.bfloat16).float().eval()
    queries = [("What is the revenue in Q3?", 1.0), ("wages", 0.0)] * 2
    batch = matching.make_batch(sheets, queries, processor.tokenizer)
    with torch.no_grad():
        states, _ = packed_forward(model, see(model, sheets), batch)
        packed = pair_scores(model, states[-1], batch)
    write_reranker(tmp_path / "reranker", model, processor)
    opened = CrossEncoder(
        str(tmp_path / "reranker"), device="cpu", model_kwargs={"dtype": torch.float32}
    )
    images = [Image.fromarray(sheets[number // 2].pixels) for number in range(4)]
    pairs = [(text, image) for (text, _), image in zip(queries, images, strict=True)]
    alone = opened.predict(pairs, activation_fn=torch.nn.Identity(), convert_to_tensor=True)
    torch.testing.assert_close(packed, alone, rtol=1e-3, atol=1e-3)
