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
    """A step that runs out of memory above `largest` examples at a time, in a batch of 64.

    Without gradient checkpointing an example takes as much as eight with it.
    """

    def attempt(way):
        attempts.append(way)
        examples = (way.mini_batch or 64) * (1 if way.checkpointing else 8)
        if examples > largest:
            raise torch.OutOfMemoryError("CUDA out of memory")

    return attempt


def test_ways_are_tried_in_the_order_of_their_cost():
    tries = mini_batch.ways(64, checkpointing=True)
    order = [(way.mini_batch, "c" if way.checkpointing else "") for way in tries]
    assert order == [
        *[(0, ""), (0, "c"), (32, ""), (16, ""), (8, ""), (4, "")],
        *[(32, "c"), (16, "c"), (8, "c"), (2, ""), (4, "c"), (2, "c"), (1, ""), (1, "c")],
    ]
    assert [way.mini_batch for way in mini_batch.ways(64, checkpointing=False)] == [
        *[0, 32, 16, 8, 4, 2, 1]
    ]
    assert [way.mini_batch for way in mini_batch.ways(3, checkpointing=False)] == [0, 1]


@pytest.mark.parametrize(
    ("largest", "found", "tried"),
    [
        (512, (0, False), 1),
        (511, (0, True), 2),  # the whole batch with checkpointing
        (63, (4, False), 6),  # cached without checkpointing, before any cached with it
        (31, (16, True), 8),
        (1, (1, True), 14),
    ],
)
def test_the_cheapest_that_fits_is_found(largest, found, tried):
    attempts = []
    tries = mini_batch.ways(64, checkpointing=True)
    assert mini_batch.first_that_fits(card(largest, attempts), tries) == found
    assert attempts == tries[:tried]


def test_processes_take_what_fits_all_of_them(monkeypatch):
    """The other process cannot hold the first two."""
    votes = iter([0, 0, 1])
    monkeypatch.setattr(processes, "smallest", lambda fits: min(fits, next(votes)))
    tries = mini_batch.ways(64, checkpointing=True)
    assert mini_batch.first_that_fits(card(512, []), tries) == tries[2]


def test_too_small_a_card_is_said_with_the_mends():
    with pytest.raises(InputError, match="not even one .*gradient_checkpointing"):
        mini_batch.first_that_fits(card(0, []), mini_batch.ways(64, checkpointing=True))


def test_other_errors_are_not_taken_for_a_small_card():
    def attempt(way):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        mini_batch.first_that_fits(attempt, mini_batch.ways(64, checkpointing=True))


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
    knobs = params.embedder.model_copy(update={"gradient_checkpointing": True})
    mini_batch.set_checkpointing(trainer.model, on=True)
    trainer.model.eval()
    assert embedder.fitting_mini_batch(trainer, rows, knobs, small_card, run) == 1
    # The whole batch of four and halves of it, each without checkpointing and with it; then ones.
    assert tried == [0, 0, 2, 2, 1]
    assert not trainer.model[0].model.is_activation_checkpointing
    after = trainer.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in trainer.model.parameters())
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    assert not trainer.model.training


def test_the_probe_takes_the_rows_with_the_largest_pages(training, monkeypatch):
    trainer, rows, params, run = training
    largest = rows.loc[7, "negative_0_id"]
    run.corpus.pages.loc[run.corpus.page_row[largest], "width"] *= 10
    probed = []

    def probe(_, examples, *args, **keywords):
        probed.extend(example["query"] for example in examples)
        return mini_batch.Way(1, False)

    monkeypatch.setattr(embedder, "probe", probe)
    embedder.fitting_mini_batch(trainer, rows, params.embedder, lambda _: None, run)
    holding = rows[(rows["image_id"] == largest) | (rows["negative_0_id"] == largest)]
    assert set(probed[: len(holding)]) == {run.corpus.query_text[q] for q in holding["query_id"]}


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
        checkpointing=False,
    )


def test_a_failed_try_leaves_no_graph_behind(training):
    """A model writes its outputs into its inputs: the next try would start on a fuller card."""
    trainer, _, params, run = training
    seen = []

    def make_loss(size):
        def loss(features, labels):
            seen.append(["token_embeddings" in column for column in features])
            if not size:
                trainer.model(features[0])
                raise torch.OutOfMemoryError("CUDA out of memory")
            return embedder_loss(trainer.model, params.embedder.dims, params.loss, size)(
                features, labels
            )

        return loss

    examples = [trainer.train_dataset[i] for i in range(2)]
    way = mini_batch.probe(trainer, examples, make_loss, run.device_settings, checkpointing=False)
    assert way == (1, False)
    assert len(seen) == 2
    assert not any(map(any, seen))


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
