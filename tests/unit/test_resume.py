"""A stage that is killed goes on where it was, to the same bits; a full disk is one clear line."""

import errno
import logging

import pytest
from killing import MOMENTS, embedder_bytes, kill_at
from tiny import FILE, write_root

import stages
from pagefinder import params_file
from pagefinder.runtime import outputs
from pagefinder.training import checkpoints
from stages import train_embedder


def test_a_kill_while_a_checkpoint_is_written_changes_no_bit(tmp_path, caplog):
    root = write_root(tmp_path / "killed")
    kill_at(MOMENTS[1], root)
    assert not (root / "models/embedder").exists()
    (folder,) = (root / ".work").glob("train_embedder-*")
    assert (folder / "checkpoint-6/model.safetensors").exists()
    assert checkpoints.newest_checkpoint(folder).name == "checkpoint-3"
    knobs = params_file.load(root / "params.yaml")
    with caplog.at_level(logging.INFO):
        train_embedder.main(knobs, root)
    assert "checkpoint-6 is torn" in caplog.text
    assert "resuming from checkpoint-3" in caplog.text
    assert not folder.exists()
    whole = write_root(tmp_path / "whole")
    train_embedder.main(knobs, whole)
    assert embedder_bytes(root) == embedder_bytes(whole)
    curves = "metrics/plots/embedder_training.csv"
    assert (root / curves).read_bytes() == (whole / curves).read_bytes()


def test_the_newest_checkpoint_that_is_whole_is_resumed(tmp_path):
    for step in (9, 10, 11):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "rng_state.pth").touch()
        (folder / "trainer_state.json").write_text("{}" if step < 11 else '{"torn')
    assert checkpoints.newest_checkpoint(tmp_path).name == "checkpoint-10"


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed"), True),
        (RuntimeError('IoError(Os { code: 28, message: "No space left on device" })'), True),
        (OSError(errno.ENOENT, "No such file"), False),
        (RuntimeError("shapes do not match"), False),
    ],
)
def test_a_full_disk_is_told_from_other_errors(error, full):
    assert outputs.is_disk_full(error) is full
    try:
        raise ValueError("while saving") from error
    except ValueError as outer:
        assert outputs.is_disk_full(outer) is full


def test_a_full_disk_ends_a_stage_in_one_line(tmp_path, caplog):
    (tmp_path / "params.yaml").write_bytes(FILE.read_bytes())

    def main(params, root):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(SystemExit, match="1"):
        stages.run(main, tmp_path)
    assert "disk of" in caplog.text
    assert "free some space" in caplog.text
    assert len(caplog.records[-1].getMessage().splitlines()) == 1


def test_another_error_is_not_taken_for_a_full_disk(tmp_path):
    (tmp_path / "params.yaml").write_bytes(FILE.read_bytes())

    def main(params, root):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stages.run(main, tmp_path)
