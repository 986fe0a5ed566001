"""`mini_batch: auto` on a pretended card: what fits is found, and nothing is left changed."""

import random

import pandas as pd
import pytest
import torch
from tiny import tiny_params, write_tiny_corpus, write_vlm

from pagefinder.errors import InputError
from pagefinder.models.device import DeviceSettings, choose_device
from pagefinder.models.opening import open_embedder
from pagefinder.runtime import processes
from pagefinder.training import embedder, mini_batch
from pagefinder.training.arguments import TrainingRun
from pagefinder.training.batches import embedder_rows
from pagefinder.training.losses import embedder_loss


def card(largest, attempts):
    """A step that runs out of memory above `largest` examples at a time, in a batch of 64."""

    def attempt(size):
        attempts.append(size)
        if (size or 64) > largest:
            raise torch.OutOfMemoryError("CUDA out of memory")

    return attempt


@pytest.mark.parametrize(
    ("largest", "found", "tried"),
    [
        (64, 0, [0]),
        (63, 32, [0, 32]),
        (5, 4, [0, 32, 16, 8, 4]),
        (1, 1, [0, 32, 16, 8, 4, 2, 1]),
    ],
)
def test_the_largest_that_fits_is_found(largest, found, tried):
    attempts = []
    assert mini_batch.largest_mini_batch(card(largest, attempts), 64) == found
    assert attempts == tried


def test_too_small_a_card_is_said_with_the_mends():
    with pytest.raises(InputError, match="not even one .*gradient_checkpointing"):
        mini_batch.largest_mini_batch(card(0, []), 64)


def test_other_errors_are_not_taken_for_a_small_card():
    def attempt(size):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        mini_batch.largest_mini_batch(attempt, 64)


@pytest.fixture
def training(tmp_path):
    """A tiny model's trainer, its rows, its params and what it runs on."""
    write_vlm(tmp_path / "models/vlm")
    corpus = write_tiny_corpus(tmp_path / "corpus")
    params = tiny_params()
    device_settings = choose_device(params.compute)
    model = open_embedder(params.base, params.pixels, device_settings, tmp_path)
    pairs = [(f"q{i:02}", f"p{(i + 1) % 24:02}") for i in range(24)]
    negatives = pd.DataFrame(pairs, columns=["query_id", "page_id"])
    rows = embedder_rows(corpus, negatives, 1)
    run = TrainingRun(corpus, params.compute, device_settings, 1, tmp_path / "run")
    trainer = embedder.embedder_trainer(model, rows, params.embedder, params.loss, run)
    return trainer, rows, params, run


def test_the_probe_takes_real_steps_and_leaves_everything_as_it_was(training):
    trainer, rows, params, run = training
    tried = []

    def small_card(size, gather=True):
        assert not gather
        tried.append(size)
        if size in (0, 2):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return embedder_loss(trainer.model, params.embedder.dims, params.loss, size, gather=gather)

    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    states = torch.get_rng_state(), random.getstate()
    batch = params.embedder.batch
    assert embedder.fitting_mini_batch(trainer, rows, batch, small_card, run) == 1
    assert tried == [0, 2, 1]
    after = trainer.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in trainer.model.parameters())
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()


def test_auto_on_a_cpu_is_said_with_the_mend(training):
    trainer, rows, params, run = training
    knobs = params.embedder.model_copy(update={"mini_batch": "auto"})
    with pytest.raises(InputError, match="mini_batch is auto, which needs CUDA: name a number"):
        embedder.embedder_trainer(trainer.model, rows, knobs, params.loss, run)


def probed(trainer, params, size, device_settings):
    """The probe of three examples with one mini-batch only."""
    model, dims = trainer.model, params.embedder.dims
    return mini_batch.probe(
        trainer,
        [trainer.train_dataset[i] for i in range(3)],
        lambda _: embedder_loss(model, dims, params.loss, size, gather=False),
        device_settings,
    )


@pytest.mark.parametrize("size", [0, 1])
def test_both_passes_of_the_probe_compute_in_the_precision_of_training(training, size):
    """The cached loss embeds again in its backward pass, outside of any block around the loss."""
    trainer, _, params, _ = training
    device_settings = DeviceSettings("cpu", torch.bfloat16, "eager")
    layer = trainer.model[0].model.language_model.layers[0].mlp.down_proj
    seen = []
    handle = layer.register_forward_hook(lambda module, given, output: seen.append(output.dtype))
    probed(trainer, params, size, device_settings)
    handle.remove()
    columns = len(trainer.train_dataset[0])
    assert seen == [torch.bfloat16] * (columns * (2 * 3 if size else 1))
    assert "forward" not in vars(trainer.model)


@pytest.mark.parametrize(("count", "bytes_each"), [(1, 8), (2, 12)])
def test_adam_and_the_exchange_of_gradients_are_set_aside(training, monkeypatch, count, bytes_each):
    trainer, _, params, _ = training
    held = []
    monkeypatch.setattr(processes, "count", lambda: count)
    monkeypatch.setattr(processes, "smallest", lambda value: value)
    monkeypatch.setattr(
        mini_batch,
        "_room",
        lambda device, reserved: held.append(reserved) or mini_batch._same_random("cpu"),
    )
    probed(trainer, params, 0, choose_device(params.compute))
    weights = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    assert held == [bytes_each * weights]


def test_a_single_card_without_a_number_can_be_probed(monkeypatch):
    """A process alone calls its device just cuda; torch's own check of an index stays in place."""
    fractions = []
    monkeypatch.setattr(torch.cuda.memory, "_lazy_init", lambda: None)
    monkeypatch.setattr(
        torch._C, "_cuda_setMemoryFraction", lambda *args: fractions.append(args), raising=False
    )
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda card: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda card: 2**30)
    monkeypatch.setattr(torch, "empty", lambda count, dtype, device: (count, device))
    with mini_batch._room("cuda", 100):
        assert fractions == [(mini_batch.SHARE, 1)]
    assert fractions == [(mini_batch.SHARE, 1), (1.0, 1)]


def test_the_random_state_of_the_card_is_put_back(monkeypatch):
    states = {"cuda": 7}
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: states["cuda"])
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda state, device: states.update(cuda=state)
    )
    with mini_batch._same_random("cuda"):
        states["cuda"] = 8
    assert states == {"cuda": 7}
