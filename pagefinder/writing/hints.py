"""What a person can do about the words in which servers refuse a request or give up on it."""

import re

from pagefinder.params_writing import Writer

TOO_LONG = re.compile(
    r"context (length|size|window)|(too|as) (long|large)|exceeds? the (available|max)",
    re.IGNORECASE,
)
# The first that fits; {name} is a value of queries.writer.
_HINTS = (
    (
        TOO_LONG,
        "give the server a longer context, or lower queries.writer.max_pixels or max_tokens",
    ),
    (
        re.compile(r"timed? ?out", re.IGNORECASE),
        "raise queries.writer.timeout ({timeout:g} seconds), or lower concurrency ({concurrency}), "
        "as a request also waits at the server",
    ),
    (
        re.compile(r"\b429\b|rate.?limit|quota", re.IGNORECASE),
        "lower queries.writer.concurrency ({concurrency}), or raise retries ({retries})",
    ),
    (
        re.compile(r"certificate", re.IGNORECASE),
        "set SSL_CERT_FILE in the environment to the file of the server's certificate",
    ),
    (
        re.compile(
            r"mmproj|multi-?modal|image.{0,30}not support|support.{0,30}image|image_url", re.I
        ),
        "name a model that sees pictures",
    ),
    (
        re.compile(r"wrong version number|record layer|SSL", re.IGNORECASE),
        "does the url begin with http where the server speaks https, or the other way round?",
    ),
)


def hint(reason: str, settings: Writer) -> str:
    """What to do where a server gave `reason`; empty where nothing is known.

    Args:
        reason: Words of the server, or of the connection to it.
        settings: Of the writer, whose values are named.
    """
    text = next((text for pattern, text in _HINTS if pattern.search(reason)), "")
    return text.format(**vars(settings))
