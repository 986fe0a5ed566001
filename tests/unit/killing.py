"""Run stages in processes of their own, and kill a training at a moment: `killing.py MOMENT`."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tiny import stage_environment

import stages

# The tiny root trains six steps and writes checkpoints at steps 3 and 6.
MOMENTS = ("before the first checkpoint", "while a checkpoint is written", "during export")


def run_python(root: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python in `root` with the project on its path."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=root,
        env=stage_environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )


def run_stage(root: Path, name: str = "train_embedder") -> subprocess.CompletedProcess[str]:
    """Run a stage of dvc.yaml in `root`."""
    return run_python(root, "-m", *stages.command(name))


def kill_at(moment: str, root: Path) -> None:
    """Start train_embedder in `root`; it kills itself with SIGKILL at the moment."""
    run = run_python(root, __file__, moment)
    assert run.returncode == -signal.SIGKILL, run.stderr


def embedder_bytes(root: Path) -> dict[str, bytes]:
    """Every file of models/embedder."""
    folder = root / "models/embedder"
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_from(method: str, step: int) -> None:
    """Let a method of the trainer kill the process at a step."""
    from transformers import Trainer

    original = getattr(Trainer, method)

    def mortal(self, *arguments, **keywords):
        if self.state.global_step >= step:
            _die()
        return original(self, *arguments, **keywords)

    setattr(Trainer, method, mortal)


def _main(moment: str) -> None:
    from pagefinder.models import saving
    from stages import run, train_embedder

    if moment == MOMENTS[0]:
        _die_from("training_step", 2)
    elif moment == MOMENTS[1]:
        # Weights and optimiser are written by then, random states and trainer state are not.
        _die_from("_save_rng_state", 6)
    else:
        saving._write_video_settings = _die
    run(train_embedder.main, distributed=True)


if __name__ == "__main__":
    _main(sys.argv[1])
