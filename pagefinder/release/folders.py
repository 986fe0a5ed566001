"""Copy a trained model into a folder that plain Sentence Transformers opens."""

import json
import shutil
from pathlib import Path

# Files that are not needed to run the model: cards of other tools, and leftovers of training.
IGNORED = shutil.ignore_patterns("README.md", "*.bin", "trainer_state.json", "checkpoint-*")
CONFIG = "config_sentence_transformers.json"


def release_model(
    source: Path, target: Path, card: str, *, truncate_dim: int | None = None
) -> None:
    """Copy the model in `source` to the new folder `target`, and write its card.

    Args:
        source: Folder of the model.
        target: The new folder.
        card: Text of its README.md.
        truncate_dim: The dimension to which the released model cuts its vectors.
    """
    shutil.copytree(source, target, ignore=IGNORED)
    if truncate_dim is not None:
        config = json.loads((target / CONFIG).read_text(encoding="utf-8"))
        config["truncate_dim"] = truncate_dim
        (target / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (target / "README.md").write_text(card, encoding="utf-8")
