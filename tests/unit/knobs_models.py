"""Checks of the knobs of models, hardware and evaluation."""

import contextlib
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
import vector_corpus
from knobs import obeys
from knobs_training import embedder, root
from sentence_transformers.sentence_transformer.modules import Pooling
from tiny import ranked_candidates

import stages
from pagefinder import layout
from pagefinder.data.corpus import Corpus
from pagefinder.errors import InputError
from pagefinder.evaluation import baselines, dimensions, embedder_runs, pixel_budgets, recommending
from pagefinder.evaluation import embedder as embedder_
from pagefinder.evaluation import reranker as reranker_evaluation
from pagefinder.layout import CANDIDATES
from pagefinder.models import opening
from pagefinder.models.device import choose_device
from pagefinder.models.opening import compared_embedder, open_embedder, open_reranker
from pagefinder.params import Params
from stages import (
    encode,
    evaluate_embedder,
    evaluate_pixels,
    evaluate_reranker,
    train_embedder,
)


def open_base(params: Params) -> Any:
    return open_embedder(params.base, params.pixels, choose_device(params.compute), root())


def open_second(params: Params) -> Any:
    return open_reranker(params.reranker, params.pixels, choose_device(params.compute), root())


@obeys("base.model", "models/elsewhere")
def _base_model(params, value, folder):
    with pytest.raises(InputError, match=value):
        open_base(params)


@obeys("reranker.model", "models/elsewhere")
def _reranker_model(params, value, folder):
    with pytest.raises(InputError, match=value):
        open_second(params)


def asked_revision(params: Params, section: str) -> str:
    """The revision at which a model of the Hub is looked for."""
    knobs = getattr(params, section)
    knobs = knobs.model_copy(update={"model": "org/name"})
    opens = open_second if section == "reranker" else open_base
    with (
        mock.patch("huggingface_hub.file_exists") as file_exists,
        pytest.raises(InputError),
    ):
        file_exists.side_effect = OSError("no network")
        opens(params.model_copy(update={section: knobs}))
    assert file_exists.called
    return file_exists.call_args.kwargs["revision"]


@obeys("base.revision", "v9")
def _base_revision(params, value, folder):
    assert asked_revision(params, "base") == value


@obeys("reranker.revision", "v9")
def _reranker_revision(params, value, folder):
    assert asked_revision(params, "reranker") == value


@obeys("base.query_prompt", "Which page?")
def _query_prompt(params, value, folder):
    assert open_base(params).prompts["query"] == value


@obeys("base.page_prompt", "A page.")
def _page_prompt(params, value, folder):
    assert open_base(params).prompts["document"] == value


@obeys("base.pooling", "mean")
def _pooling(params, value, folder):
    pooling = next(module for module in open_base(params) if isinstance(module, Pooling))
    assert pooling.get_config_dict()["pooling_mode"] == value


@obeys("base.max_tokens", 7)
def _max_tokens(params, value, folder):
    assert open_base(params).max_seq_length == value


@obeys("base.modality_config", {"text": {"method": "forward", "method_output_name": "x"}})
def _modality_config(params, value, folder):
    with (
        mock.patch.object(opening, "Transformer", side_effect=InputError("stop")) as transformer,
        pytest.raises(InputError, match="stop"),
    ):
        open_base(params)
    assert transformer.call_args.kwargs.get("modality_config") == value


@obeys("compare", ["other"])
def _compare(params, value, folder):
    base, _ = compared_embedder(params.compare, value[0], params.pixels)
    assert base.model == "models/other"


def no_card():
    return mock.patch.object(torch.cuda, "is_available", lambda: False)


@obeys("compute.device", "cuda")
def _device(params, value, folder):
    with no_card(), pytest.raises(InputError, match="no CUDA"):
        choose_device(params.compute)


@obeys("compute.precision", "bf16")
def _precision(params, value, folder):
    assert choose_device(params.compute).autocast is torch.bfloat16


@obeys("compute.scoring", "bf16")
def _scoring(params, value, folder):
    assert choose_device(params.compute, scoring=True).autocast is torch.bfloat16


@obeys("compute.attention", "sdpa")
def _attention(params, value, folder):
    assert open_base(params)[0].model.config._attn_implementation == value


@obeys("compute.compile", True)
def _compile(params, value, folder):
    with mock.patch.object(opening.compiling, "compile_parts") as compile_parts:
        model = open_base(params)
    compile_parts.assert_called_once_with(model[0].model, "cpu")


@obeys("compute.threads", 2)
def _threads(params, value, folder):
    before = torch.get_num_threads()
    try:
        choose_device(params.compute)
        assert torch.get_num_threads() == value
    finally:
        torch.set_num_threads(before)


@obeys("compute.processes", 3)
def _processes(params, value, folder):
    with (
        mock.patch.object(stages.params_file, "load", lambda path: params),
        mock.patch.object(stages.processes, "relaunch", side_effect=InputError("stop")) as relaunch,
        mock.patch.object(stages.running, "configure_logging"),
        pytest.raises(SystemExit),
    ):
        stages.run(train_embedder.main, folder, distributed=True)
    assert relaunch.call_args.args[1] == value


@obeys("compute.workers", 2)
def _workers(params, value, folder):
    assert embedder(params, folder).args.dataloader_num_workers == value


