"""What servers do wrong, done on purpose to the model at hand, to see which mistake explains them.

Each mistake names the aspect in which a server differs and the setting that mends it.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sentence_transformers.sentence_transformer.modules import Pooling

from pagefinder.parity.cases import Case, Golden
from pagefinder.parity.running import PAIR, QUERY, Input, Model, image_processor, vectors

# A chat template that shows nothing but what messages hold, as where a server has no template.
BARE = (
    "{%- for message in messages -%}{%- if message.content is string -%}{{ message.content }}"
    "{%- else -%}{%- for part in message.content -%}{%- if part.type == 'image' -%}"
    "<|vision_start|><|image_pad|><|vision_end|>{%- elif 'text' in part -%}{{ part.text }}"
    "{%- endif -%}{%- endfor -%}{%- endif -%}{%- endfor -%}"
)
BUDGETS = (1e3, 0.25, 0.5, 2.0, 4.0)  # pixel budgets that are tried, as shares of the right one
LENGTHS = (32, 64, 128, 256, 384, 512, 1024)  # numbers of tokens behind which a text may be cut
POOLINGS = ("lasttoken", "mean", "cls", "max")


@dataclass(frozen=True)
class Mistake:
    """A mistake that a server may make.

    Attributes:
        aspect: prompt, tokens, pixels, length, pooling or weights.
        what: What the server does, in a clause.
        mend: The setting that mends it.
        run: The vectors that it brings about of a model and inputs with their prompts.
    """

    aspect: str
    what: str
    mend: str
    run: Callable[[Model, Sequence[Input], Sequence[str]], np.ndarray]


def mistakes(
    golden: Golden, cases: Sequence[Case], server_tokens: Sequence[int | None]
) -> list[Mistake]:
    """The mistakes that can explain other vectors of cases of one kind, the simplest first.

    `server_tokens` are the numbers of tokens that the server counted, None where it told none.
    """
    kind, settings = cases[0].kind, golden.settings
    found = [*_of_prompt(kind, settings)]
    if settings["chat_template"]:
        found += _of_template(kind)
    if settings["pixels"] and kind != QUERY:
        found += [_budget(area, settings) for area in _budgets(golden, cases, server_tokens)]
    found += [_length(n, settings) for n in _lengths(cases, server_tokens, settings)]
    if max(case.tokens for case in cases) == settings["max_tokens"]:
        found.append(_cut_in_front(settings))
    if settings.get("pooling"):
        found += [_pooled(mode, settings) for mode in POOLINGS if mode != settings["pooling"]]
    found.append(_without_norm())
    if all(case.base for case in cases):
        stored = {case.name: case.base for case in cases}
        mend = "serve the released folder itself; merge the adapter, or give it by `--lora-modules`"
        what = "it serves the model before tuning: other weights, or a lost adapter"
        found.append(
            Mistake(
                "weights",
                what,
                mend,
                lambda _model, inputs, _prompts: np.array([stored[each.name] for each in inputs]),
            )
        )
    return found


def _of_prompt(kind: str, settings: Mapping[str, Any]) -> Iterator[Mistake]:
    prompts = settings["prompts"]
    own = prompts[kind]
    place = "as the first message, of the role system" if settings["chat_template"] else "first"
    mend = f"send the prompt {own!r} {place}"
    if not own:
        mend = "send no prompt, and set no default prompt in the server"
    if own:
        yield Mistake("prompt", "it leaves the prompt out", mend, _with_prompt(""))
    for name, prompt in prompts.items():
        if name != kind and prompt and prompt != own:
            what = f"it puts the prompt of a {name} before a {kind}"
            yield Mistake("prompt", what, mend, _with_prompt(prompt))


def _with_prompt(prompt: str) -> Callable[..., np.ndarray]:
    return lambda model, inputs, prompts: vectors(model, inputs, [prompt] * len(inputs))


def _of_template(kind: str) -> Iterator[Mistake]:
    template = "serve with `--chat-template` and the template of the released folder"
    yield Mistake(
        "prompt", "it renders no chat template", f"{template}, and send `messages`", _bare_template
    )
    what = "it ends the prompt otherwise: with or without the opening of an answer"
    place = "`chat_template_kwargs` of the request" if kind == PAIR else "the request"
    mend = f"set `add_generation_prompt` in {place} as the released folder does"
    yield Mistake("prompt", what, mend, _other_generation_prompt)
    if kind == PAIR:
        what = "it takes the question for the page and the page for the question"
        yield Mistake("prompt", what, template, _swapped)


def _bare_template(model: Model, inputs: Sequence[Input], prompts: Sequence[str]) -> np.ndarray:
    with _attribute(model[0].processor, "chat_template", BARE), _template_keywords(model, {}):
        return vectors(model, inputs, prompts)


def _other_generation_prompt(
    model: Model, inputs: Sequence[Input], prompts: Sequence[str]
) -> np.ndarray:
    keywords = dict((model[0].processing_kwargs or {}).get("chat_template", {}))
    keywords["add_generation_prompt"] = not keywords.get("add_generation_prompt", False)
    with _template_keywords(model, keywords):
        return vectors(model, inputs, prompts)


def _swapped(model: Model, inputs: Sequence[Input], prompts: Sequence[str]) -> np.ndarray:
    rows = []
    for each, prompt in zip(inputs, prompts, strict=True):
        features = model.preprocess([(each.page, each.query)], prompt=prompt)
        with torch.inference_mode():
            rows.append(model(features)["scores"].float().reshape(-1).numpy())
    return np.stack(rows)


def _budget(area: float, settings: Mapping[str, Any]) -> Mistake:
    right = settings["pixels"]
    pixels = int(min(area, 2**31))
    what = f"it shows the model pages of up to {pixels:,} pixels, not {right['max']:,}"
    if area > 100 * right["max"]:
        what = f"it does not shrink pages to {right['max']:,} pixels"
    mend = (
        f"resize pages to {right['max']} pixels before sending, or serve with "
        f'`--mm-processor-kwargs \'{{"size": {{"shortest_edge": {right["min"]}, '
        f'"longest_edge": {right["max"]}}}}}\'`'
    )

    def run(model: Model, inputs: Sequence[Input], prompts: Sequence[str]) -> np.ndarray:
        processor = image_processor(model)
        size = type(processor.size)(shortest_edge=min(right["min"], pixels), longest_edge=pixels)
        with _attribute(processor, "size", size):
            return vectors(model, inputs, prompts)

    return Mistake("pixels", what, mend, run)


def _budgets(
    golden: Golden, cases: Sequence[Case], server_tokens: Sequence[int | None]
) -> list[float]:
    """Pixel budgets to try: multiples, and what the server's numbers of tokens mean."""
    pixels = golden.settings["pixels"]
    grid = pixels["multiple"] ** 2
    most = pixels["max"] // grid  # visual tokens of a page above the budget, at most
    extra = [
        count - case.tokens
        for case, count in zip(cases, server_tokens, strict=True)
        if count is not None and case.image and count != case.tokens
    ]
    meant = [(most + tokens + spare) * grid for tokens in dict.fromkeys(extra) for spare in (0, 3)]
    return [*(share * pixels["max"] for share in BUDGETS), *(area for area in meant if area > 0)]


