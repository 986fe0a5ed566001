"""What the model libraries print: nothing that a user of the pipeline cannot act on."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from transformers.utils import logging as transformers_logging

# Reading or writing weights shows a bar only after so many seconds, and only on a terminal: small
# models take none, and in a log each bar is a line.
BAR_AFTER = 5.0


def silence_notes() -> None:
    """Leave out bars of what takes no time, and the note that a saved prompt is in use.

    Warnings and errors, and the bars of downloads, stay.
    """
    transformers_logging.set_tqdm_hook(_late_bar)
    logging.getLogger("sentence_transformers.base.model").addFilter(_tells_more_than_the_prompt)


def _late_bar(
    make: Callable[..., Any], arguments: Sequence[Any], keywords: Mapping[str, Any]
) -> Any:  # noqa: ANN401  # a bar, or what stands in for one
    """The bar that a library asks for, shown by the rule of BAR_AFTER."""
    return make(
        *arguments, **{**keywords, "delay": BAR_AFTER, "disable": keywords.get("disable") or None}
    )


def _tells_more_than_the_prompt(record: logging.LogRecord) -> bool:
    """Whether a record is another one than the note on the default prompt: params.yaml names it."""
    return not record.getMessage().startswith("Default prompt name is set to")
