"""What a run needs of the disk: what each stage leaves, and what its work takes meanwhile.

An estimate from the params, the number of pages and the headers of the models' files. `tools.plan`
prints it for a run, and a stage that will not fit says so before it begins.
"""

import contextlib
import json
import logging
import math
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pagefinder.errors import InputError
from pagefinder.layout import CORPUS, EMBEDDER, METRICS, RERANKER, SOURCE
from pagefinder.models import packaged
from pagefinder.params import Params, Release, Training
from pagefinder.runtime.outputs import WORK

log = logging.getLogger(__name__)

# Of a weight, a gradient or one of Adam's two moments: float32.
NUMBER = 4
# The trainer keeps two checkpoints, and a third is there while it is written. Beside them are the
# best weights, and those that were the best at the newest checkpoint.
CHECKPOINTS, BEST_WEIGHTS = 3, 2
# A printed page as a PNG at its pixel budget: 126 KB at 360,000 pixels.
PNG_BYTES_PER_PIXEL = 0.35
# A line of a run: query, page, rank, score. Runs of the embedder hold 100 pages a query, for these
# many systems and dimensions, and those of the reranker as many as it reranks.
RUN_LINE, EMBEDDER_RUNS, EMBEDDER_DEPTH, RERANKER_RUNS = 62, 6, 100, 4
# Stages whose need is known when they begin; `download` looks at its source by itself.
CHECKED = ("prepare", "encode_base", "train_embedder", "encode_tuned", "train_reranker", "export")
# Where loader processes hand batches over, on Linux.
SHARED_MEMORY = Path("/dev/shm")


class Weights(NamedTuple):
    """A model on the disk, as the headers of its files describe it."""

    file_bytes: int  # of the whole folder
    parameters: int
    trained: int  # parameters that training changes


class Amounts(NamedTuple):
    """How much a run works on."""

    source_bytes: int
    corpus_bytes: int
    texts_and_pages: int  # what an embedder encodes
    eval_queries: int


@dataclass(frozen=True)
class Need:
    """Bytes of disk of a stage: what it leaves by output, and what its work takes by purpose."""

    outputs: dict[str, int] = field(default_factory=dict)
    work: dict[str, int] = field(default_factory=dict)

    def peak(self, copied: bool) -> int:
        """The most that is on the disk at a time; `copied`: DVC's cache copies the outputs."""
        left = sum(self.outputs.values())
        return max(left + sum(self.work.values()), left * (2 if copied else 1))


def needs(params: Params, amounts: Amounts, models: dict[str, Weights]) -> dict[str, Need]:
    """What each stage of dvc.yaml needs that writes much, in the order in which they run.

    Args:
        params: Of the run.
        amounts: How much it works on.
        models: The models that training starts from, by section: base and reranker. The stages of
            one that is not there are left out.
    """
    vectors = amounts.texts_and_pages * params.embedder.dims[0] * NUMBER
    result = {
        "download": Need({str(SOURCE): amounts.source_bytes}),
        "prepare": Need(
            {str(CORPUS): amounts.corpus_bytes}, {"prepared pages": amounts.corpus_bytes}
        ),
        "encode_base": Need({"data/embeddings/base": vectors}, {"chunks": vectors}),
    }
    if "base" in models:
        result["train_embedder"] = _training(str(EMBEDDER), models["base"], params.embedder)
    result["encode_tuned"] = Need({"data/embeddings/tuned": vectors}, {"chunks": vectors})
    pages = EMBEDDER_RUNS * EMBEDDER_DEPTH
    line = amounts.eval_queries * RUN_LINE
    result["evaluate_embedder"] = Need({"data/runs/embedder": line * pages})
    if "reranker" in models:
        result["train_reranker"] = _training(str(RERANKER), models["reranker"], params.reranker)
    pages = RERANKER_RUNS * params.reranker.depths[-1]
    result["evaluate_reranker"] = Need({"data/runs/reranker": line * pages})
    if models:
        result["export"] = _release(sum(m.parameters for m in models.values()), params.release)
    return result


def _release(parameters: int, release: Release) -> Need:
    """What the release leaves, and needs: its weights are copied in float32, then rounded."""
    left = parameters * (2 if release.dtype == "bfloat16" else NUMBER)
    more = parameters * NUMBER - left
    return Need({"models/release": left}, {"float32 copies": more} if more else {})


def _training(output: str, model: Weights, knobs: Training) -> Need:
    """What a training leaves and needs: a checkpoint holds weights and Adam's two moments."""
    saved = model.trained if knobs.lora_rank else model.parameters
    kept = CHECKPOINTS * NUMBER * (saved + 2 * model.trained) + BEST_WEIGHTS * NUMBER * saved
    left = NUMBER * model.parameters
    if not knobs.epochs:
        return Need({output: left})
    # The output is written at the end, when one checkpoint less is there.
    return Need({output: left}, {"checkpoints": max(kept - left, 0)})


def model_weights(folder: Path, knobs: Training) -> Weights | None:
    """What the files of a model say of its weights; None where they are no safetensors."""
    parameters = trained = 0
    for path in sorted(folder.rglob("*.safetensors")):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header: dict[str, dict[str, list[int]]] = json.loads(file.read(length))
        for name, tensor in header.items():
            if name == "__metadata__":
                continue
            shape = tensor["shape"]
            parameters += math.prod(shape)
            if knobs.lora_rank and len(shape) == 2:
                trained += knobs.lora_rank * sum(shape)
            elif not knobs.lora_rank and not any(part in name for part in knobs.freeze):
                trained += math.prod(shape)
    return Weights(folder_bytes([folder]), parameters, trained) if parameters else None


