"""Model cards of the released models: the templates beside this module, filled from the metrics."""

from pathlib import Path
from typing import Any

import jinja2


def model_card(model: str, base: str, revision: str, **content: Any) -> str:  # noqa: ANN401
    """The card of the `embedder` or the `reranker`: what it is, how to use it, what it scored.

    Args:
        model: embedder or reranker, the template's name.
        base: Model that the training started from.
        revision: Of the base on the Hub; empty for a local base, which the metadata then omit, as
            the Hub refuses a base that it does not have.
        content: What else the template shows, such as the content of a file in metrics/.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.get_template(f"{model}_card.md")
    return template.render(base=base, revision=revision, **content)
