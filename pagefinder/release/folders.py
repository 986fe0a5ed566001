"""Copy a trained model into a folder that plain Sentence Transformers opens."""

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import TensorSpec, safe_open, serialize_file
from safetensors.numpy import save_file

from pagefinder.params import PageContent

# Files that are not needed to run the model: cards of other tools, and leftovers of training.
IGNORED = shutil.ignore_patterns("README.md", "*.bin", "trainer_state.json", "checkpoint-*")
MODULES, CONFIG = "modules.json", "config_sentence_transformers.json"
CONTENT = "page_content"  # a key of CONFIG that Sentence Transformers passes over
DENSE = "sentence_transformers.base.modules.dense.Dense"
NORMALIZE = "sentence_transformers.base.modules.normalize.Normalize"
SENTENCE = "sentence_embedding"  # what a module calls the vector of a text or page
# By the class of a saved model, that of the models as published, and what their weights' names
# begin with.
PUBLISHED = {"Qwen3VLModel": ("Qwen3VLForConditionalGeneration", "model.")}


def copy_model(source: Path, target: Path, content: PageContent = "image") -> None:
    """Copy what runs the model in the folder `source` to the new folder `target`.

    What pages give the model stands in the configuration, unless it is their images.
    """
    shutil.copytree(source, target, ignore=IGNORED)
    _name_as_published(target)
    if content != "image":
        config = json.loads((target / CONFIG).read_text(encoding="utf-8"))
        _write_json(target / CONFIG, config | {CONTENT: content})


def _name_as_published(folder: Path) -> None:
    """Name the weights of a vision language model as the published ones are named.

    A model without a head is saved under shorter names. Sentence Transformers opens both, and vLLM
    the published ones alone.
    """
    config = _read_json(folder / "config.json")
    saved, *others = config.get("architectures") or [""]
    if others or saved not in PUBLISHED:
        return
    published, prefix = PUBLISHED[saved]
    for path in sorted(folder.glob("model*.safetensors")):
        _rename_weights(path, prefix)
    index = folder / "model.safetensors.index.json"  # of weights in several files
    if index.is_file():
        content = _read_json(index)
        files = {prefix + name: file for name, file in content["weight_map"].items()}
        _write_json(index, content | {"weight_map": files})
    _write_json(folder / "config.json", config | {"architectures": [published]})


def _rename_weights(path: Path, prefix: str) -> None:
    """Put a prefix before the name of each weight in a safetensors file."""
    part = path.with_suffix(".part")  # a hard link to the trained model's file stays as it is
    with path.open("rb") as source, part.open("wb") as target:
        # The length of a header in JSON, the header, and the bytes that it describes.
        (size,) = struct.unpack("<Q", source.read(8))
        header = json.loads(source.read(size))
        named = {
            name if name == "__metadata__" else prefix + name: entry
            for name, entry in header.items()
        }
        content = json.dumps(named, separators=(",", ":")).encode()
        content += b" " * (-len(content) % 8)
        target.write(struct.pack("<Q", len(content)) + content)
        shutil.copyfileobj(source, target, 1 << 24)
    part.replace(path)


def page_content(folder: Path) -> PageContent:
    """What pages give the model in a folder, as `copy_model` wrote it."""
    content: PageContent = _read_json(folder / CONFIG).get(CONTENT, "image")
    return content


def store_as(folder: Path, dtype: str) -> None:
    """Store the float32 weights in a model's folder as `dtype`, float32 or bfloat16.

    They are rounded to the nearest, ties to even, as torch does; the config names the new type.
    """
    if dtype == "float32":
        return
    assert dtype == "bfloat16", dtype
    for path in sorted(folder.rglob("*.safetensors")):
        with safe_open(path, "numpy") as weights:
            arrays = {str(name): _rounded(weights.get_tensor(name)) for name in weights.keys()}
            metadata = weights.metadata()
        path.unlink()  # a hard link to the trained model's file would be written through
        # A spec is an address in an array's memory, which `arrays` holds until all is written.
        serialize_file({name: _spec(array) for name, array in arrays.items()}, path, metadata)
    path = folder / "config.json"
    if path.is_file():  # static embeddings have none
        config = json.loads(path.read_text(encoding="utf-8"))
        _write_json(path, _with_dtype(config, dtype))


def _rounded(tensor: np.ndarray) -> np.ndarray:
    """The bits of a float32 tensor as bfloat16, which numpy lacks, in uint16; others unchanged."""
    if tensor.dtype != np.float32:
        return np.ascontiguousarray(tensor)
    bits = tensor.view(np.uint32)
    rounded = np.asarray((bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16, dtype=np.uint16)
    return np.where(
        np.isnan(tensor), np.uint16(0x7FC0), rounded
    )  # a NaN must not round to infinity


def _spec(array: np.ndarray) -> TensorSpec:
    """What safetensors writes of an array, whose uint16 are the bits of bfloat16."""
    dtype = "bfloat16" if array.dtype == np.uint16 else array.dtype.name
    size = {"data_ptr": array.ctypes.data, "data_len": array.nbytes}
    return TensorSpec(dtype=dtype, shape=list(array.shape), **size)


def _with_dtype(config: Any, dtype: str) -> Any:  # noqa: ANN401  # JSON
    """A config in which each `dtype` that is float32, at any depth, is another."""
    if not isinstance(config, dict):
        return config
    return {
        key: dtype if (key, value) == ("dtype", "float32") else _with_dtype(value, dtype)
        for key, value in config.items()
    }


def serve_unit_vectors(folder: Path, width: int, dimension: int) -> int:
    """Change an embedder's folder so that its vectors are cut, and of unit length.

    Sentence Transformers' own `truncate_dim` cuts after the last module has brought the vectors to
    unit length, so that an inner product would rank by the lengths of what is left. Here the cut is
    a module before the last, a linear layer of the first rows of the identity, and the last one
    brings vectors to unit length.

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
        cut_folder = _add(modules, DENSE)
        _write_cut(folder / cut_folder, width, dimension)
    # Both modules read the vector and write it under the same name.
    keys = {"module_input_name": SENTENCE, "module_output_name": SENTENCE}
    unit_folder = _add(modules, NORMALIZE)
    _write_json(folder / unit_folder / "config.json", keys)
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


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one where there is no file."""
    content: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return content


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