def model_folder(model: str, revision: str, root: Path) -> Path | None:
    """The folder of a model that is here or in the Hub's cache; None for any other."""
    if not model:
        return None
    with contextlib.suppress(InputError):  # of a package that is not there
        folder = packaged.local_folder(model, revision, "", root)
        if folder:
            return folder
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, revision=revision or None, local_files_only=True))
    except Exception:  # the client raises many kinds, all meaning that it is not there
        return None


def together(needs_by_stage: dict[str, Need], copied: bool) -> int:
    """The most that a whole run holds on the disk at a time, beside the files of its models."""
    left = highest = 0
    for need in needs_by_stage.values():
        highest = max(highest, left + need.peak(copied))
        left += sum(need.outputs.values()) * (2 if copied else 1)
    return highest


def models_of(params: Params, root: Path) -> dict[str, Weights]:
    """The models that training starts from, by section, as far as they are on this machine."""
    result = {}
    for section, knobs in (("base", params.embedder), ("reranker", params.reranker)):
        named = getattr(params, section)
        if named.model == str(EMBEDDER) and not (root / EMBEDDER).is_dir():
            named = params.base  # what will be trained to become models/embedder
        folder = model_folder(named.model, named.revision, root)
        weights = model_weights(folder, knobs) if folder else None
        if weights:
            result[section] = weights
    return result


def folder_bytes(paths: Iterable[Path]) -> int:
    """Bytes of files and of all files in folders; links count as what they lead to."""
    files = (file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]))
    return sum(file.stat().st_size for file in files if file.is_file())


def amounts_of(params: Params, root: Path) -> Amounts:
    """How much a run works on, as far as its stages have said so already; else 0."""
    counts = _read(root / METRICS / "corpus.json")
    pages, queries = (
        sum(counts.get(kind, {}).get(split, 0) for split in ("train", "dev", "eval"))
        for kind in ("pages", "queries")
    )
    source = _read(root / SOURCE / "provenance.json").get("counts", {}).get("pages", 0)
    corpus = folder_bytes([root / CORPUS]) if (root / CORPUS).is_dir() else 0
    return Amounts(
        folder_bytes([root / SOURCE]) if (root / SOURCE).is_dir() else 0,
        corpus or round(source * params.pixels.max * PNG_BYTES_PER_PIXEL),
        pages + queries,
        counts.get("queries", {}).get("eval", 0),
    )


def _read(path: Path) -> dict[str, dict[str, int]]:
    """A file of counts; {} where there is none."""
    content: dict[str, dict[str, int]] = {}
    if path.is_file():
        content = json.loads(path.read_text(encoding="utf-8"))
    return content


def check(stage: str, params: Params, root: Path, copied: bool) -> None:
    """Raise an InputError where a stage will not fit on the disk, or its batches into memory.

    Args:
        stage: Name of the stage in dvc.yaml.
        params: Of the run.
        root: The folder that the stage works in.
        copied: Whether DVC's cache copies the outputs to the same disk.
    """
    _check_shared_memory(stage, params, root)
    if stage not in CHECKED:
        return
    need = needs(params, amounts_of(params, root), models_of(params, root)).get(stage, Need())
    # What an interrupted run has left is used again.
    left = folder_bytes((root / WORK).glob(f"{stage}-*"))
    needed, free = need.peak(copied) - left, shutil.disk_usage(root).free
    if needed <= free:
        return
    parts = [f"{name} {in_words(size)}" for name, size in (need.work | need.outputs).items()]
    if copied:
        parts.append(f"DVC's copy of it {in_words(sum(need.outputs.values()))}")
    raise InputError(
        f"{stage} needs about {in_words(needed)} of disk ({', '.join(parts)}), but "
        f"{in_words(free)} are free in {root.resolve()}: make room, or move the project to a "
        "larger disk; `python -m tools.plan` says what a whole run needs"
    )


def _check_shared_memory(stage: str, params: Params, root: Path) -> None:
    """Raise an InputError where the batches that wait in shared memory would not fit there."""
    if stage not in ("train_embedder", "train_reranker") or not SHARED_MEMORY.is_dir():
        return
    needed = shared_memory(stage, params, _mean_area(root / CORPUS))
    free = shutil.disk_usage(SHARED_MEMORY).free
    if needed > free:
        raise InputError(
            f"compute.workers is {params.compute.workers}: prepared batches need about "
            f"{in_words(needed)} of shared memory, but {SHARED_MEMORY} has {in_words(free)} free: "
            "lower compute.workers, or enlarge it (docker run --shm-size, mount -o remount,size=)"
        )


def shared_memory(stage: str, params: Params, area: float) -> int:
    """Bytes of the batches that wait for the device: two for each loader process.

    Args:
        stage: train_embedder, whose rows hold a page and its negatives, or train_reranker, whose
            rows hold one page.
        params: Of the run.
        area: Pixels of a page.
    """
    embedding = stage == "train_embedder"
    batch = params.embedder.batch if embedding else params.reranker.batch
    content = params.base.page_content if embedding else params.reranker.page_content
    if content == "text":
        return 0
    pages = 1 + params.mine.negatives if embedding else 1
    # Three channels in float32, twice: Qwen's processors give each page two frames.
    return round(params.compute.workers * 2 * batch * pages * area * 3 * NUMBER * 2)


def _mean_area(corpus: Path) -> float:
    """Pixels of a page of the corpus, on average; 0 where there is none."""
    from pagefinder.data.corpus import Corpus

    if not corpus.is_dir():
        return 0.0
    pages = Corpus(corpus).pages
    return float((pages["width"] * pages["height"]).mean())


def in_words(size: float) -> str:
    """A number of bytes in GB, or in MB below one."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
