"""Compare a server or a folder with a released model's golden cases: `python -m tools.parity URL`.

A server is asked as vLLM's documentation says: /v1/embeddings with texts or messages, /v1/rerank or
/score. Where it answers otherwise than the released model, the mistake that explains its answers is
named with the setting that mends it: prompt, tokens, pixels, length, pooling, weights,
normalisation or dimension.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pagefinder.errors import InputError
from pagefinder.layout import RELEASE
from pagefinder.runtime import running

if TYPE_CHECKING:
    from pagefinder.parity.cases import Golden
    from pagefinder.parity.diagnosis import Comparison

log = logging.getLogger("tools.parity")  # also where it runs as __main__


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare as the command line says, and print each case and what differs.

    Returns:
        The exit status: 0 where the answers are those of the released model, 1 otherwise.
    """
    parser = argparse.ArgumentParser(prog="python -m tools.parity", description=__doc__)
    parser.add_argument("other", help="address of a server, or folder of a model")
    parser.add_argument(
        "--release",
        type=Path,
        default=RELEASE / "embedder",
        help=f"folder of the released model ({RELEASE / 'embedder'}; for a reranker name its own)",
    )
    parser.add_argument("--model", default="", help="the model's name at the server")
    parser.add_argument(
        "--key-variable", default="", help="environment variable that holds the server's key"
    )
    parser.add_argument(
        "--request", default="{}", help="more parameters of each request: '{\"dimensions\": 48}'"
    )
    options = parser.parse_args(arguments)
    running.configure_logging()
    try:
        golden, comparison = _compared(options)
    except InputError as error:
        log.error("error: %s", error)
        return 1
    sys.stdout.write(report(golden, comparison))
    return 1 if comparison.findings else 0


def _compared(options: argparse.Namespace) -> "tuple[Golden, Comparison]":
    """The golden cases of the release, and the other side's answers compared with them."""
    try:
        extra: Any = json.loads(options.request)
    except ValueError as error:
        raise InputError(f"--request {options.request!r} is no JSON: {error}") from error
    if not isinstance(extra, dict):
        raise InputError(f"--request {options.request!r} is no JSON object")
    variable = options.key_variable
    if variable and not os.environ.get(variable):
        raise InputError(
            f"--key-variable is {variable}, but the environment has no such variable: "
            f"export {variable}=..."
        )
    # Imported only here: it takes seconds, and a wrong argument should be named at once.
    from pagefinder.parity import asking, cases, diagnosis
    from pagefinder.parity import running as models

    golden = cases.read_golden(options.release)
    if Path(options.other).is_dir():
        answers = asking.Answers(*models.answers_of_folder(Path(options.other), golden))
    else:
        answers = asking.ask(
            options.other, golden, options.model, extra, os.environ.get(variable, "")
        )
    return golden, diagnosis.compare(golden, answers, models.open_model(options.release))


def report(golden: "Golden", comparison: "Comparison") -> str:
    """A line for each case and one for each thing that differs."""
    measure = "logit off by" if golden.reranks else "cosine"
    lines = []
    for case, distance in zip(golden.cases, comparison.distances, strict=True):
        number = distance if golden.reranks else 1 - distance
        mark = "" if distance <= golden.tolerance else "  differs"
        lines.append(f"{case.name:<18} {measure} {number:8.5f}{mark}")
    lines.append(f"ranks of the pages: {'the same' if comparison.same_ranks else 'others'}")
    for finding in comparison.findings:
        lines.append(f"{finding.aspect} ({', '.join(finding.kinds)}): {finding.what}")
        lines.append(f"  mend: {finding.mend}")
    if not comparison.findings:
        lines.append(f"The same model, to the tolerance of {golden.tolerance:g}.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
