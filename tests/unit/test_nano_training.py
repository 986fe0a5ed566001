"""Training of the bundled base models: a stopped run goes on to the same bits, and is written."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml

from nano import reranker_pages, train_embedder, train_reranker, training
from nano.architecture import write_checkpoint
from nano.sheets import Sheet
from tools import dependencies

STAGES = (
    train_reranker.Stage("read", 2, 0, 1e-3),
    train_reranker.Stage("match", 2, 2, 2e-3),
    train_reranker.Stage("pairs", 3, 4, 1.5e-3, questions=0.5),
)


class Stopped(Exception):
    """What a stopped run ends with."""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Steps of two pages, of which the embedder's first two only read, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for knob in ("READING", "READING_PAGES", "PAGES"):
        monkeypatch.setattr(train_embedder, knob, 2)
    monkeypatch.setattr(reranker_pages, "FAMILIES", 2)
    monkeypatch.setattr(reranker_pages, "FAMILY_SIZE", 1)
    monkeypatch.setattr(train_reranker, "word_sheets", two_sheets)
    monkeypatch.setattr(train_reranker, "SPELLING_STEPS", 2)
    yield
    torch.set_num_threads(threads)


def two_sheets(rng: random.Random) -> list[Sheet]:
    return [reranker_pages.scattered_words(rng, 20) for _ in range(2)]


def stop_and_go(
    train: Callable[[], training.Learner], stops: int, monkeypatch: pytest.MonkeyPatch
) -> training.Learner:
    """Stop a training right after each of its first checkpoints, and start it again."""
    save = training.save

    def save_and_stop(*arguments: object) -> None:
        save(*arguments)
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(training, "CHECKPOINT_EVERY", 1)
        patch.setattr(training, "save", save_and_stop)
        for _ in range(stops):
            with pytest.raises(Stopped):
                train()
    return train()


def assert_same(one: training.Learner, other: training.Learner) -> None:
    for part in ("model", "heads"):
        weights, others = (getattr(learner, part).state_dict() for learner in (one, other))
        torch.testing.assert_close(weights, others, rtol=0, atol=0)


def test_a_stopped_embedder_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_embedder.train(4, tmp_path / "whole")
    stopped = stop_and_go(lambda: train_embedder.train(4, tmp_path / "stopped"), 3, monkeypatch)
    assert_same(whole, stopped)
    # Training chooses an attention of its own, which must not hinder writing.
    write_checkpoint(tmp_path / "model", stopped.model, stopped.processor, "embedder")
    assert (tmp_path / "model/model.safetensors").exists()


def test_a_stopped_reranker_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_reranker.train(STAGES, tmp_path / "whole")
    stopped = stop_and_go(
        lambda: train_reranker.train(STAGES, tmp_path / "stopped"), 6, monkeypatch
    )
    assert_same(whole, stopped)
    assert whole.rng.getstate() == stopped.rng.getstate()


def test_each_stage_trains_its_part_alone(tmp_path: Path) -> None:
    train_reranker.train(STAGES, tmp_path)
    match, pairs = (torch.load(tmp_path / f"{name}.pt")["model"] for name in ("1_match", "2_pairs"))
    changed = {name for name in pairs if not torch.equal(match[name], pairs[name])}
    assert any("language_model.layers.3." in name for name in changed)
    assert not any("visual" in name for name in changed)


@pytest.mark.parametrize("name", ["embedder", "reranker"])
def test_dvc_lists_what_the_training_imports(name: str) -> None:
    listed = yaml.safe_load(Path("nano/dvc.yaml").read_text())["stages"][name]["deps"]
    code = {file for file in listed if file.endswith(".py")}
    imported = dependencies.needed(Path(), f"nano/train_{name}.py")
    assert code == {file for file in imported if dependencies.decides_results(Path(), file)}
    assert set(listed) - code == {f"nano/static/{name}", "nano/words.json"}
