"""Checks that the code obeys a knob of params.yaml, and what it is like when the code does not.

A check gets params in which one knob has another value, and asserts what that value must bring
about. `test_knobs` runs it twice: as it is, where it must hold, and with the knob `ignored`, where
it must fail. So no check can pass whatever the code does.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydantic
from tiny import tiny_content

from pagefinder import params_file
from pagefinder.params import Params

Check = Callable[[Params, Any, Path], None]  # params, the knob's value, a scratch folder
# By key: value, check. A profile's key has no name of the profile before it.
CHECKS: dict[str, tuple[Any, Check]] = {}


def obeys(key: str, value: object) -> Callable[[Check], Check]:
    """Register a check of a knob with a value other than the committed one."""

    def register(check: Check) -> Check:
        assert key not in CHECKS, key
        CHECKS[key] = (value, check)
        return check

    return register


def knobs(section: type[pydantic.BaseModel] = Params, prefix: str = "") -> Iterator[str]:
    """Every knob that a stage can read: the keys of params.yaml without the profile's name."""
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, pydantic.BaseModel):
            yield from knobs(inner, f"{prefix}{name}.")
        else:
            yield prefix + name


def params_with(key: str, value: object) -> Params:
    """The small params with another value of one knob."""
    content = tiny_content()
    content["compare_models"] = {"other": {"model": "models/other"}}
    section: Any = content
    *path, name = key.split(".")
    if (path or [name])[0] not in content:
        section = content["profiles"]["cpu"]
    for part in path:
        section = section[part]
    assert section.get(name) != value, f"{key} is {value!r} anyway"
    section[name] = value
    if key == "queries.writer.url":  # a server has a model
        section["model"] = "vlm"
    if key == "base.max_tokens":  # of an image nothing may be cut
        section["page_content"] = "text"
    return params_file.parse(content)


@contextlib.contextmanager
def ignored(key: str) -> Iterator[None]:
    """Within the block, whoever reads the knob gets the committed value."""
    *path, name = key.split(".")
    section: type[pydantic.BaseModel] = Params
    committed: Any = params_file.parse(tiny_content())
    for part in path:
        section, committed = section.model_fields[part].annotation, getattr(committed, part)
    value = getattr(committed, name)
    # A property of the class hides the attribute of every instance.
    setattr(section, name, property(lambda _self: value))
    try:
        yield
    finally:
        delattr(section, name)