@obeys("compute.encode_batch", 5)
def _encode_batch(params, value, folder):
    with (
        mock.patch.object(encode, "open_embedder"),
        mock.patch.object(encode, "check_budget"),
        mock.patch.object(encode, "resume_folder"),
        mock.patch.object(encode, "write_vectors"),
        mock.patch.object(encode, "encode_corpus") as encode_corpus,
    ):
        encode.main(params, root())
    assert encode_corpus.call_args.args[3] == value


@obeys("checkpoints", "elsewhere")
def _checkpoints(params, value, folder):
    """A change of a local model starts training anew: it belongs to what resuming looks at."""
    with (
        mock.patch.object(train_embedder, "open_embedder"),
        mock.patch.object(
            train_embedder, "resume_folder", side_effect=InputError("stop")
        ) as resume,
        pytest.raises(InputError, match="stop"),
    ):
        train_embedder.main(params, root())
    assert Path(value) in resume.call_args.args[2]


def first_input(stage: Any, params: Params, opener: str, **patches: Any) -> object:
    """What the model of a stage gets of a page: the check of its pixel budget sees it first."""
    with (
        mock.patch.object(stage, opener),
        mock.patch.object(stage, "on_own_grid"),
        mock.patch.object(stage, "check_budget", side_effect=InputError("stop")) as check_budget,
        pytest.raises(InputError, match="stop"),
    ):
        stage.main(params, root())
    return check_budget.call_args.args[1]


@obeys("base.page_content", "text")
def _base_page_content(params, value, folder):
    with mock.patch.object(encode, "visual_tokens"):
        assert isinstance(first_input(encode, params, "open_embedder"), str)


@obeys("reranker.page_content", "text")
def _reranker_page_content(params, value, folder):
    ranked_candidates().to_parquet(root() / CANDIDATES)
    assert isinstance(first_input(evaluate_reranker, params, "open_reranker"), str)


@obeys("reranker.fusion_queries", 2)
def _fusion_queries(params, value, folder):
    """The tuned reranker scores the dev queries that choose the weight, then eval."""
    scored = []

    def scorer(rows):
        scored.append(rows)
        return np.zeros(len(rows), np.float32)

    corpus = Corpus(root() / "data/corpus")
    arguments = (ranked_candidates(), corpus, scorer, scorer, params.reranker)
    reranker_evaluation.evaluate(*arguments, resamples=10, seed=1)
    dev = pd.concat(scored).query("split == 'dev'")
    assert dev["query_id"].nunique() == value


def evaluated(params: Params, folder: Path, *spied: tuple[Any, str]) -> list[Any]:
    """Run evaluate_embedder on stored vectors; return the arguments that functions were given."""
    vector_corpus.write(folder / layout.CORPUS)
    for path, noise in ((layout.BASE_VECTORS, 2.2), (layout.TUNED_VECTORS, 0.9)):
        vector_corpus.encode(folder / layout.CORPUS, folder / path, noise)
    sizes = params.embedder.model_copy(update={"dims": (32, 8)})
    with contextlib.ExitStack() as stack:
        # Choosing its weights takes most of the stage's time, and no knob here decides it.
        stack.enter_context(mock.patch.object(embedder_runs, "fuse_with_bm25", lambda *_: ({}, {})))
        spies = [
            stack.enter_context(mock.patch.object(module, name, wraps=getattr(module, name)))
            for module, name in spied
        ]
        evaluate_embedder.main(params.model_copy(update={"embedder": sizes, "compare": {}}), folder)
    return [spy.call_args.args for spy in spies]


@obeys("evaluate.tolerance", 0.3)
def _tolerance(params, value, folder):
    (arguments,) = evaluated(params, folder, (recommending, "recommended_dimension"))
    assert arguments[-1] == value


@obeys("evaluate.rescore", 7)
def _rescore(params, value, folder):
    (arguments,) = evaluated(params, folder, (dimensions, "score_grid"))
    assert value in arguments


@obeys("evaluate.bootstrap", 77)
def _bootstrap(params, value, folder):
    for arguments in evaluated(params, folder, (embedder_, "comparisons"), (embedder_, "slices")):
        assert value in [argument for argument in arguments if isinstance(argument, int)]


def systems(params: Params, folder: Path) -> set[str]:
    evaluated(params, folder)
    return {path.stem for path in (folder / layout.RUNS / "embedder").glob("*.trec")}


@obeys("evaluate.text_baseline", False)
def _text_baseline(params, value, folder):
    assert ("bm25" in systems(params, folder)) == value


@obeys("evaluate.distractors", "all")
def _distractors(params, value, folder):
    assert "tuned+distractors" in systems(params, folder)


@obeys("evaluate.text_embedder", True)
def _text_embedder(params, value, folder):
    with mock.patch.object(baselines, "minilm_run", lambda task, _: baselines.bm25_run(task)):
        assert "minilm" in systems(params, folder)


@obeys("evaluate.pixel_budgets", [2048, 4096])
def _pixel_budgets(params, value, folder):
    folder = root() / layout.TUNED_VECTORS
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("pages", "queries"):
        np.save(folder / f"{name}.npy", np.eye(40, 192, dtype=np.float32))
    pages = np.eye(40, 192, dtype=np.float32)[:8]
    with mock.patch.object(pixel_budgets, "encode", return_value=pages) as encode_again:
        evaluate_pixels.main(params, root())
    assert [call.args[1].max for call in encode_again.call_args_list] == value
