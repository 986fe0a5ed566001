"""What happens at a trainer's steps: progress in the log, a score for the last one, Ctrl-C."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pagefinder.runtime import processes

log = logging.getLogger(__name__)


class Watch(TrainerCallback):  # type: ignore[misc]
    """Logs progress, and has the last step scored too: it can be the best checkpoint."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: object,
        logs: dict[str, float],
        **_: object,
    ) -> None:
        """Log loss and dev NDCG@10."""
        for key, name in (("loss", "loss"), (args.metric_for_best_model, "dev NDCG@10")):
            if key in logs:
                log.info(
                    "step %d of %d: %s %.4f", state.global_step, state.max_steps, name, logs[key]
                )

    def on_step_end(
        self, args: object, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Have the trainer score and save the last step."""
        if state.global_step >= state.max_steps:
            control.should_evaluate = control.should_save = True


class Interruption(TrainerCallback):  # type: ignore[misc]
    """Ends training after the current step, with a checkpoint, when Ctrl-C is pressed.

    A second Ctrl-C ends it at once. Interrupted while it fetches a batch, training would print the
    traceback of a loader process; inside a destructor Python would swallow the interruption. With
    several processes torchrun ends them all, and this does nothing.
    """

    def __init__(self) -> None:
        """Not interrupted yet."""
        self.interrupted = False

    def on_step_end(
        self, args: object, state: object, control: TrainerControl, **_: object
    ) -> None:
        """Save and stop if Ctrl-C was pressed during the step."""
        if self.interrupted:
            control.should_save = control.should_training_stop = True

    @contextlib.contextmanager
    def between_steps(self) -> Iterator[None]:
        """Hold Ctrl-C back within the block, and raise KeyboardInterrupt after it."""
        handler = signal.getsignal(signal.SIGINT)
        main = threading.current_thread() is threading.main_thread()
        if processes.count() > 1 or not main or handler is not signal.default_int_handler:
            yield
            return

        process = os.getpid()

        def note(number: int, frame: FrameType | None) -> None:
            if os.getpid() != process:  # a loader process, which its parent ends
                return
            log.info("interrupted: saving after this step; Ctrl-C again ends at once")
            self.interrupted = True
            signal.signal(signal.SIGINT, handler)

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, handler)
        if self.interrupted:
            raise KeyboardInterrupt
