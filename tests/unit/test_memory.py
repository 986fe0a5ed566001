"""`mini_batch: auto` on a pretended card: what fits is found, and nothing is left changed."""

import random

import pandas as pd
import pytest
import torch
from tiny import tiny_params, write_tiny_corpus, write_vlm

from pagefinder.errors import InputError
from pagefinder.models.device import DeviceSettings, choose_device
from pagefinder.models.opening import open_embedder
from pagefinder.runtime import processes as processes_
from pagefinder.training import batches, embedder
from pagefinder.training import mini_batch as mini_batch_


def card(largest, attempts):
    """A step that runs out of memory above `largest` examples at a time, in a batch of 64."""

    def attempt(mini_batch):
        attempts.append(mini_batch)
        if (mini_batch or 64) > largest:
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
    assert mini_batch_.largest_mini_batch(card(largest, attempts), 64) == found
    assert attempts == tried


def test_too_small_a_card_is_said_with_the_mends():
    with pytest.raises(InputError, match="not even one .*gradient_checkpointing"):
        mini_batch_.largest_mini_batch(card(0, []), 64)


def test_other_errors_are_not_taken_for_a_small_card():
    def attempt(mini_batch):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        mini_batch_.largest_mini_batch(attempt, 64)


@pytest.fixture
def trainer(tmp_path):
    """The trainer of a tiny model with its corpus and rows."""
    write_vlm(tmp_path / "models/vlm")
    corpus = write_tiny_corpus(tmp_path / "corpus")
    params = tiny_params()
    device_settings = choose_device(params.compute)
    model = open_embedder(params.base, params.pixels, device_settings, tmp_path)
    pairs = [(f"q{i:02}", f"p{(i + 1) % 24:02}") for i in range(24)]
    negatives = pd.DataFrame(pairs, columns=["query_id", "page_id"])
    rows = batches.embedder_rows(corpus, negatives, 1)
    arguments = (
        params.embedder,
        params.loss,
        params.compute,
        device_settings,
        1,
        tmp_path / "run",
        None,
    )
    return embedder.embedder_trainer(model, corpus, rows, *arguments), corpus, rows, params


def test_the_probe_takes_real_steps_and_leaves_everything_as_it_was(trainer, monkeypatch):
    trainer, corpus, rows, params = trainer
    original, tried = embedder._matryoshka, []

    def small_card(model, knobs, loss, mini_batch, gather=True):
        assert not gather
        tried.append(mini_batch)
        if mini_batch in (0, 2):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(model, knobs, loss, mini_batch, gather)

    monkeypatch.setattr(embedder, "_matryoshka", small_card)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    states = torch.get_rng_state(), random.getstate()
    device_settings = choose_device(params.compute)
    found = embedder._fitting_mini_batch(
        trainer, corpus, rows, params.embedder, params.loss, device_settings
    )
    assert found == 1
    assert tried == [0, 2, 1]
    after = trainer.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in trainer.model.parameters())
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()


def test_auto_on_a_cpu_is_said_with_the_mend(tmp_path, trainer):
    trainer, corpus, rows, params = trainer
    knobs = params.embedder.model_copy(update={"mini_batch": "auto"})
    device_settings = choose_device(params.compute)
    with pytest.raises(InputError, match="mini_batch is auto, which needs CUDA: name a number"):
        embedder.embedder_trainer(
            trainer.model, corpus, rows, knobs, params.loss, params.compute, device_settings, 1,
            tmp_path, None,
        )  # fmt: skip


def probed(trainer, params, mini_batch, device_settings):
    """The probe of three examples with one mini-batch only."""
    model, loss = trainer.model, params.loss
    return mini_batch_.probe(
        model,
        [trainer.train_dataset[i] for i in range(3)],
        lambda _: embedder._matryoshka(model, params.embedder, loss, mini_batch, gather=False),
        trainer.data_collator,
        trainer.collect_features,
        device_settings,
    )


@pytest.mark.parametrize("mini_batch", [0, 1])
def test_both_passes_of_the_probe_compute_in_the_precision_of_training(trainer, mini_batch):
    """The cached loss embeds again in its backward pass, outside of any block around the loss."""
    trainer, _, _, params = trainer
    device_settings = DeviceSettings("cpu", torch.bfloat16, "eager")
    layer = trainer.model[0].model.language_model.layers[0].mlp.down_proj
    seen = []
    handle = layer.register_forward_hook(lambda module, given, output: seen.append(output.dtype))
    probed(trainer, params, mini_batch, device_settings)
    handle.remove()
    columns = len(trainer.train_dataset[0])
    assert seen == [torch.bfloat16] * (columns * (2 * 3 if mini_batch else 1))
    assert "forward" not in vars(trainer.model)


@pytest.mark.parametrize(("processes", "bytes_each"), [(1, 8), (2, 12)])
def test_adam_and_the_exchange_of_gradients_are_set_aside(
    trainer, monkeypatch, processes, bytes_each
):
    trainer, _, _, params = trainer
    held = []
    monkeypatch.setattr(processes_, "count", lambda: processes)
    monkeypatch.setattr(processes_, "smallest", lambda value: value)
    monkeypatch.setattr(
        mini_batch_,
        "_room",
        lambda device, reserved: held.append(reserved) or mini_batch_._same_random("cpu"),
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
    with mini_batch_._room("cuda", 100):
        assert fractions == [(mini_batch_.SHARE, 1)]
    assert fractions == [(mini_batch_.SHARE, 1), (1.0, 1)]


def test_the_random_state_of_the_card_is_put_back(monkeypatch):
    states = {"cuda": 7}
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: states["cuda"])
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda state, device: states.update(cuda=state)
    )
    with mini_batch_._same_random("cuda"):
        states["cuda"] = 8
    assert states == {"cuda": 7}
