"""Model cards of the released models: the templates beside this module, filled from the metrics."""

from pathlib import Path
from typing import Any

import jinja2

from pagefinder.params import PageContent

# What a page gives the model, and two pages in the code of the card.
CONTENTS = {
    "image": ("image", '"page1.png", "page2.png"'),
    "text": ("text", '"Text of one page ...", "Text of another ..."'),
    "image_text": (
        "image and the text",
        '{"image": "page1.png", "text": "Its text ..."}, {"image": "page2.png", "text": "..."}',
    ),
}


def model_card(
    model: str,
    base: str,
    revision: str,
    page_content: PageContent = "image",
    **content: Any,  # noqa: ANN401
) -> str:
    """The card of the `embedder` or the `reranker`: what it is, how to use it, what it scored.

    Args:
        model: embedder or reranker, the template's name.
        base: Model that the training started from.
        revision: Of the base on the Hub; empty for a local base, which the metadata then omit, as
            the Hub refuses a base that it does not have.
        page_content: What a page gives the model.
        content: What else the template shows, such as the content of a file in metrics/.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.get_template(f"{model}_card.md")
    words, pages = CONTENTS[page_content]
    content |= {"page_content": page_content, "content": words, "pages": pages}
    return template.render(base=base, revision=revision, **content)
