"""Import modules faster: none of the objects that they make is garbage, and all of them stay.

Python would look for garbage among them again and again, a fifth of the seconds that Sentence
Transformers takes to import, and once more when the process ends.
"""

import contextlib
import gc
from collections.abc import Iterator


def begin() -> None:
    """Do not look for garbage until `end`."""
    gc.disable()


def end() -> None:
    """Look for garbage again, from now on without what exists; nothing happens without `begin`."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def fast() -> Iterator[None]:
    """Import modules within the block."""
    begin()
    try:
        yield
    finally:
        end()
