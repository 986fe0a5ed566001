"""What benchmarks.gpu counts, and that no row keeps the others from being measured."""

import time

import pytest
import torch
import transformers
from tiny import blank
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen3VLProcessor

from benchmarks import gpu, gpu_gradients, gpu_ground, gpu_model, gpu_rows
from nano import architecture
from nano.tokenizer import train_tokenizer
from pagefinder.models.device import choose_device
from pagefinder.models.opening import open_embedder
from tools.synthetic import synthetic_corpus, synthetic_rows

SIZE = gpu_model.SIZES["tiny"]


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    """The tiny size with attention as explicit products, which a counter of products sees."""
    root = tmp_path_factory.mktemp("root")
    gpu_model.write_model(root / "model", SIZE, "cpu")
    base = gpu_model.settings(SIZE, "cpu")
    device_settings = choose_device(base.compute.model_copy(update={"attention": "eager"}))
    return open_embedder(base.base, base.pixels, device_settings, root)


@pytest.mark.parametrize(
    "inputs", [[blank(96, 64), blank(96, 64)], ["What does page 0 say?"]], ids=["pages", "query"]
)
def test_flops_are_those_that_are_done(embedder, inputs):
    features = embedder.preprocess(inputs, prompt="Represent this.")
    config = embedder[0].model.config
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        embedder(dict(features))
    found = gpu_model.forward_flops(config, features, causal=False)
    # The counter also sees the products that make the angles of positions.
    assert found == pytest.approx(counter.get_total_flops(), rel=2e-3)
    assert gpu_model.forward_flops(config, features) < found


def test_padding_is_no_work(embedder):
    config = embedder[0].model.config
    one, other = "What does page 0 say?", "What does page 0 say about the growth of all users?"
    both = gpu_model.forward_flops(config, embedder.preprocess([one, other]))
    alone = [gpu_model.forward_flops(config, embedder.preprocess([text])) for text in (one, other)]
    assert both == pytest.approx(sum(alone))


def test_a_page_and_a_query_of_the_full_size_cost_what_they_should():
    """By hand: 2 FLOPs for each weight and token or patch, plus attention."""
    text, vision = 28 * (2048 * (2 * 2048 + 2 * 1024) + 3 * 2048 * 6144), 24 * 12 * 1024**2
    config = transformers.Qwen3VLConfig(
        text_config={
            k: v for k, v in gpu_model.SIZES["2b"]["text"].items() if k != "mrope_section"
        },
        vision_config=gpu_model.SIZES["2b"]["vision"] | {"out_hidden_size": 2048},
    )
    grid, tokens = torch.tensor([[1, 44, 32]]), 372
    features = {"attention_mask": torch.ones(1, tokens), "image_grid_thw": grid}
    expected = 2 * tokens * text + 2 * 1408 * vision
    found = gpu_model.forward_flops(config, features)
    assert expected < found < 1.25 * expected


def failing():
    yield {"rows/s": 1.0}
    raise RuntimeError("CUDA error:\n  misaligned address")


def hanging():
    yield {"rows/s": 2.0}
    while True:
        time.sleep(0.01)


def test_a_job_that_fails_or_hangs_ends_in_a_row_that_says_so(monkeypatch):
    assert list(gpu.attempt("a", failing, 10)) == [
        {"what": "a", "rows/s": 1.0},
        {"what": "a", "note": "failed: RuntimeError: CUDA error: misaligned address"},
    ]
    monkeypatch.setitem(gpu.LONGER, "b", 0.3)
    started = time.monotonic()
    assert list(gpu.attempt("b", hanging, 10)) == [
        {"what": "b", "rows/s": 2.0},
        {"what": "b", "note": "failed: OutOfTimeError: took too long"},
    ]
    assert time.monotonic() - started < 5
    assert list(gpu.attempt("c", failing, 0)) == [{"what": "c", "note": "left out: out of time"}]


def test_no_library_takes_being_late_for_an_error_of_its_own():
    with pytest.raises(gpu.OutOfTimeError), gpu.limit(0.05):
        while True:
            try:
                time.sleep(0.01)
            except Exception:
                pass


def test_rows_are_printed_and_written_one_by_one(tmp_path, capsys, monkeypatch):
    seen = []

    def second():
        seen.append((capsys.readouterr().out, (tmp_path / "t.csv").read_text()))
        yield {"note": "done"}

    monkeypatch.setattr(
        gpu_rows, "jobs", lambda ground: {"one": failing, "two": second, "x": failing}
    )
    table = gpu.measure("tiny", "cpu", 1, only="o", csv=tmp_path / "t.csv")
    printed, written = seen[0]
    assert "misaligned" in printed
    assert "misaligned" in written
    assert table["what"].tolist() == ["bf16 matmul", "one", "one", "two"]
    gpu.measure("tiny", "cpu", 1, only="two", csv=tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text().count("what,") == 1


def test_wrong_gradients_are_seen():
    right = {"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([1.0, 0.0])}
    assert gpu_gradients.compare(right, right)[:2] == pytest.approx((0, 1))
    wrong = {"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([0.0, 1.0])}
    error, cosine, name = gpu_gradients.compare(right, wrong)
    assert (error, cosine, name) == (pytest.approx((2 / 26) ** 0.5), pytest.approx(0), "b")


def test_a_processor_that_wants_a_video_part_gets_one(monkeypatch):
    """As where torchvision is installed; here both the wish and the part are made up."""
    parts = ["image_processor", "tokenizer", "video_processor"]
    made = []
    monkeypatch.setattr(Qwen3VLProcessor, "get_attributes", classmethod(lambda cls: parts))
    monkeypatch.setattr(
        Qwen3VLProcessor,
        "check_argument_for_proper_class",
        lambda self, name, part: made.append(part),
    )
    monkeypatch.setattr(
        architecture.transformers, "Qwen3VLVideoProcessor", lambda **settings: settings
    )
    tokenizer = train_tokenizer(["a page"], 320)
    processor = architecture.build_processor(tokenizer)
    assert processor.video_processor["patch_size"] == architecture.PATCH
    assert len(made) == 3
    assert None not in made


def test_a_measurement_says_its_mini_batch_and_loading(tmp_path):
    gpu_model.write_model(tmp_path / "model", SIZE, "cpu")
    base = gpu_model.settings(SIZE, "cpu")
    corpus = synthetic_corpus(tmp_path / "corpus", base.pixels, 8, 1)
    ground = gpu_ground.Ground(base, tmp_path, corpus, synthetic_rows(8, 1), SIZE, 1e12)
    (row,) = gpu_rows.train(ground, "ours", mini_batch=2)
    assert row["mini-batch"] == "2"
    assert gpu_rows.way_of_ours(ground) == {"mini_batch": 2, "gradient_checkpointing": True}
    assert row["loading"] > 0
    assert row["min/10k"] == pytest.approx(10_000 / row["rows/s"] / 60)
