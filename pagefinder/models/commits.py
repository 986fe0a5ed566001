"""The commit of a model of the Hub: what a branch such as `main` stood for when it was opened."""

import logging
from pathlib import Path

log = logging.getLogger(__name__)

# A file that lies beside a model trained from one of the Hub.
COMMIT = "base_commit.txt"


def opened_commit(model: str, revision: str, section: str, root: Path) -> str:
    """The commit at which a model of the Hub was opened; empty for a local model.

    The Hub's cache knows it, so this is for a model that has been opened. Logs it where the params
    name a branch or tag instead, which may stand for another commit later.

    Args:
        model: Name of the model in the params.
        revision: Its revision there.
        section: The section that names it, for the log.
        root: The folder that local models' paths are relative to.
    """
    if not revision or (root / model).is_dir():
        return ""
    from huggingface_hub import try_to_load_from_cache

    file = try_to_load_from_cache(model, "config.json", revision=revision)
    commit = Path(file).parent.name if isinstance(file, str) else revision
    if commit != revision:
        log.info("%s.revision is %s: today that is commit %s", section, revision, commit)
    return commit


def write_commit(commit: str, folder: Path) -> None:
    """Write the commit of a trained model's base into its folder; nothing for an empty one."""
    if commit:
        (folder / COMMIT).write_text(f"{commit}\n", encoding="utf-8")


def read_commit(folder: Path, revision: str) -> str:
    """The commit of the base of the model in `folder`; the params' `revision` without one."""
    path = folder / COMMIT
    return path.read_text(encoding="utf-8").strip() if path.is_file() else revision
