"""The sections of params.yaml as frozen, checked models: the place that knows which knobs exist.

Names and ranges are checked before anything is loaded. What a knob is for stands next to its value
in params.yaml. `params_file` reads the file.
"""

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from pagefinder.params_base import Count, Positive, Section, Share
from pagefinder.params_writing import Queries

Rate = Annotated[float, Field(gt=0, le=1)]
FileName = Annotated[str, Field(pattern=r"^[^/\\]*$")]
PageContent = Literal["image", "text", "image_text"]


class Prepare(Section):
    """Knobs of `prepare`."""

    dev_share: Annotated[float, Field(gt=0, lt=1)]
    max_quarantined: Share
    near_duplicate_distance: Annotated[int, Field(ge=0, le=64)]
    near_duplicate_pixels: Annotated[float, Field(ge=0, le=255)]
    ocr: Literal["none", "auto"]


class Loss(Section):
    """Knobs of the embedder's loss."""

    temperature: Annotated[float, Field(gt=0)]
    matryoshka_dims_per_step: Annotated[int, Field(ge=-1)]


class RerankerModel(Section):
    """A cross-encoder of query and page."""

    model: str
    revision: str
    page_content: PageContent
    instruction: str


class Veto(RerankerModel):
    """Who drops negatives that may be answers: a cross-encoder, the judge of `queries.judge`."""

    max_score: Share
    judge: bool


class Mine(Section):
    """Rules of hard-negative mining, in the order in which they apply."""

    negatives: Count
    range_min: Count
    range_max: Positive
    relative_margin: Share
    max_score: Annotated[float, Field(ge=-1, le=1)]
    near_duplicates: bool
    same_document_pages: Annotated[int, Field(ge=-1)]
    sampling: Literal["top", "random", "weighted"]
    given: Literal["use", "mix", "ignore"]
    veto: Veto

    @pydantic.model_validator(mode="after")
    def _wide_enough(self) -> "Mine":
        if self.range_min + self.negatives > self.range_max:
            raise ValueError(
                f"range_max {self.range_max} is below range_min {self.range_min} plus negatives "
                f"{self.negatives}: widen the window"
            )
        return self


class Evaluate(Section):
    """Knobs of evaluation; none of them changes a model."""

    tolerance: Share
    distractors: Literal["none", "all"]
    bootstrap: Positive
    rescore: Positive
    text_baseline: bool
    text_embedder: bool
    pixel_budgets: tuple[Positive, ...]


class Generated(Section):
    """Size of the default source, whose pages and queries the pipeline draws itself."""

    companies: Annotated[int, Field(ge=2, le=160)]
    years: Annotated[int, Field(ge=2, le=24)]
    eval_share: Annotated[float, Field(gt=0, lt=1)]
    eval_queries: Annotated[int, Field(ge=1, le=12)]


class Hub(Section):
    """A dataset of the Hub, or a local folder or file that `load_dataset` opens."""

    path: str
    revision: str
    train: str
    eval: str
    query: str
    image: str
    negatives: str
    eval_share: Share
    allow_urls: bool
    allow_private_urls: bool


class Table(Section):
    """Rows with a query, a page image and negatives, in a file of the folder `input`."""

    file: FileName
    query: str
    image: str
    negatives: str
    eval: FileName
    eval_share: Share
    allow_urls: bool
    allow_private_urls: bool


class Pdf(Section):
    """A folder of PDF files."""

    eval_share: Share
    dpi: Annotated[int, Field(ge=36, le=600)]


class Data(Section):
    """Where pages and queries come from: `source` names one of the sections below."""

    source: str
    generated: Generated
    hub: Hub
    table: Table
    pdf: Pdf

    @pydantic.field_validator("source")
    @classmethod
    def _has_a_section(cls, source: str) -> str:
        sources = [name for name in cls.model_fields if name != "source"]
        if source not in sources:
            raise ValueError(f"name one of {', '.join(sources)}")
        return source


class Pixels(Section):
    """The pixel budget of a page: bounds of its area and the multiple its sides are rounded to."""

    min: Positive
    max: Positive
    multiple: Positive

    @pydantic.model_validator(mode="after")
    def _ordered(self) -> "Pixels":
        if self.max < max(self.min, self.multiple**2):
            raise ValueError(f"max {self.max} is below min {self.min} or one {self.multiple}² tile")
        return self


