"""The bundled base: its corpus is not the default's, and its checkpoint opens as any other."""

import hashlib
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sentence_transformers import SentenceTransformer

from nano import architecture, documents, embedder_batches, train_embedder
from nano.sheets import Sheet, patches
from nano.tokenizer import pair_tokenizer
from pagefinder.sources.generated import drawing, invented

BUNDLED = Path("nano/models/embedder")


@pytest.fixture(scope="module")
def processor() -> architecture.Qwen3VLProcessor:
    return architecture.build_processor(train_embedder.embedder_tokenizer())


@pytest.fixture(scope="module")
def model(processor: architecture.Qwen3VLProcessor) -> torch.nn.Module:
    return architecture.build_model(architecture.build_config(processor.tokenizer)).eval()


def content_words(texts: list[str]) -> set[str]:
    return {word for text in texts for word in re.findall(r"[a-z0-9]+", text.lower())}


def test_the_corpus_knows_none_of_the_default() -> None:
    words = documents.WORDS
    own = content_words(
        [*words["measures"], *words["places"], *words["nouns"], *words["reasons"]]
        + [alias for aliases in words["reasons"].values() for alias in aliases]
        + [alias for aliases in words["measures"].values() for alias in aliases]
        + [part for parts in words["groups"].values() for part in parts]
    )
    metrics = content_words(list(invented.METRICS))
    names = content_words([*invented.FIRST_NAMES, *invented.LAST_NAMES])
    assert not own & names
    assert not own & metrics


def test_the_corpus_is_drawn_from_its_seed() -> None:
    first, again, other = (documents.family(random.Random(seed), 4) for seed in (1, 1, 2))
    assert [sheet.canvas.image.tobytes() for sheet in first] == [
        sheet.canvas.image.tobytes() for sheet in again
    ]
    assert [sheet.questions for sheet in first] == [sheet.questions for sheet in again]
    assert first[0].questions != other[0].questions


def test_the_corpus_is_the_one_that_the_committed_bases_read() -> None:
    digest = hashlib.sha256()
    for seed in range(20):
        rng = random.Random(seed)
        for sheet in [documents.word_sheet(rng, 20), *documents.family(rng, 4, 0.35)]:
            digest.update(f"{sheet.canvas.text}\n{sheet.questions}\n".encode())
    # The order of each list in words.json decides what a seed draws.
    assert digest.hexdigest()[:16] == "1593b6b00a34471f"


def test_the_corpus_holds_thousands_of_words() -> None:
    rng = random.Random(0)
    seen = content_words([documents.word_sheet(rng, 30).canvas.text for _ in range(300)])
    assert len(seen) > 3000


def test_patches_are_those_of_the_processor(processor: architecture.Qwen3VLProcessor) -> None:
    sheet = documents.word_sheet(random.Random(0), 30)
    theirs = processor.image_processor(sheet.canvas.image, return_tensors="pt")
    ours = patches([sheet])
    both_frames = theirs["pixel_values"].view(-1, 3, 2, 256)
    assert theirs["image_grid_thw"].tolist() == [[1, 12, 16]]
    for frame in (0, 1):
        torch.testing.assert_close(ours.view(-1, 3, 256), both_frames[:, :, frame])


def test_labels_say_what_a_visual_token_shows(processor: architecture.Qwen3VLProcessor) -> None:
    canvas = drawing.new_canvas()
    drawing.write(canvas, 2, 4, "otter 7")
    cells = np.array([[[ord(c) - 32 for c in row] for row in canvas.glyphs]])
    # Row 2 is the upper half of the second row of visual tokens, column 4 its second token.
    codes = embedder_batches.tokens_of_cells(cells)[8 + 1]
    assert "".join(chr(code + 32) for code in codes) == "otte    "
    shares = embedder_batches.piece_shares([Sheet(canvas)], processor.tokenizer)
    seven = processor.tokenizer.convert_tokens_to_ids("\u01207")
    assert shares[8 + 2, seven] > 0
    torch.testing.assert_close(shares.sum(1), torch.ones(48))


