"""Copy a trained model into a folder that plain Sentence Transformers opens."""

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from pagefinder.params import PageContent

# Files that are not needed to run the model: cards of other tools, and leftovers of training.
CARD = "README.md"
IGNORED = shutil.ignore_patterns(CARD, "*.bin", "trainer_state.json", "checkpoint-*")
MODULES, CONFIG = "modules.json", "config_sentence_transformers.json"
CONTENT = "page_content"  # a key of CONFIG that Sentence Transformers passes over
DENSE = "sentence_transformers.base.modules.dense.Dense"
NORMALIZE = "sentence_transformers.base.modules.normalize.Normalize"
SENTENCE = "sentence_embedding"  # what a module calls the vector of a text or page


def copy_model(source: Path, target: Path, content: PageContent = "image") -> None:
    """Copy what runs the model in the folder `source` to the new folder `target`.

    What pages give the model stands in the configuration, unless it is their images.
    """
    shutil.copytree(source, target, ignore=IGNORED)
    if content != "image":
        config = json.loads((target / CONFIG).read_text(encoding="utf-8"))
        _write_json(target / CONFIG, config | {CONTENT: content})


def page_content(folder: Path) -> PageContent:
    """What pages give the model in a folder, as `copy_model` wrote it."""
    path = folder / CONFIG
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    content: PageContent = config.get(CONTENT, "image")
    return content


def serve_unit_vectors(folder: Path, width: int, dimension: int) -> int:
    """Change an embedder's folder so that its vectors are cut, and of unit length.

    Sentence Transformers' own `truncate_dim` cuts behind the last module, so that an inner product
    would rank by the lengths of what is left. Here the cut is a module before the last, a linear
    layer of the first rows of the identity, and the last one brings vectors to unit length.

    Args:
        folder: Folder of the embedder.
        width: Dimension of its vectors.
        dimension: Dimension of the vectors that it shall give, at most `width`.

    Returns:
        The number of the module that cuts: a caller who deletes it gets all dimensions. It is the
        number of the last module where nothing is cut.
    """
    modules = json.loads((folder / MODULES).read_text(encoding="utf-8"))
    if modules[-1]["type"].endswith(".Normalize"):
        shutil.rmtree(folder / modules.pop()["path"])
    cutting = len(modules)
    if dimension < width:
        _write_cut(folder / _add(modules, DENSE), width, dimension)
    keys = {"module_input_name": SENTENCE, "module_output_name": SENTENCE}
    _write_json(folder / _add(modules, NORMALIZE) / "config.json", keys)
    _write_json(folder / MODULES, modules)
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    config.pop("truncate_dim", None)
    _write_json(folder / CONFIG, config)
    return cutting


def _add(modules: list[dict[str, object]], kind: str) -> str:
    """Append a module of a class to the list of modules.json, and return the name of its folder."""
    number = len(modules)
    path = f"{number}_{kind.rpartition('.')[2]}"
    modules.append({"idx": number, "name": str(number), "path": path, "type": kind})
    return path


def _write_cut(folder: Path, width: int, dimension: int) -> None:
    """Write the module that keeps the first `dimension` of `width` numbers, to the bit."""
    settings = {
        "in_features": width,
        "out_features": dimension,
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
        "module_input_name": SENTENCE,
        "module_output_name": SENTENCE,
    }
    _write_json(folder / "config.json", settings)
    rows = np.eye(dimension, width, dtype=np.float32)
    save_file({"linear.weight": rows}, folder / "model.safetensors")


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