class Compute(Section):
    """What the models run on."""

    device: Literal["cpu", "cuda", "auto"]
    precision: Literal["fp32", "bf16", "auto"]
    scoring: Literal["fp32", "bf16", "auto"]
    attention: Literal["sdpa", "eager", "flash_attention_2", "auto"]
    compile: bool
    threads: Count
    processes: Positive
    workers: Count
    encode_batch: Positive

    @pydantic.field_validator("device", mode="before")
    @classmethod
    def _whole_machine(cls, device: object) -> object:
        if isinstance(device, str) and device.startswith("cuda:"):
            raise ValueError(
                "set it to cuda, and choose the card with CUDA_VISIBLE_DEVICES in the environment"
            )
        return device


class Base(Section):
    """The embedder that fine-tuning starts from."""

    model: str
    revision: str
    page_content: PageContent
    max_tokens: Count
    pooling: Literal["", "lasttoken", "mean"]
    query_prompt: str
    page_prompt: str
    modality_config: dict[str, dict[str, Any]] = {}

    @pydantic.model_validator(mode="after")
    def _cuts_texts_alone(self) -> "Base":
        if self.max_tokens and self.page_content != "text":
            raise ValueError(
                f"max_tokens is {self.max_tokens}, which would cut the tokens of an image: set it "
                "to 0, or page_content to text"
            )
        return self


class Training(Section):
    """Knobs that the fine-tunings of embedder and reranker share."""

    learning_rate: Rate
    warmup: Share
    epochs: Annotated[float, Field(ge=0)]
    batch: Positive
    evaluations: Positive
    resume_checkpoints: Positive
    lora_rank: Count
    freeze: tuple[str, ...]
    learning_rates: dict[str, Rate]
    gradient_checkpointing: bool


class Embedder(Training):
    """Fine-tuning of the embedder."""

    dims: tuple[Positive, ...]
    prompts: bool
    mined_negatives: Literal["all"] | Count
    dev_pages: Positive
    mini_batch: Literal["auto"] | Count

    @pydantic.field_validator("dims")
    @classmethod
    def _descending(cls, dims: tuple[int, ...]) -> tuple[int, ...]:
        if not dims or list(dims) != sorted(set(dims), reverse=True):
            raise ValueError("name each dimension once, the largest first, e.g. [192, 96, 48, 24]")
        return dims


class Reranker(Training, RerankerModel):
    """Fine-tuning of the reranker, and the depths it is measured at."""

    head: Literal["logit", "dense"]
    vision_cache_gib: Annotated[float, Field(ge=0)]
    negatives: Positive
    dev_queries: Positive
    fusion_queries: Positive
    depths: tuple[Positive, ...]
    compared_depth: Positive
    train_depth: Positive

    @pydantic.field_validator("depths")
    @classmethod
    def _ascending(cls, depths: tuple[int, ...]) -> tuple[int, ...]:
        if not depths or list(depths) != sorted(set(depths)):
            raise ValueError("name each depth once, the smallest first, e.g. [10, 20, 30]")
        return depths

    @pydantic.field_validator("compared_depth")
    @classmethod
    def _is_a_depth(cls, depth: int, info: pydantic.ValidationInfo) -> int:
        depths = list(info.data.get("depths", [depth]))
        if depth not in depths:
            raise ValueError(f"name one of depths, which are {depths}")
        return depth


class Release(Section):
    """How the trained models are released."""

    dtype: Literal["float32", "bfloat16"]
    license: Annotated[str, Field(pattern=r"^[a-z0-9.-]+$")]


class CompareModel(Section):
    """Another embedder to score beside base and tuned."""

    model: str
    revision: str = ""
    page_content: PageContent = "image"
    max_tokens: Count = 0
    query_prompt: str = ""
    page_prompt: str = ""
    pooling: Literal["", "lasttoken", "mean"] = ""
    max_pixels: Positive | None = None

    @pydantic.model_validator(mode="after")
    def _no_pixels_of_texts(self) -> "CompareModel":
        if self.max_pixels and self.page_content == "text":
            raise ValueError(
                f"max_pixels is {self.max_pixels}, but page_content is text: leave out one of them"
            )
        return self


class Profile(Section):
    """Knobs that differ from profile to profile, such as a laptop's and a GPU machine's."""

    data: Data
    pixels: Pixels
    compute: Compute
    base: Base
    embedder: Embedder
    reranker: Reranker
    release: Release


class Shared(Section):
    """Knobs that are the same in all profiles."""

    profile: str
    seed: Count
    input: str
    checkpoints: str
    queries: Queries
    prepare: Prepare
    loss: Loss
    mine: Mine
    evaluate: Evaluate


class ParamsFile(Shared):
    """The whole content of params.yaml: all profiles, and all models that may be compared."""

    compare: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")], ...]
    compare_models: dict[str, CompareModel]
    profiles: dict[str, Profile]


class Params(Profile, Shared):
    """What stages use: the shared knobs beside the knobs of the chosen profile."""

    compare: dict[str, CompareModel]