def test_the_faster_forward_computes_the_same(
    model: torch.nn.Module, processor: architecture.Qwen3VLProcessor
) -> None:
    rng = random.Random(0)
    sheets = [documents.word_sheet(rng, 20) for _ in range(2)]
    images = [sheet.canvas.image for sheet in sheets]
    pixels = processor.image_processor(images, return_tensors="pt")["pixel_values"]
    shared = embedder_batches.page_inputs(model.model, processor, 2)
    # A configuration of its own: the attention that speed_up chooses stands in it.
    fast = architecture.build_model(architecture.build_config(processor.tokenizer)).eval()
    fast.load_state_dict(model.state_dict())
    train_embedder.speed_up(fast.model)
    with torch.no_grad():
        plain = model.model(pixel_values=pixels, **shared).last_hidden_state
        faster = fast.model(pixel_values=patches(sheets), **shared).last_hidden_state
    torch.testing.assert_close(faster, plain, atol=1e-4, rtol=1e-4)


def test_an_untrained_question_is_the_sum_of_its_words(
    processor: architecture.Qwen3VLProcessor,
) -> None:
    tokenizer = processor.tokenizer
    fresh = architecture.build_model(architecture.build_config(tokenizer)).eval()
    train_embedder.start_as_average(fresh, tokenizer)
    embeddings = fresh.get_input_embeddings().weight.detach()
    frame = embedder_batches.chat_frame(processor, "query")
    content = tokenizer(" otter on the ridge", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        states = fresh.model(input_ids=torch.tensor([frame[0] + content + frame[1]]))
    pooled = states.last_hidden_state[0, -1]
    likeness = torch.nn.functional.cosine_similarity(pooled[None], embeddings)
    assert likeness[content].median() > likeness.quantile(0.99)


def test_training_sees_what_the_library_encodes(
    model: torch.nn.Module, processor: architecture.Qwen3VLProcessor, tmp_path: Path
) -> None:
    architecture.write_checkpoint(tmp_path / "model", model, processor, "embedder")
    opened = SentenceTransformer(str(tmp_path / "model"), model_kwargs={"dtype": torch.float32})
    rounded = architecture.build_model(model.config).eval()
    rounded.load_state_dict({k: v.bfloat16().float() for k, v in model.state_dict().items()})
    sheet = documents.word_sheet(random.Random(0), 20)
    frame = embedder_batches.chat_frame(processor, "query")
    batch = embedder_batches.build_batch([sheet], random.Random(0), processor.tokenizer, frame)
    shared = embedder_batches.page_inputs(rounded.model, processor, 1)
    pixels = processor.image_processor(sheet.canvas.image, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        page = rounded.model(pixel_values=pixels, **shared).last_hidden_state[:, -1]
        asked = rounded.model(input_ids=batch.question_ids).last_hidden_state
    question = asked[torch.arange(len(asked)), batch.question_ends]
    questions = random.Random(0).sample(sheet.questions, embedder_batches.QUESTIONS)
    for ours, theirs in (
        (page, opened.encode_document([sheet.canvas.image], convert_to_tensor=True)),
        (question, opened.encode_query(questions, convert_to_tensor=True)),
    ):
        ours = torch.nn.functional.normalize(ours, dim=1)
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["embedder", "reranker"])
def test_a_fresh_checkpoint_has_the_files_of_the_bundled_one(name: str, tmp_path: Path) -> None:
    tokenizer = {
        "embedder": train_embedder.embedder_tokenizer,
        "reranker": lambda: pair_tokenizer(padding_side="left"),
    }[name]()
    processor = architecture.build_processor(tokenizer, name)
    model = architecture.build_model(architecture.build_config(tokenizer, name))
    architecture.write_checkpoint(tmp_path / name, model, processor, name)
    bundled = Path("nano/models") / name
    files = {path.relative_to(bundled) for path in bundled.rglob("*") if path.is_file()}
    assert files == {
        path.relative_to(tmp_path / name) for path in tmp_path.rglob("*") if path.is_file()
    }
    for file in files - {Path("model.safetensors"), Path("config.json")}:
        assert (tmp_path / name / file).read_bytes() == (bundled / file).read_bytes(), file
    fresh, committed = (
        json.loads((folder / "config.json").read_text()) | {"transformers_version": ""}
        for folder in (tmp_path / name, bundled)
    )
    assert fresh == committed


def test_the_bundled_embedder_opens() -> None:
    opened = SentenceTransformer(str(BUNDLED), model_kwargs={"dtype": torch.float32})
    assert sum(weight.numel() for weight in opened.parameters()) < 5.5e6
    assert (BUNDLED / "model.safetensors").stat().st_size < 6e6
    assert opened.get_embedding_dimension() == 192
    assert opened[1].pooling_mode == "lasttoken"
    vectors = opened.encode_document([Image.new("RGB", (256, 192), "white")])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
