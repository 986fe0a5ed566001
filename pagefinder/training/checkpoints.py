"""Checkpoints of a training: which one to resume from, and the weights that were best on dev.

A checkpoint holds weights, optimiser and random states, several times the bytes of the weights. So
the best weights are written apart, in folders of their own.
"""

import json
import logging
from pathlib import Path

from pagefinder.runtime import outputs, processes

log = logging.getLogger(__name__)


def _newest_first(folder: Path) -> list[Path]:
    """The checkpoints of a folder, newest first, torn ones included."""
    return sorted(folder.glob("checkpoint-*"), key=lambda path: -int(path.name.split("-")[1]))


def _is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end.

    The trainer writes trainer_state.json last. Then only random states of other processes can be
    missing.
    """
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return len(list(checkpoint.glob("rng_state*.pth"))) >= processes.count()


def best_weights(folder: Path, step: int) -> Path:
    """The folder of the weights after a step that was the best on dev so far."""
    return folder / f"best-{step}"


def remove_superseded(folder: Path, step: int) -> None:
    """Remove best weights that are neither those of `step` nor the newest checkpoint's best.

    A training that goes on from the checkpoint may score worse than before: on a GPU steps do not
    repeat to the bit. Then what was the best at the checkpoint still is.
    """
    needed = {best_weights(folder, step)}
    checkpoint = newest_checkpoint(folder)
    if checkpoint:
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        needed.add(best_weights(folder, state["best_global_step"] or step))
    for path in set(folder.glob("best-*")) - needed:
        outputs.remove(path)


def remove_torn(folder: Path) -> None:
    """Remove checkpoints that a kill or a full disk left unfinished.

    The trainer keeps two, and would count an unfinished one among them.
    """
    for path in _newest_first(folder):
        if not _is_whole(path):
            log.warning("%s is torn: it is removed, the one before it used", path)
            outputs.remove(path)


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end; None without one."""
    return next(filter(_is_whole, _newest_first(folder)), None)
