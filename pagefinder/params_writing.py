"""The section `queries` of params.yaml: who writes questions from pages, and who judges them."""

from typing import Annotated, Literal

import pydantic
from pydantic import Field

from pagefinder.params_base import Count, Positive, Section

WrittenFilter = Literal[
    "language", "stands_alone", "not_copied", "round_trip", "answerable", "distinct"
]


class ChatModel(Section):
    """A model on a server that speaks OpenAI's chat API; empty `url`: none."""

    url: Annotated[str, Field(pattern=r"^(https?://\S+)?$")]
    model: str
    key_variable: Annotated[str, Field(pattern=r"^([A-Z_][A-Z0-9_]*)?$")]

    @pydantic.field_validator("url")
    @classmethod
    def _ends_before_the_path(cls, url: str) -> str:
        if url.rstrip("/").endswith("/chat/completions"):
            raise ValueError("leave out /chat/completions, which the client adds")
        return url


class Writer(ChatModel):
    """The vision-language model that writes questions from pages, and what it is asked for."""

    per_page: Positive
    pages: Count
    languages: tuple[str, ...]
    kinds: tuple[
        Literal["factual", "comparison", "table", "figure", "multi_sentence", "keyword"], ...
    ]
    temperature: Annotated[float, Field(ge=0, le=2)]
    max_pixels: Annotated[int, Field(ge=1024)]
    max_tokens: Positive
    max_requests: Positive
    concurrency: Positive
    timeout: Annotated[float, Field(gt=0)]
    retries: Count
    filters: tuple[WrittenFilter, ...]

    @pydantic.field_validator("languages", "kinds")
    @classmethod
    def _named_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not names or len(set(names)) < len(names):
            raise ValueError("name one at least, and each once")
        return names

    @pydantic.model_validator(mode="after")
    def _has_a_model(self) -> "Writer":
        if self.url and not self.model:
            raise ValueError(f"url is {self.url}, but model is empty: name the one it serves")
        return self


class Judge(ChatModel):
    """The model that judges written questions; without `url` it is on the writer's server."""


class Queries(Section):
    """Questions that a model writes from the pages, beside those that the source gives."""

    writer: Writer
    judge: Judge
    eval: Literal["outline", "written", "both"]
