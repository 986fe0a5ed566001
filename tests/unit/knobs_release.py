"""Checks of the knobs of the release."""

import json
from pathlib import Path
from unittest import mock

import numpy as np
from knobs import obeys
from safetensors.numpy import save_file
from test_releasing import metadata, released

from pagefinder.params import Params
from pagefinder.release.folders import NORMALIZE


def release(params: Params, folder: Path) -> Path:
    """The release of two models without any layer."""
    for name in ("embedder", "reranker"):
        model = folder / "models" / name
        (model / "0_Normalize").mkdir(parents=True)
        module = {"idx": 0, "name": "0", "path": "0_Normalize", "type": NORMALIZE}
        for file, content in (
            ("modules.json", [module]),
            ("config.json", {"dtype": "float32"}),
            ("config_sentence_transformers.json", {}),
        ):
            (model / file).write_text(json.dumps(content))
        save_file({"weight": np.ones((2, 3), np.float32)}, model / "model.safetensors")
    with mock.patch("stages.export.write_cases"):  # these models run nothing
        return released(folder, params, 48)


@obeys("release.dtype", "bfloat16")
def _dtype(params, value, folder):
    for model in ("embedder", "reranker"):
        made = release(params, folder / model) / model
        assert json.loads((made / "config.json").read_text())["dtype"] == value
        assert b'"BF16"' in (made / "model.safetensors").read_bytes()
        assert f"Weights are {value}" in (made / "README.md").read_text()


@obeys("release.license", "mit")
def _license(params, value, folder):
    made = release(params, folder)
    for model in ("embedder", "reranker"):
        assert metadata((made / model / "README.md").read_text())["license"] == value
