"""What the commands that index and search share."""

import logging
from collections.abc import Callable

from pagefinder.errors import InputError
from pagefinder.runtime import interrupts, running


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
    except KeyboardInterrupt:
        log.error("interrupted: what is indexed stays, and the %s goes on from here", again)
        return interrupts.EXIT_CODE