def _length(tokens: int, settings: Mapping[str, Any]) -> Mistake:
    right = settings["max_tokens"]
    what = f"it cuts texts behind {tokens} tokens, not {right}"

    def run(model: Model, inputs: Sequence[Input], prompts: Sequence[str]) -> np.ndarray:
        before = model.max_seq_length
        model.max_seq_length = tokens
        try:
            return vectors(model, inputs, prompts)
        finally:
            model.max_seq_length = before

    return Mistake("length", what, _length_mend(right), run)


def _length_mend(tokens: int) -> str:
    return (
        f"serve with `--max-model-len` of at least {tokens}, and send `truncate_prompt_tokens`: "
        f"{tokens} with `truncation_side`: right"
    )


def _cut_in_front(settings: Mapping[str, Any]) -> Mistake:
    def run(model: Model, inputs: Sequence[Input], prompts: Sequence[str]) -> np.ndarray:
        with _attribute(model[0].tokenizer, "truncation_side", "left"):
            return vectors(model, inputs, prompts)

    what = "it cuts texts that are too long at their beginning, not at their end"
    return Mistake("length", what, _length_mend(settings["max_tokens"]), run)


def _lengths(
    cases: Sequence[Case], server_tokens: Sequence[int | None], settings: Mapping[str, Any]
) -> list[int]:
    """Numbers of tokens to try as the place of a cut: the server's own first."""
    if settings["max_tokens"] is None:  # the model cannot cut texts
        return []
    longest = max(case.tokens for case in cases)
    told = [count for count in server_tokens if count]
    candidates = [max(told)] if told and max(told) != longest else []
    candidates += [n for n in LENGTHS if n < longest or longest == settings["max_tokens"]]
    return [n for n in dict.fromkeys(candidates) if n != settings["max_tokens"]]


def _pooled(mode: str, settings: Mapping[str, Any]) -> Mistake:
    names = {"lasttoken": "LAST", "mean": "MEAN", "cls": "CLS"}
    right = settings["pooling"]
    pooler = f'{{"pooling_type": "{names.get(right, right)}"}}'
    mend = (
        f"serve with `--pooler-config '{pooler}'` (vLLM) or `--pooling "
        f"{ {'lasttoken': 'last-token'}.get(right, right) }` (Text Embeddings Inference)"
    )

    def run(model: Model, inputs: Sequence[Input], prompts: Sequence[str]) -> np.ndarray:
        place = next(n for n, module in enumerate(model) if isinstance(module, Pooling))
        before = model[place]
        model[place] = Pooling(before.get_embedding_dimension(), pooling_mode=mode)
        try:
            return vectors(model, inputs, prompts)
        finally:
            model[place] = before

    return Mistake("pooling", f"it pools by {mode}, not by {right}", mend, run)


def _without_norm() -> Mistake:
    what = "it reads the last layer's output before the model's final norm"
    mend = "take `last_hidden_state` of the model, not the last of `hidden_states`"
    return Mistake("pooling", what, mend, _before_final_norm)


def _before_final_norm(model: Model, inputs: Sequence[Input], prompts: Sequence[str]) -> np.ndarray:
    backbone = getattr(model[0], "model", None)  # static embeddings have none
    parts = [backbone, getattr(backbone, "language_model", None), getattr(backbone, "model", None)]
    parts.append(getattr(parts[-1], "language_model", None))
    owner = next((part for part in parts if hasattr(part, "norm")), None)
    if owner is None:
        return vectors(model, inputs, prompts)
    with _attribute(owner, "norm", torch.nn.Identity()):
        return vectors(model, inputs, prompts)


@contextlib.contextmanager
def _attribute(owner: Any, name: str, value: object) -> Iterator[None]:  # noqa: ANN401  # any part of a model
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextlib.contextmanager
def _template_keywords(model: Model, keywords: dict[str, Any]) -> Iterator[None]:
    """Within the block the chat template is rendered with other keywords."""
    before = model[0].processing_kwargs
    rest = {key: value for key, value in (before or {}).items() if key != "chat_template"}
    with _attribute(model[0], "processing_kwargs", rest | {"chat_template": keywords}):
        yield
