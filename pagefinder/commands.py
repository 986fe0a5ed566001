"""What the commands that index and search share."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from pagefinder.errors import InputError
from pagefinder.runtime import interrupts, outputs, running


def exit_status(work: Callable[[], int], log: logging.Logger, again: str = "same command") -> int:
    """Do a command's work, a user's mistake or Ctrl-C ending in one line of its log.

    Args:
        work: Returns the exit status.
        log: The command's.
        again: What goes on after Ctrl-C.
    """
    running.configure_logging()
    try:
        return work()
    except InputError as error:
        log.error("error: %s", error)
        return 1
    except BrokenPipeError:  # whoever reads the output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        mend = outputs.writing_problem(error, Path())
        if not mend:
            raise
        log.error("error: %s", mend)
        return 1
    except KeyboardInterrupt:
        log.error("interrupted: what is indexed stays, and the %s goes on from here", again)
        return interrupts.EXIT_CODE
